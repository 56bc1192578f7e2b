"""The whole pipeline on tiny params in a temporary copy of the repository, through dvc itself."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.copies import ALL, ARMS, TOOLS, Copy

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


def test_recomputing_everything_in_a_clone_gives_the_same_bytes(copy: Copy) -> None:
    output = copy.make("verify")
    assert set(re.findall(r"Running stage '([^']+)'", output)) == ALL
    assert re.search(r"verify: \d+ metrics files agree byte for byte", output)


def test_processes_of_their_own_give_the_bytes_of_forks(copy: Copy) -> None:
    """Elsewhere stages are forks of one process, see `warm`; here search, training and measures are not."""
    before = copy.results()
    for command in ("tune.py regularized", "dose_response.py"):
        script, *arm = command.split()
        copy.run("python", f"stages/{script}", *arm, PATH=TOOLS["PATH"], PYTHONPATH="src", SVVR_CACHE="off")
    assert copy.results() == before


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


def test_a_clone_shows_that_code_params_and_results_belong_together(copy: Copy, tmp_path: Path) -> None:
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone = Copy.at(tmp_path / "clone")
    assert clone.repro("--allow-missing") == set()
    assert clone.results() == copy.results()
    assert "verdicts/regularized_vs_baseline.json" in clone.run("dvc", "metrics", "show")
    ran = clone.repro()
    assert ran <= {"prepare", *(f"train@{arm}" for arm in ARMS)}
    assert clone.results() == copy.results()
