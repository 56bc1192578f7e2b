"""What would run, what of it is kept, and how long it would take."""

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from svvr import summaries
from svvr.core import params as parameters
from svvr.core.files import Arrays, write_json
from svvr.core.params import Params
from svvr.learn import work
from svvr.learn.spec import Run
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE
from svvr.run import evaluate
from svvr.search import studies
from tests.copies import forks, tiny
from tools import plan, smoke

ROOT = Path(__file__).parents[2]
AFTER = {"make": {"train", "plot"}, "train": {"plot"}, "other": set(), "plot": set()}
MISSING = {"changed outs": {"data.npz": "deleted"}}
EDITED = {"changed deps": {"code.py": "modified"}}
PLAIN = ("none", "coupled", "adam")


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Params of a few short runs, and an empty working directory."""
    settings = tiny(yaml.safe_load((ROOT / "params.yaml").read_text()))
    settings["training"]["batch_size"] = 20
    settings["tuning"] |= {"studies": 2, "trials": 3}
    settings["dose_response"] |= {"settings": [{"lr": 0.01, "weight_decay": 0}], "strengths": [0, 0.1], "seeds": 2}
    settings["final"]["seeds"] = 2
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    monkeypatch.chdir(tmp_path)
    return parameters.load(Path("params.yaml"))


@pytest.fixture
def splits(tiny_data: Arrays) -> Arrays:
    return tiny_data | {"x_test": tiny_data["x_validation"], "y_test": tiny_data["y_validation"]}


@pytest.fixture
def session() -> Iterator[evaluate.Session]:
    with evaluate.session("test", 100) as opened:
        yield opened


@pytest.mark.parametrize(
    "changed,running",
    [
        ({}, []),
        ({"plot": [EDITED]}, ["plot"]),
        ({"train": [EDITED]}, ["train", "plot"]),
        (
            {"make": [MISSING], "train": [{"changed deps": {"data.npz": "deleted"}}]},
            ["make"],
        ),  # it makes the same again
        ({"make": [MISSING, EDITED]}, ["make", "train", "plot"]),
        ({"make": [{"changed outs": {"data.npz": "not in cache"}}]}, ["make"]),
        (
            {"train": ["changed command"], "other": [{"changed deps": {"params.yaml": "new"}}]},
            ["train", "other", "plot"],
        ),
        ({"train": [{"changed deps": {"params.yaml": {"final.seeds": "modified"}}}]}, ["train", "plot"]),
    ],
)
def test_what_comes_after_a_change_runs_too_but_not_after_what_is_only_missing(
    changed: dict[str, list[Any]], running: list[str]
) -> None:
    assert plan.to_run(changed, AFTER) == running


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # dvc's use of pygtrie
def test_the_stages_are_those_that_dvc_then_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stages = {
        name: {"cmd": f"cat {source} > {name}", "deps": [source], "outs": [name]}
        for name, source in (("a", "source"), ("b", "a"), ("c", "b"), ("d", "source"))
    }
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (tmp_path / "source").write_text("1")

    def dvc(*arguments: str) -> str:
        return subprocess.run(
            ["dvc", *arguments],
            cwd=tmp_path,
            env=smoke.environment() | forks(),
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    dvc("init", "-q", "--no-scm")
    assert set(plan.stages_to_run()) == set("abcd")
    dvc("repro")
    assert plan.stages_to_run() == []
    (tmp_path / "a").unlink()
    assert plan.stages_to_run() == ["a"]
    assert dvc("repro").count("Running stage") <= 1
    (tmp_path / "b").write_text("2")
    assert plan.stages_to_run() == ["b", "c"]


def test_without_a_pipeline_dvc_s_complaint_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^dvc: [^\n]+$"):
        plan.stages_to_run()


def test_with_nothing_kept_every_run_of_every_stage_is_counted(small: Params, splits: Arrays) -> None:
    stages = [f"{stage}@regularized" for stage in ("tune", "train", "budget", "diagnose")]
    stages += ["dose_response", "replicate", "compare"]
    forecast = plan.Forecast(small, stages, plan.kept(splits), Path("metrics"))
    rows = {row.stage: row for row in map(forecast.row, stages)}
    assert [row.n_runs for row in rows.values()] == [2 * 3, 2 * 2, 3 * 4 * 2, 0, 2 * 2, 3 * 2, 0]
    assert [row.n_measured for row in rows.values()] == [0, 0, 0, 2, 4, 0, 0]
    assert all(len(row.missing) == row.n_runs and not row.cached for row in rows.values())
    assert [stage for stage, row in rows.items() if not row.certain] == ["train@regularized"]  # the winners are unknown
    assert {run.penalty for run in rows["tune@regularized"].missing} == {"sv_variance"}


def test_what_the_stages_have_trained_is_found(small: Params, splits: Arrays, session: evaluate.Session) -> None:
    development = {name: array for name, array in splits.items() if not name.endswith("test")}
    ranges = small.arms["baseline"].ranges(small.tuning.space)
    losses = work.losses_of(small, "baseline", session, development)
    found = studies.tune(small.seed, "baseline", ranges, small.tuning, small.selection, losses)
    stages = ["tune@baseline", "train@baseline", "diagnose@baseline"]

    def rows() -> list[plan.Row]:
        forecast = plan.Forecast(small, stages, plan.kept(splits), Path("metrics"))
        return [forecast.row(stage) for stage in stages]

    tune, train, diagnose = rows()
    assert (tune.cached, tune.missing, tune.certain) == (6, [], True)
    assert (train.n_runs, train.cached, train.certain) == (4, 0, True) and diagnose.n_measured == 2
    results = session(train.missing, work.WORK, splits)
    assert rows()[1].cached == 4 and rows()[2].measured_cached == 0
    weights = [result.weights for result in results]
    first = [0, 2]  # of each study
    units = [
        Measurement(train.missing[k].seed, weights[k], (8, 8), small.diagnose.tolerance, small.diagnose.probes)
        for k in first
    ]
    session(units, MEASURE, {name: array for name, array in splits.items() if not name.endswith("validation")})
    assert rows()[2].measured_cached == 2

    # where the search is up to date, its record tells the winners
    record = {"arm": "baseline", "penalty": "none", "selection": small.selection, "studies": found}
    write_json(Path("metrics/tune/baseline.json"), record | summaries.of_studies(found))
    forecast = plan.Forecast(small, ["train@baseline"], plan.kept(splits), Path("metrics"))
    assert forecast.row("train@baseline").cached == 4


def test_a_search_that_was_cut_off_is_counted_as_far_as_it_got(
    small: Params, splits: Arrays, session: evaluate.Session
) -> None:
    rounds = 0

    def stopped(asked: studies.Asked) -> list[work.Losses]:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            raise KeyboardInterrupt
        development = {name: array for name, array in splits.items() if not name.endswith("test")}
        return work.losses_of(small, "baseline", session, development)(asked)

    ranges = small.arms["baseline"].ranges(small.tuning.space)
    with pytest.raises(KeyboardInterrupt):
        studies.tune(small.seed, "baseline", ranges, small.tuning, small.selection, stopped)
    stages = ["tune@baseline", "train@baseline"]
    forecast = plan.Forecast(small, stages, plan.kept(splits), Path("metrics"))
    tune, train = map(forecast.row, stages)
    assert (tune.cached, len(tune.missing), tune.certain) == (4, 2, False)
    assert (train.cached, train.certain) == (0, False)


def test_nothing_is_kept_where_the_cache_is_off(small: Params, splits: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_CACHE", "off")
    assert plan.kept(splits)(work.doses(small), work.WORK, plan.ALL) == [None] * 4


def test_seconds_add_up() -> None:
    plain = Run(0, 0.01, epochs=10)
    penalised = Run(0, 0.01, penalty="l2", strength=1.0, epochs=10)
    speed = plan.Speed(0.1, {PLAIN: 0.1, plan.kind(penalised): 0.3})
    assert speed.run(plain, 0) == pytest.approx(1.0) and speed.run(penalised, 0) == pytest.approx(3.0)
    assert speed.run(Run(0, 0.01, epochs=10, start=penalised), 0) == pytest.approx(4.0)
    assert speed.run(plain, 8000) == pytest.approx(1.0 + 2 * plan.TESTED * 0.1)
    row = plan.Row("tune@a", 3, 1, missing=[plain, penalised], n_measured=2, measured_cached=1, asked=10)
    expected = plan.START + 10 * plan.ASK + 4.0 + plan.MEASUREMENT * 0.1
    assert row.seconds(speed) == pytest.approx(expected)
    assert plan.Row("plot").seconds(speed) == plan.START + plan.FURTHER["plot"]


def test_one_more_arm_takes_the_runs_of_the_committed_ones() -> None:
    params = parameters.load(ROOT / "params.yaml")
    tune, train, budget = (
        json.loads((ROOT / f"metrics/{kind}/regularized.json").read_text()) for kind in ("tune", "train", "budget")
    )
    committed = sum(len(study["trials"]) for study in tune["studies"]) + len(train["runs"]) + len(budget["runs"])
    run = Run(0, 0.01, penalty="l2", strength=1.0)
    n, seconds = plan.one_more_arm(params, run, plan.Speed(0.0, {}))
    assert n == committed and 0 < seconds < 60
    assert plan.one_more_arm(params, run, plan.Speed(0.0, {plan.kind(run): 0.001}))[1] > seconds + n * 20 * 0.001 - 1


def test_each_kind_of_run_is_timed(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_WORKERS", "1")
    penalised = Run(0, 0.01, penalty="l2", strength=1.0, hidden=(8,), batch_size=20)
    with ThreadPoolExecutor(1) as executor:
        speed = plan.probe([Run(0, 0.01, hidden=(8,), batch_size=20), penalised], tiny_data, executor)
    assert speed.plain == speed.of[PLAIN] > 0 and speed.of[plan.kind(penalised)] > 0


def test_the_table_has_a_row_a_stage_and_a_total() -> None:
    runs = [Run(0, 0.01, epochs=20)] * 30
    rows = [plan.Row("tune@a", 40, 10, False, runs), plan.Row("diagnose@a", n_measured=4, measured_cached=1)]
    text = plan.table(rows, plan.Speed(0.5, {}))
    assert text.splitlines() == [
        "stage       runs        kept  measurements  kept    about",
        "tune@a        40  10 or more             -     -  5.0 min",
        "diagnose@a     -           -             4     1     52 s",
        "total         40  10 or more             4     1  5.9 min",
    ]


@pytest.mark.slow
def test_it_prints_every_stage_of_a_fresh_copy_and_writes_nothing_that_git_sees(tmp_path: Path) -> None:
    smoke.copy(ROOT, tmp_path)
    smoke.shrink(tmp_path / "params.yaml")
    before = subprocess.check_output(["git", "status", "--porcelain", "-uall"], cwd=tmp_path, text=True)
    own = smoke.environment() | forks() | {"PYTHONPATH": f"src{os.pathsep}."}
    command = ["python", "-m", "tools.plan"]
    done = subprocess.run(command, cwd=tmp_path, env=own, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    first = [line.split()[0] for line in done.stdout.splitlines()]
    arms = parameters.load(tmp_path / "params.yaml").arms
    assert {"prepare", "dose_response", "replicate", "compare", "tables", "plot", "total"} <= set(first)
    assert {f"{stage}@{arm}" for stage in ("tune", "train", "budget", "diagnose") for arm in arms} <= set(first)
    assert before == subprocess.check_output(["git", "status", "--porcelain", "-uall"], cwd=tmp_path, text=True)
