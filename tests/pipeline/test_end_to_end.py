"""The whole pipeline on tiny params in a temporary copy of the repository, through dvc itself."""

import re
import shutil
import textwrap
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.copies import ALL, ARMS, GATHER, OF_ARM, Copy

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.slow]
PNGS = ("budget", "comparison", "search", "paired", "links", "spectra", "dose_response", "replication")


def test_the_first_run_writes_every_record_and_figure(copy: Copy) -> None:
    for arm in ARMS:
        tune, train = copy.json(f"tune/{arm}.json"), copy.json(f"train/{arm}.json")
        assert [study["study"] for study in tune["studies"]] == [0, 1, 2]
        assert len(train["runs"]) == 6 and all(len(run["validation_loss"]) == 2 for run in train["runs"])
        assert len(copy.json(f"diagnose/{arm}.json")["runs"]) == 3
    hashes = [{(r["seed"], r["initial_weights"]) for r in copy.json(f"train/{arm}.json")["runs"]} for arm in ARMS]
    assert all(each == hashes[0] for each in hashes)
    trained = {r["initial_weights"] for r in copy.json("train/baseline.json")["runs"]}
    rows = {row["row"]: row["runs"] for row in copy.json("replicate.json")["rows"]}
    starts = {name: [run["initial_weights"] for run in runs] for name, runs in rows.items()}
    assert len({run["seed"] for run in rows["baseline"]}) == 2
    assert starts["regularized_fresh"] == starts["baseline"] and not set(starts["baseline"]) & trained
    assert not set(starts["regularized_continued"]) & set(starts["baseline"])  # it starts from trained weights
    firsts = {name: [run["validation_loss"][0] for run in runs] for name, runs in rows.items()}
    assert all(c < f for c, f in zip(firsts["regularized_continued"], firsts["regularized_fresh"], strict=True))
    points = [(r["replicate"], r["point"], r["seed"], r["lr"]) for r in copy.json("budget/baseline.json")["runs"]]
    assert (
        len(set(points)) == 3 * 4 * 2
        and len({seed for _, _, seed, _ in points} & {r["seed"] for r in copy.json("train/baseline.json")["runs"]}) == 0
    )
    for arm in ARMS:
        assert [
            (r["replicate"], r["point"], r["seed"], r["lr"]) for r in copy.json(f"budget/{arm}.json")["runs"]
        ] == points
    dose = copy.json("dose_response.json")
    assert len(dose["others"]) == 1 and dose["others"][0]["weight_decay"] == 0.4
    assert dose["strengths"] == [0, 0.1] and all(len(dose["smoothness"][key]) == 2 for key in ("mean", "ci_low"))
    seeds = [{run["seed"] for run in dose["runs"] if run["strength"] == strength} for strength in (0, 0.1)]
    assert seeds[0] == seeds[1] and len(seeds[0]) == 2
    assert {path.stem for path in (copy.folder / "plots").glob("*.png")} == set(PNGS)
    assert copy.json("summary.json")["contrasts"][0]["link"] == "generalisation"


def test_a_stage_declares_exactly_the_sections_of_params_that_it_reads(copy: Copy) -> None:
    stages = yaml.safe_load((copy.folder / "dvc.yaml").read_text())["stages"]
    for stage in ALL:
        read = set((copy.folder / f".cache/reads-{stage}").read_text().split()) & set(copy.params())
        body = stages[stage.split("@")[0]]
        declared = {key.split(".")[0] for key in body.get("do", body)["params"]}
        known = {"arms"} if "@" in stage else set()  # that its arm is one of them
        assert read | known == declared | known, stage


def test_the_tables_hold_a_row_a_run_and_a_row_a_trial(copy: Copy) -> None:
    runs, trials = (pd.read_csv(copy.folder / f"metrics/tables/{name}.csv") for name in ("runs", "trials"))
    assert runs.groupby("arm", sort=False).size().to_dict() == dict.fromkeys(ARMS, 6)
    assert trials.groupby(["arm", "study"])["winner"].sum().eq(1).all() and len(trials) == len(ARMS) * 3 * 3
    expected = [run["test_loss"] for run in copy.json("train/regularized.json")["runs"]]
    assert runs.loc[runs["arm"] == "regularized", "test_loss"].tolist() == expected


