"""Records to frames: every cell by hand, folder and records alike, and CSV that gives the frame back."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from svvr import tables
from svvr.core import files
from svvr.judge import schemas
from tests.judge import made

RECORDS: made.Records = {
    "tune": {
        "a": {"studies": [made.study(0, [made.trial(0, 1.5, lr=0.1), made.trial(1, None, lr=0.2)])]},
        "b": {"studies": [made.study(3, [made.trial(0, 1.0, strength=2.0, lr=0.1), made.trial(1, 1.0, lr=0.1)])]},
    },
    "train": {
        "a": {"runs": [made.final_run(0, 7, 1.5), made.final_run(0, 8, None)]},
        "b": {"runs": [made.final_run(0, 8, 1.25, strength=0.1), made.final_run(0, 7, 2.5, strength=0.1),
                       made.final_run(1, 7, 1.0)]},
    },
    "budget": {
        "a": {"runs": [made.design_run(0, 2, seed, (1.5, 1.25)) for seed in (5, 3)]},
        "b": {"runs": [made.design_run(0, 2, 5, (None, None), strength=0.1), made.design_run(1, 2, 9, (1.0, 2.0))]},
    },
    "diagnose": {
        "a": {"runs": [made.diagnosed_run(0, 7, 0.5), made.diagnosed_run(0, 8, None)]},
        "b": {"runs": [made.diagnosed_run(0, 7, 0.75, [0.25])]},
    },
}  # fmt: skip
NO_RUNS: made.Records = {
    kind: {"a": {"studies" if kind == "tune" else "runs": []}} for kind in RECORDS
}  # fmt: skip
FRAMES: list[Callable[[Any], pd.DataFrame]] = [
    tables.runs, tables.curves, tables.trials, tables.design, tables.spectra, tables.quantities, tables.evenness,
]  # fmt: skip
CURVES = ["train_loss", "validation_loss", "validation_accuracy", "gradient_norm_mean", "gradient_norm_sd"]


def rows(frame: pd.DataFrame) -> list[list[Any]]:
    """Return the cells, None where one is missing."""
    return frame.astype(object).where(frame.notna(), None).to_numpy().tolist()


def documented(name: str) -> list[str]:
    """Return the columns that docs/tables.md gives for a frame."""
    text = (made.ROOT / "docs/tables.md").read_text()
    (section,) = re.findall(rf"^## `tables\.{name}`(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    return [
        column for cell in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for column in re.findall("`(.*?)`", cell)
    ]


def test_runs() -> None:
    assert rows(tables.runs(RECORDS)) == [
        ["a", 0, 7, "hash7", "complete", 2, 0.01, 0.0, 0.0, 1.5, 0.5],
        ["a", 0, 8, "hash8", "failed", None, 0.01, 0.0, 0.0, None, None],
        ["b", 0, 8, "hash8", "complete", 2, 0.01, 0.1, 0.0, 1.25, 0.5],
        ["b", 0, 7, "hash7", "complete", 2, 0.01, 0.1, 0.0, 2.5, 0.5],
        ["b", 1, 7, "hash7", "complete", 2, 0.01, 0.0, 0.0, 1.0, 0.5],
    ]


def test_curves() -> None:
    frame = tables.curves(RECORDS)
    assert list(frame.columns) == ["arm", "study", "seed", "epoch", *CURVES, "gradient_cosine"]
    assert rows(frame)[:4] == [
        ["a", 0, 7, 1, *5 * [2.0], None],
        ["a", 0, 7, 2, *5 * [1.0], 0.5],
        ["a", 0, 8, 1, *5 * [2.0], None],
        ["a", 0, 8, 2, *5 * [None], 0.5],
    ]
    assert len(frame) == 10 and frame.dtypes[4:].eq("float64").all()


def test_trials() -> None:
    """A trial won if its knobs and its objective are the winner's: either alone may be met by another trial."""
    assert rows(tables.trials(RECORDS)) == [
        ["a", 0, 0, "complete", 1.5, True, 0.1, None, None],
        ["a", 0, 1, "failed", None, False, 0.2, None, None],
        ["b", 3, 0, "complete", 1.0, True, 0.1, 2.0, None],
        ["b", 3, 1, "complete", 1.0, False, 0.1, None, None],
    ]


