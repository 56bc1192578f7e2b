"""The whole pipeline on tiny params, through dvc itself: what runs, what is written, what a change runs again."""

import json
import re
import shlex
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.pipeline.copies import ALL, ARMS, OF_ARM, ROOT, Copy

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    copy = Copy(tmp_path_factory.mktemp("copy"))
    with copy.warm() as python:
        assert copy.repro() == ALL
        copy.commit()
        yield copy
        python.communicate()


@pytest.fixture
def copy(finished: Copy) -> Iterator[Copy]:
    before = json.dumps(finished.params)
    yield finished
    finished.params = json.loads(before)
    finished.run("git", "checkout", "-q", "--", ".")
    finished.run("git", "clean", "-qfd", "--", "metrics", "src", "data/source", "survey")


def rows(copy: Copy, name: str) -> pd.DataFrame:
    return pd.read_json(copy.folder / "metrics" / f"{name}.json", precise_float=True)


def test_the_first_run_writes_every_record_and_figure(copy: Copy) -> None:
    sizes = {"tune": 9, "train": 6, "budget": 24, "diagnose": 3}
    assert {(kind, arm): len(rows(copy, f"{kind}/{arm}")) for kind in sizes for arm in ARMS} == {
        (kind, arm): n for kind, n in sizes.items() for arm in ARMS
    }
    starts = [rows(copy, f"train/{arm}").set_index(["study", "seed"])["initial_weights"] for arm in ARMS]
    assert starts[0].equals(starts[1])
    designs = [rows(copy, f"budget/{arm}")[["replicate", "point", "seed", "lr"]] for arm in ARMS]
    assert designs[0].equals(designs[1])
    seeds = [set(frame["seed"]) for frame in (designs[0], rows(copy, "train/baseline"), rows(copy, "tune/baseline"))]
    assert len(set.union(*seeds)) == sum(map(len, seeds))
    replicated = rows(copy, "replicate").groupby("row")
    weights = replicated["initial_weights"].agg(list)
    assert weights["baseline"] == weights["regularized_fresh"] != weights["regularized_continued"]
    first = replicated["validation_loss_curve"].agg(lambda curves: max(curve[0] for curve in curves))
    assert first["regularized_continued"] < first["regularized_fresh"]  # it starts from trained weights
    assert set(rows(copy, "activity")["arm"]) == {"regularized"}
    assert set(rows(copy, "dose_response")["strength"]) == {0, 0.01, 3}
    assert len(list((copy.folder / "plots").glob("*.png"))) == 9


def test_the_answer_and_the_metrics_are_short(copy: Copy) -> None:
    answer = copy.run("python", "-m", "tools.answer", PYTHONPATH="src")
    assert "regularized" in answer.splitlines()[0] and max(map(len, answer.splitlines())) <= 200
    (command,) = set(re.findall(r"dvc metrics show[^`\n]*", (ROOT / "README.md").read_text()))
    shown = copy.run(*command.split())
    assert "regu-base" in shown and max(map(len, shown.splitlines())) <= 120


def test_going_back_after_an_edit_or_an_experiment_is_cached(copy: Copy) -> None:
    for name in (".DS_Store", "loop.py~", "._loop.py", ".loop.py.swp"):  # of editors and systems
        (copy.folder / "src/svvr/training" / name).touch()
    (copy.folder / "src/svvr/penalties/.#l2.py").symlink_to("nowhere")
    assert copy.repro() == set()
    before = copy.results()
    copy.params["compare"]["margin"] = 0.02
    copy.write_params()
    assert copy.repro() == {"compare", "plot"}
    assert copy.results() != before
    copy.run("git", "clean", "-qfd", "--", "src")
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    output = copy.run("dvc", "repro")
    assert {"Stage 'compare' is cached", "Stage 'plot' is cached"} <= {
        line.split(" - ")[0] for line in output.splitlines()
    }
    assert copy.results() == before and not copy.run("git", "status", "--short")
    key = "penalties.sv_variance.strength.high"
    copy.run("dvc", "exp", "run", "-q", "-S", f"{key}=1", "-S", "tuning.space.lr.low=1e-5", "-s", "tune@regularized")
    assert rows(copy, "tune/regularized")["strength"].max() <= 1 and copy.results() != before
    assert key in copy.run("dvc", "params", "diff")
    (command,) = re.findall("dvc exp show[^#]*", (ROOT / "docs/running.md").read_text())
    shown = copy.run(*shlex.split(command), COLUMNS="120")
    assert key in shown and "metrics/" not in shown and max(map(len, shown.splitlines())) <= 120
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    assert "Stage 'tune@regularized' is cached - skipping run" in copy.run("dvc", "repro", "-s", "tune@regularized")
    copy.run("git", "checkout", "-q", "--", "dvc.lock")
    assert copy.results() == before and not copy.run("git", "status", "--short")