def test_nothing_changed_nothing_runs(copy: Copy) -> None:
    assert copy.repro() == set()


def test_make_repro_ends_with_the_verdicts_and_refuses_a_damaged_lock(copy: Copy) -> None:
    output = copy.make("repro")
    assert "Running stage" not in output
    table = output[output.index("contrast  ") :].splitlines()
    named = [line for line in table if "  generalisation  " in line]
    assert len(named) == len(copy.params()["compare"]["contrasts"]) and output.count("contrast  ") == 1
    lock = copy.folder / "dvc.lock"
    whole = lock.read_text()
    for damaged in ("", "- a list", whole[:40] + "{", whole[: whole.index("cmd:") + 2]):
        lock.write_text(damaged)
        refused = copy.make("repro", status=2).splitlines()[0]
        expected = "expected what dvc writes; bring it back with: git checkout dvc.lock"
        assert refused == f"dvc.lock: got a damaged file, {expected}"
    lock.write_text(whole)
    before = copy.results()
    params = copy.params()
    params["final"]["seeds"] = 10**9
    copy.write_params(params)
    assert copy.make("repro", status=2).startswith("params.yaml: final.seeds: got 1000000000, expected a whole number")
    assert copy.results() == before


@pytest.mark.parametrize("name", ["a;touch PWNED", "$(touch PWNED)", "../a", "a b"])
def test_a_name_in_params_never_reaches_a_shell(copy: Copy, name: str) -> None:
    params = copy.params()
    params["arms"][name] = params["arms"].pop("weight_decay_regularized")
    copy.write_params(params)
    copy.run("dvc", "repro", "-s", f"tune@{name}", status=255)
    assert not list(copy.folder.rglob("PWNED*"))


def test_make_clean_cache_forgets_finished_runs(copy: Copy) -> None:
    assert list((copy.folder / ".cache/svvr").glob("*/*.npz"))
    copy.make("clean-cache")
    assert not (copy.folder / ".cache/svvr").exists()


def test_make_help_lists_every_target(copy: Copy) -> None:
    targets = re.findall(r"^([a-z-]+):", (copy.folder / "Makefile").read_text(), re.MULTILINE)
    listed = [line.split()[0] for line in copy.make("help").splitlines()]
    assert sorted(targets) == sorted(listed) and len(listed) > 8


def test_recomputing_everything_in_a_clone_gives_the_same_bytes(copy: Copy) -> None:
    output = copy.make("verify")
    assert set(re.findall(r"Running stage '([^']+)'", output)) == ALL
    assert re.search(r"verify: \d+ metrics files agree byte for byte", output)


@pytest.mark.parametrize("name,value", [("margin", 0.02), ("boundary", 0.3), ("level", 0.99)])
def test_a_comparison_param_compares_and_plots_again(copy: Copy, name: str, value: float) -> None:
    params = copy.params()
    params["compare"][name] = value
    copy.write_params(params)
    ran = copy.repro()
    assert "compare" in ran and ran <= {"compare", "plot"}


def test_a_figure_plots_again(copy: Copy) -> None:
    path = copy.folder / "src/svvr/show/figures/search.py"
    path.write_text(path.read_text() + "\n# edited\n")
    assert copy.repro() == {"plot"}


def test_an_arm_s_setting_runs_that_arm_alone_and_going_back_restores_it(copy: Copy) -> None:
    params, before = copy.params(), copy.results()
    params["arms"]["weight_decay"]["tune"] = ["lr"]
    copy.write_params(params)
    assert copy.repro() == {*(f"{stage}@weight_decay" for stage in OF_ARM), *GATHER}
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    output = copy.run("dvc", "repro")
    assert "is cached - skipping run" in output
    assert set(re.findall(r"Running stage '([^']+)'", output)) <= {"tables"}  # dvc keeps no run of such outputs
    assert copy.results() == before