def test_design() -> None:
    assert rows(tables.design(RECORDS)) == [
        ["a", 0, 2, 5, 0, 0.01, 0.0, 0.0, "complete", 1.5, 1.25],
        ["a", 0, 2, 3, 1, 0.01, 0.0, 0.0, "complete", 1.5, 1.25],
        ["b", 0, 2, 5, 0, 0.01, 0.1, 0.0, "failed", None, None],
        ["b", 1, 2, 9, 0, 0.01, 0.0, 0.0, "complete", 1.0, 2.0],
    ]


def test_spectra() -> None:
    assert rows(tables.spectra(RECORDS)) == [
        ["a", 0, 7, 1, 1, 2.0, 3.0],
        ["a", 0, 7, 1, 2, 1.0, 1.0],
        ["a", 0, 7, 2, 1, 2.0, 3.0],
        ["a", 0, 7, 2, 2, 0.5, 1.0],
        ["b", 0, 7, 1, 1, 2.0, 3.0],
        ["b", 0, 7, 1, 2, 1.0, 1.0],
    ]


def test_quantities_are_the_logarithms_of_every_run_and_link() -> None:
    frame = tables.quantities(RECORDS)
    assert rows(frame[frame["link"] == "generalisation"]) == [
        ["a", 0, 7, "hash7", "generalisation", np.log(1.5)],
        ["a", 0, 8, "hash8", "generalisation", None],
        ["b", 0, 8, "hash8", "generalisation", np.log(1.25)],
        ["b", 0, 7, "hash7", "generalisation", np.log(2.5)],
        ["b", 1, 7, "hash7", "generalisation", 0.0],
    ]
    for link in made.LINKS:
        assert rows(frame[frame["link"] == link]) == [
            ["a", 0, 7, "hash7", link, 0.5], ["a", 0, 8, "hash8", link, None], ["b", 0, 7, "hash7", link, 0.75],
        ]  # fmt: skip
    assert len(frame) == 5 + 3 * 3


def test_evenness_is_the_mean_over_layers_of_the_logarithm() -> None:
    assert rows(tables.evenness(RECORDS)) == [
        ["a", 0, 7, "hash7", "evenness", np.mean(np.log([0.3, 0.6]))],
        ["a", 0, 8, "hash8", "evenness", None],
        ["b", 0, 7, "hash7", "evenness", np.log(0.25)],
    ]


def test_pairs_are_met_by_study_and_seed_whatever_the_order() -> None:
    values = tables.quantities(RECORDS)
    frame = tables.pairs(values, [("b", "a"), ("a", "b")])
    assert rows(frame[frame["link"] == "generalisation"]) == [
        ["b", "a", "generalisation", 0, 8, None],
        ["b", "a", "generalisation", 0, 7, np.log(2.5) - np.log(1.5)],
        ["a", "b", "generalisation", 0, 7, np.log(1.5) - np.log(2.5)],
        ["a", "b", "generalisation", 0, 8, None],
    ]
    assert rows(frame[frame["link"] == "smoothness"]) == [
        ["b", "a", "smoothness", 0, 7, 0.25], ["a", "b", "smoothness", 0, 7, -0.25],
    ]  # fmt: skip
    assert list(tables.pairs(values, []).columns) == list(frame.columns) == documented("pairs")


@pytest.mark.parametrize("repeated", ["a", "b"])
def test_a_run_that_stands_twice_is_never_paired(repeated: str) -> None:
    values = tables.quantities(RECORDS)
    twice = pd.concat([values, values[values["arm"] == repeated].head(1)])
    with pytest.raises(pd.errors.MergeError, match="one-to-one"):
        tables.pairs(twice, [("b", "a")])