GATHER = {"activity", "compare", "plot"}
OF_REGULARIZED = {f"{stage}@regularized" for stage in OF_ARM}
TRAINED = {f"{stage}@{arm}" for stage in ("tune", "train", "budget") for arm in ARMS}


# A row of the README's table, or "" for further ones; a change; what must run again, and what may, if outputs change
CHANGES: list[tuple[str, Any, set[str], set[str]]] = [
    ("`compare.margin`", {"compare": {"margin": 0.02}}, {"compare"}, {"plot"}),
    ("", {"compare": {"boundary": 0.3}}, {"compare"}, {"plot"}),
    ("a figure's code", "src/svvr/report/search.py", {"plot"}, set()),
    (
        "`arms.X`",
        {"arms": {"regularized": {"tune": ["lr", "strength", "weight_decay"]}}},
        TRAINED & OF_REGULARIZED,
        OF_REGULARIZED | GATHER | {"prepare"},
    ),
    (
        "`penalties.sv_variance`",
        {"penalties": {"sv_variance": {"strength": {"high": 5.0}}}},
        TRAINED,
        ALL - {"dose_response", "replicate"},
    ),
    (
        "a penalty's file",
        "src/svvr/penalties/none.py",
        {"tune@baseline", "budget@baseline", "replicate", "dose_response"},
        ALL - OF_REGULARIZED,
    ),
    ("`training.epochs`", {"training": {"epochs": 3}}, TRAINED | {"dose_response"}, ALL - {"prepare", "replicate"}),
    ("", {"final": {"seeds": 3}}, {"train@baseline", "train@regularized"}, ALL - {"prepare", *TRAINED}),
    ("", {"replicate": {"seeds": 3}}, {"replicate"}, {"plot"}),
    (
        "",
        {"diagnose": {"tolerance": 0.01}},
        {"diagnose@baseline", "dose_response"},
        {"diagnose@regularized", *GATHER},
    ),
]
DRY = """
import json, logging, subprocess, sys
from pathlib import Path
from dvc.repo import Repo

found = []
for name, content in json.load(sys.stdin):
    Path(name).write_text(content)
    found.append([stage.addressing for stage in Repo().reproduce(dry=True)])
    subprocess.run(["git", "checkout", "-q", "--", name], check=True)
print(json.dumps(found))
"""


def test_what_a_change_runs_again(copy: Copy) -> None:
    table = (ROOT / "README.md").read_text().partition("| change |")[2].partition("\n\n")[0]
    rows_of_readme = {row.split(" | ")[0].lstrip("| ") for row in table.splitlines()[2:]}
    assert rows_of_readme == {row for row, *_ in CHANGES if row} | {"back to an old value"}  # the test above
    edits = []
    for _, change, _, _ in CHANGES:
        params = json.loads(json.dumps(copy.params))
        if isinstance(change, str):
            edits.append((change, (copy.folder / change).read_text() + "\nX = 1\n"))
        else:
            merge(params, change)
            edits.append(("params.yaml", yaml.safe_dump(params, sort_keys=False)))
    output = copy.run("python", "-c", DRY, stdin=json.dumps(edits)).splitlines()[-1]
    for (_, change, must, may), ran in zip(CHANGES, map(set, json.loads(output)), strict=True):
        assert must <= ran <= must | may, (change, ran - must - may, must - ran)


def merge(params: dict[str, Any], change: dict[str, Any]) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            merge(params[key], value)
        else:
            params[key] = value