def test_the_guide_to_one_s_own_regularizer(copy: Copy) -> None:
    """Follow the README literally: the new arm runs alone; removed again, it is left out."""
    readme = (copy.folder / "README.md").read_text()
    guide = readme[readme.index("## Your own regularizer") :]
    (name,) = re.findall(r"`(src/svvr/penalties/[a-z_]+\.py)`:", guide)
    code, arm = (textwrap.dedent(block) for block in re.findall(r"(?s)```(?:python|yaml)\n(.*?)```", guide)[:2])
    (copy.folder / name).write_text(code)
    params = copy.params()
    params["arms"] |= yaml.safe_load(arm)
    copy.write_params(params)
    assert copy.repro() == {*(f"{stage}@nuclear" for stage in OF_ARM), *GATHER}
    contrasts = [(c["arm"], c["reference"]) for c in copy.json("summary.json")["contrasts"]]
    assert ("nuclear", "baseline") in contrasts
    del params["arms"]["nuclear"]
    copy.write_params(params)
    output = copy.run("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", output)) <= GATHER
    assert "nuclear" not in (copy.folder / "metrics/summary.json").read_text()


def test_an_arm_removed_leaves_the_others_alone(copy: Copy) -> None:
    params = copy.params()
    del params["arms"]["weight_decay_regularized"]
    copy.write_params(params)
    refused = copy.run("python", "stages/compare.py", status=1, PYTHONPATH="src")
    assert "compare.contrasts.1: got 'weight_decay_regularized', expected one of the arms" in refused
    params["compare"]["contrasts"] = [["regularized", "baseline"], ["regularized", "weight_decay"]]
    copy.write_params(params)
    output = copy.run("dvc", "repro")
    assert set(re.findall(r"Running stage '([^']+)'", output)) == GATHER
    assert output.count("weight_decay_regularized.json") == 4 and "belongs to no arm" in output
    assert "weight_decay_regularized" not in (copy.folder / "metrics/summary.json").read_text()


def test_the_best_epoch_counts_in_tuning_and_reporting_where_it_is_selected(copy: Copy) -> None:
    params = copy.params()
    params["selection"] = "best_epoch"
    params["training"]["epochs"] = 12
    params["tuning"]["space"]["lr"] = {"low": 0.3, "high": 1.0}  # so high that the loss soon rises
    copy.write_params(params)
    for script in ("tune", "train"):
        copy.run("python", f"stages/{script}.py", "baseline", PYTHONPATH="src")
    trials = [trial for study in copy.json("tune/baseline.json")["studies"] for trial in study["trials"]]
    complete = [trial for trial in trials if trial["state"] == "complete"]
    assert all(trial["losses"] == trial["losses_by_rule"]["best_epoch"] for trial in complete)
    assert any(trial["losses"][0] < trial["losses_by_rule"]["last_epoch"][0] for trial in complete)
    train = copy.json("train/baseline.json")
    assert train["selection"] == "best_epoch"
    runs = [run for run in train["runs"] if run["state"] == "complete"]
    assert all(min(run["validation_loss"]) == run["validation_loss"][run["selected_epoch"] - 1] for run in runs)
    assert any(run["selected_epoch"] < 12 for run in runs)


def test_another_penalty_s_file_touches_no_arm_that_does_not_use_it(copy: Copy) -> None:
    path = copy.folder / "src/svvr/penalties/none.py"
    path.write_text(path.read_text() + "\n# edited\n")
    ran = copy.repro("--dry")
    assert {"tune@baseline", "tune@weight_decay"} <= ran
    assert not any("regularized" in stage for stage in ran)


def test_epochs_run_all_but_prepare_and_replicate(copy: Copy) -> None:
    params = copy.params()
    params["training"]["epochs"] = 3
    copy.write_params(params)
    ran = copy.repro("--dry")
    assert ran <= ALL - {"prepare", "replicate"}
    assert {f"{stage}@{arm}" for stage in ("tune", "train", "budget") for arm in ARMS} | {"dose_response"} <= ran


def test_a_clone_shows_that_code_params_and_results_belong_together(copy: Copy, tmp_path: Path) -> None:
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = object.__new__(Copy)
    clone.folder = tmp_path / "clone"
    assert clone.repro("--allow-missing") == set()
    assert clone.results() == copy.results()
    shown = clone.run("dvc", "metrics", "show")
    assert "regularized_vs_baseline_verdict" in shown and "contrasts" not in shown and "runs" not in shown.split()
    ran = clone.repro()
    assert ran <= {"prepare", *(f"train@{arm}" for arm in ARMS)}
    assert clone.results() == copy.results()