@pytest.mark.parametrize("table", FRAMES)
def test_columns_are_those_documented_and_stay_without_runs(table: Callable[[Any], pd.DataFrame]) -> None:
    columns = list(table(RECORDS).columns)
    assert columns == documented(table.__name__)
    no_arms: made.Records = {kind: {} for kind in NO_RUNS}
    for empty in (table(NO_RUNS), table(no_arms)):
        kept = columns[:4] if table is tables.curves else columns  # which curves there are, only runs say
        assert empty.empty and list(empty.columns) == kept


def test_nothing_is_paired_and_no_trial_won_without_runs() -> None:
    assert tables.pairs(tables.quantities(NO_RUNS), [("b", "a")]).empty
    trials = tables.trials(NO_RUNS)
    assert list(trials[trials["winner"]].columns) == list(trials.columns)


@pytest.mark.parametrize("table", FRAMES)
def test_the_folder_gives_the_same_frames(tmp_path: Path, table: Callable[[Any], pd.DataFrame]) -> None:
    records = made.records()
    records["train"]["baseline"]["runs"][3] = made.final_run(0, 3, None)
    for kind, of_kind in records.items():
        for arm, record in of_kind.items():
            files.write_json(tmp_path / kind / f"{arm}.json", record)
    assert_frame_equal(table(str(tmp_path)), table(records), check_exact=True)
    assert_frame_equal(table(tmp_path), table(schemas.read_arms(tmp_path, made.ARMS)), check_exact=True)


@pytest.mark.parametrize("folder", ["metrics", "."])
def test_a_folder_without_records_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(files.RecordError, match=r"/train: got no records, expected a JSON file for each arm"):
        tables.runs(tmp_path / folder)


def test_contrasts_are_the_single_figures_of_the_summary(tmp_path: Path) -> None:
    entry: dict[str, Any] = {
        "arm": "b",
        "reference": "a",
        "ci_low": None,
        "verdict": "no verdict",
        "study_effects": [1.0],
        "given": {},
    }
    record = {"contrasts": [entry, entry | {"ci_low": 0.5}]}
    files.write_json(tmp_path / "summary.json", record)
    frame = tables.contrasts(record)
    assert list(frame.columns) == ["arm", "reference", "ci_low", "verdict"]
    assert rows(frame) == [["b", "a", None, "no verdict"], ["b", "a", 0.5, "no verdict"]]
    assert_frame_equal(tables.contrasts(str(tmp_path)), frame)
    assert tables.contrasts({"contrasts": []}).empty
    assert set(documented("contrasts")) <= set(tables.contrasts(made.METRICS).columns)


@pytest.mark.parametrize("table", [tables.runs, tables.trials])
def test_csv_has_stable_bytes_and_gives_the_frame_back(table: Callable[[Any], pd.DataFrame]) -> None:
    for source in (RECORDS, made.METRICS):
        frame = table(source)
        written = tables.csv(frame)
        header, *lines = csv.reader(io.StringIO(written.decode(), newline=""))
        assert header == list(frame.columns)
        for line, values in zip(lines, rows(frame), strict=True):
            for cell, value in zip(line, values, strict=True):
                if isinstance(value, float):
                    assert float(cell) == value
                else:
                    assert cell == ("" if value is None else str(value))
        assert tables.csv(table(source)) == written and b"\r" not in written


def test_csv_by_hand() -> None:
    assert tables.csv(tables.runs(RECORDS)).decode().splitlines()[:3] == [
        "arm,study,seed,initial_weights,state,selected_epoch,lr,strength,weight_decay,test_loss,test_accuracy",
        "a,0,7,hash7,complete,2,0.01,0.0,0.0,1.5,0.5",
        "a,0,8,hash8,failed,,0.01,0.0,0.0,,",
    ]