def test_a_comment_in_a_penalty_trains_nothing_anew(copy: Copy) -> None:
    path, kept = copy.folder / "src/svvr/penalties/sv_variance.py", set(copy.folder.glob(".cache/svvr/*/*"))
    before = copy.results()
    path.write_text(path.read_text() + "\n# a comment\n")
    assert copy.repro("-s", "tune@regularized") == {"tune@regularized"}
    assert set(copy.folder.glob(".cache/svvr/*/*")) == kept and copy.results() == before


def test_the_guide_to_one_s_own_regularizer(copy: Copy) -> None:
    """Follow the README literally: the new arm runs alone; removed, it is left out; back, it is cached."""
    guide = (ROOT / "README.md").read_text().partition("## Your own regularizer")[2]
    (name,) = set(re.findall(r"src/svvr/penalties/([a-z_]+)\.py", guide.partition("```")[0]))
    code, arm = (textwrap.dedent(block) for block in re.findall(r"(?s)```(?:python|yaml)\n(.*?)```", guide)[:2])
    (copy.folder / f"src/svvr/penalties/{name}.py").write_text(code)
    copy.params["arms"] |= yaml.safe_load(arm)
    copy.write_params()
    assert copy.repro("compare") == {*(f"{stage}@{name}" for stage in OF_ARM), "prepare", "activity", "compare"}
    summary = json.loads((copy.folder / "metrics/summary.json").read_text())
    assert (name, "baseline") in {(row["arm"], row["reference"]) for row in summary["contrasts"]}
    found = {file: content for file, content in copy.results().items() if Path(file).stem == name}
    del copy.params["arms"][name]
    copy.write_params()
    output = copy.stage("compare")
    (command,) = re.findall(rf"{name} is no arm in params\.yaml; .*: (rm .*)\n", output)
    copy.run("sh", "-c", command)
    assert name not in (copy.folder / "metrics/summary.json").read_text()
    copy.params["arms"] |= yaml.safe_load(arm)
    copy.write_params()
    copy.run("git", "checkout", "-q", "--", "dvc.lock")
    output = copy.run("dvc", "repro", "-s", *(stages := [f"{stage}@{name}" for stage in OF_ARM]))
    assert all(f"Stage '{stage}' is cached - skipping run" in output for stage in stages)
    assert len(found) == len(stages) and found.items() <= copy.results().items()


def test_one_arm_and_no_contrasts(copy: Copy) -> None:
    copy.params["arms"] = {"baseline": copy.params["arms"]["baseline"]}
    copy.params["compare"]["contrasts"] = []
    copy.write_params()
    for name in ("activity", "compare"):
        copy.stage(name)
    assert json.loads((copy.folder / "metrics/verdicts.json").read_text()) == {}
    assert "no arm has a reference" in copy.run("python", "-m", "tools.answer", PYTHONPATH="src")


CHECK = """
test, rows = records.read_npz("data/test.npz"), records.read_rows("metrics/train/regularized.json", "test_loss")
loss = torch.nn.functional.cross_entropy(network(torch.tensor(test["x_test"])), torch.tensor(test["y_test"]))
assert abs(loss.item() - rows["test_loss"].iloc[0]) < 1e-6 and regularized(loss, network, 0.1) > loss
"""


def test_the_snippets_of_the_docs_run_and_final_weights_have_the_recorded_test_loss(copy: Copy) -> None:
    section = (ROOT / "docs/penalties.md").read_text().partition("## From Python")[2]
    code = "\n".join(re.findall(r"(?s)```python\n(.*?)```", section)).replace("128", "8")
    assert "tabular" in copy.run("python", "-c", code + CHECK, PYTHONPATH="src")


def test_dvc_finds_the_environment_itself(copy: Copy) -> None:
    kept = (copy.folder / ".venv").rename(copy.folder / ".venv.warm")
    (copy.folder / ".venv").symlink_to(Path(sys.prefix))
    dvc = str(Path(sys.executable).parent / "dvc")
    assert "Running stage 'compare'" in copy.run(dvc, "repro", "-f", "-s", "compare", PATH="/usr/bin:/bin")
    (copy.folder / ".venv").unlink()
    kept.rename(copy.folder / ".venv")