def test_dvc_s_own_commands(copy: Copy) -> None:
    params, before = copy.params(), copy.json("train/baseline.json")["test_loss"]
    params["training"]["epochs"] = 3
    copy.write_params(params)
    assert re.search(r"params\.yaml\s+training\.epochs\s+2\s+3", copy.run("dvc", "params", "diff"))
    copy.repro("train@baseline")
    (row,) = (
        row.split() for row in copy.run("dvc", "metrics", "diff").splitlines()
        if row.startswith("metrics/train/baseline.json") and "test_loss" in row
    )  # fmt: skip
    after = copy.json("train/baseline.json")["test_loss"]
    assert [float(value) for value in row[2:]] == pytest.approx([before, after, after - before], abs=2e-5)
    page = copy.run("dvc", "plots", "show")
    html = (copy.folder / "dvc_plots/index.html").read_text()
    assert "index.html" in page and all(html.count(f"{name}.png</p>") == 1 for name in PNGS)
    assert html.count("vegaEmbed(") == 8 and "http" not in re.sub(r"https://vega\.github\.io/schema", "", html)
    shutil.rmtree(copy.folder / "dvc_plots")
    copy.repro("plot")
    copy.run("dvc", "plots", "diff")
    both = (copy.folder / "dvc_plots/index.html").read_text()
    assert both.count("vegaEmbed(") == 8 and '"rev": "HEAD"' in both and '"rev": "workspace"' in both
    shutil.rmtree(copy.folder / "dvc_plots")
    described = copy.run("dvc", "stage", "list")
    assert all(re.search(rf"^{re.escape(name)}\s+\w.*\.$", described, re.MULTILINE) for name in ALL)


def test_experiments_set_params_from_the_command_line(copy: Copy) -> None:
    for number, (setting, ran) in enumerate(
        {
            "training.epochs=5": {"tune@baseline"},
            "tuning.space.lr.low=1e-5": {"tune@baseline"},  # dvc writes it as 1e-05, a string to YAML 1.1
            "arms.regularized.penalty.name=orthogonality": {"tune@regularized"},
        }.items()
    ):
        output = copy.run("dvc", "exp", "run", "-S", setting, "--name", f"number{number}", *ran)
        assert set(re.findall(r"Running stage '([^']+)'", output)) == ran
        (key, value), (arm,) = setting.split("="), (each.split("@")[1] for each in ran)
        assert f"{key.split('.')[-1]}: {value.replace('1e-5', '1e-05')}\n" in (copy.folder / "params.yaml").read_text()
        record = copy.json(f"tune/{arm}.json")
        assert record["penalty"] == ("orthogonality" if arm == "regularized" else "none")
        copy.run("git", "checkout", "-q", "--", ".")
    shown = copy.run("dvc", "exp", "show", "--only-changed", "--csv")
    assert all(f"number{number}" in shown for number in range(3)) and "training.epochs" in shown


def test_experiments_in_a_copy_and_in_the_queue_leave_the_workspace_alone(copy: Copy) -> None:
    before = copy.results()
    output = copy.run("dvc", "exp", "run", "--temp", "-S", "training.epochs=4", "--name", "beside", "tune@baseline")
    assert "Running stage 'tune@baseline'" in output
    copy.run("dvc", "exp", "run", "--queue", "-S", "training.epochs=6", "--name", "queued", "tune@baseline")
    copy.run("dvc", "queue", "start")
    try:
        deadline = time.monotonic() + 120
        while "Success" not in (status := copy.run("dvc", "queue", "status")) and time.monotonic() < deadline:
            assert "Failed" not in status
            time.sleep(1)
        assert "Success" in status
    finally:
        copy.run("dvc", "queue", "stop")
    assert copy.results() == before and copy.params()["training"]["epochs"] == 2
    shown = copy.run("dvc", "exp", "show", "--only-changed", "--csv")
    assert "beside" in shown and "queued" in shown