def test_a_clone_shows_that_code_params_and_results_belong_together(copy: Copy, tmp_path: Path) -> None:
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Copy.__new__(Copy)
    clone.folder = tmp_path / "clone"
    assert clone.repro("--allow-missing") == set()
    clone.run("dvc", "repro", "prepare")
    named = clone.run("python", "-c", "from tools import repro; print(repro.outdated())", PYTHONPATH="src")
    assert all(f"'{stage}@{arm}'" in named for stage in ("train", "diagnose") for arm in ARMS)
    assert "regu-base" in clone.run("dvc", "metrics", "show", "metrics/verdicts.json")


def test_the_guide_to_one_s_own_data(copy: Copy) -> None:
    """Follow docs/data.md with 7 features and 3 classes, one of them constant; then with scikit-learn's digits."""
    (block,) = re.findall(r"(?s)```yaml\n(.*?)```", (ROOT / "docs/data.md").read_text())
    copy.params |= yaml.safe_load(textwrap.dedent(block))
    y = np.repeat(["setosa", "virginica", "versicolor"], 50)
    x = np.random.default_rng(0).normal(size=(150, 7)) + np.arange(7) * (y == "setosa")[:, None]
    frame = pd.DataFrame(x, columns=list("abcdefg")).assign(g=1.0, species=y)
    frame.to_csv(copy.folder / copy.params["data"]["path"], index=False)
    copy.params["arms"] = {"regularized": copy.params["arms"]["regularized"] | {"reference": None}}
    copy.params["compare"]["contrasts"], copy.params["training"]["batch_size"] = [], 30
    copy.write_params()
    output = copy.run("dvc", "repro", "train@regularized", "replicate")
    assert "1 of 7 features left out" in output and "replicate: left out" in output
    assert rows(copy, "data")["shape"].tolist() == [[90, 6], [90], [30, 6], [30], [30, 6], [30]]
    assert rows(copy, "train/regularized")["validation_accuracy"].max() > 0.5
    assert rows(copy, "replicate").empty
    copy.params["data"] = {"name": "digits", "seed": 1}
    copy.write_params()
    assert copy.repro("tune@regularized") == {"prepare", "tune@regularized"}
    frame.to_csv(copy.folder / "data/source/another.csv", index=False)  # DVC watches the folder
    assert copy.repro("prepare") == {"prepare"}


def test_the_league_trains_the_cells_of_a_new_penalty_alone(copy: Copy) -> None:
    path, makefile = copy.folder / "survey/params.yaml", (ROOT / "Makefile").read_text()
    ((cells, league),) = re.findall(r"@dvc repro -k --glob (.*); found=.*; dvc repro -s (\S+) && exit", makefile)
    settings = yaml.safe_load(path.read_text()) | {"trials": 3, "design": {"replicates": 3, "points": 2, "seeds": 2}}
    settings["regimes"] = {"short": settings["regimes"]["digits"] | {"training": {"epochs": 1}}}
    settings["penalties"] = {"none": {"decay": True}}
    (copy.folder / "src/svvr/penalties/mine.py").write_text("def penalty(W):\n    return W.abs().sum()\n")
    for name in ("none", "mine"):
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        asked = shlex.split(cells.replace("$(or $(REGIME),*)", "short").replace("$(or $(PENALTY),*)", name))
        assert copy.repro("-k", "--glob", *asked) == {f"survey/dvc.yaml:cell@short-{name}"}
        settings["penalties"]["mine"] = {"strength": {"low": 1e-4, "high": 1e-2}}
    assert copy.repro("-s", league) == {"survey/dvc.yaml:league"}
    table = pd.read_csv(copy.folder / "survey/league.csv")
    assert table[["regime", "penalty", "decay"]].to_numpy().tolist() == [
        ["short", *arm] for arm in (("none", False), ("none", True), ("mine", False))
    ]
    assert table["adamw_effect_percent"].isna().tolist() == [False, True, False]
    assert (copy.folder / "survey/league.png").exists() and "survey" not in copy.run("dvc", "repro", "--dry")
