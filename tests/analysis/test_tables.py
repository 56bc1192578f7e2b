"""Records to frames, cell by cell, and what is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from svvr.analysis import tables
from svvr.records import RecordError
from tests.analysis import made

RECORDS: made.Records = {
    "tune/a": [
        *(made.trial(0, 0, loss, winner=True) for loss in (1.5, 2.0)),
        *(made.trial(0, 1, loss, depth=3.0) for loss in (1.0, None)),
    ],
    "tune/b": [made.trial(3, 0, None, strength=2.0)],
    "train/a": [made.final_run(0, 7, 1.5), made.final_run(0, 8, None)],
    "train/b": [made.final_run(0, 8, 1.25), made.final_run(0, 7, 2.5), made.final_run(1, 7, 1.0)],
    "budget/a": [made.design_run(0, 2, seed, 0.1, made.losses_of(1.5)) for seed in (5, 3)],
    "budget/b": [made.design_run(r, 2, 5, 0.1, made.losses_of(None)) for r in (0, 1)],
    "diagnose/a": [made.diagnosed_run(0, 7, 0.5), made.diagnosed_run(0, 8, None)],
    "diagnose/b": [made.diagnosed_run(0, 7, 0.75, [0.25])],
    "activity": [],
}


@pytest.fixture(scope="module")
def frames() -> list[pd.DataFrame]:
    return made.frames(RECORDS, ["a", "b"])


def rows(frame: pd.DataFrame, *columns: str) -> list[list[Any]]:
    """Return the cells, None where one is missing."""
    chosen = frame[list(columns or frame)]
    return chosen.astype(object).where(chosen.notna(), None).to_numpy().tolist()


def test_a_trial_is_the_mean_of_its_seeds_and_fails_with_any(frames: list[pd.DataFrame]) -> None:
    columns = ["arm", "study", "trial", "state", "validation_loss", "validation_loss_best", "winner", "lr", "strength"]
    assert rows(frames[0], *columns) == [
        ["a", 0, 0, "complete", 1.75, 1.75, True, 0.01, 0.0],
        ["a", 0, 1, "failed", None, None, False, 0.01, 0.0],
        ["b", 3, 0, "failed", None, None, False, 0.01, 2.0],
    ]
    assert frames[0]["depth"][1] == 3.0  # the penalty's own hyperparameter


def test_final_runs_and_their_curves(frames: list[pd.DataFrame]) -> None:
    assert rows(frames[1], "arm", "study", "seed", "initial_weights", "state", "selected_epoch", "test_loss")[:2] == [
        ["a", 0, 7, "hash7", "complete", 2, 1.5], ["a", 0, 8, "hash8", "failed", None, None],
    ]  # fmt: skip
    curves = tables.curves(frames[1])
    assert list(curves)[:6] == ["arm", "study", "seed", "epoch", "train_loss", "validation_loss"]
    assert rows(curves, "arm", "seed", "epoch", "validation_loss", "gradient_norm_sd")[:4] == [
        ["a", 7, 1, 2.0, 2.0], ["a", 7, 2, 1.5, 1.5], ["a", 8, 1, 2.0, 2.0], ["a", 8, 2, None, None],
    ]  # fmt: skip
    header, *lines = tables.csv(frames[1]).decode().splitlines()
    assert header.startswith("arm,study,seed,initial_weights,lr,") and "curve" not in header
    assert lines[1].split(",")[:4] == ["a", "0", "8", "hash8"] and len(lines) == 5


def test_the_design_and_the_spectra(frames: list[pd.DataFrame]) -> None:
    assert rows(frames[2], "arm", "replicate", "seed", "test_loss") == [
        ["a", 0, 5, 1.5], ["a", 0, 3, 1.5], ["b", 0, 5, None], ["b", 1, 15, None],
    ]  # fmt: skip
    spectra = tables.spectra(frames[3])
    assert list(spectra)[:3] == ["arm", "study", "seed"]
    assert rows(spectra, "layer", "index", "trained", "initial") == [
        [1, 1, 2.0, 3.0], [1, 2, 1.0, 1.0], [2, 1, 2.0, 3.0], [2, 2, 0.5, 1.0], [1, 1, 2.0, 3.0], [1, 2, 1.0, 1.0],
    ]  # fmt: skip


def test_pairs_are_met_by_study_and_seed_whatever_the_order(frames: list[pd.DataFrame]) -> None:
    values = tables.quantities(frames[1], frames[3])
    pairs = tables.pairs(values, [("b", "a"), ("a", "b")])
    assert rows(pairs[pairs["link"] == "generalisation"], "arm", "reference", "study", "seed", "d") == [
        ["b", "a", 0, 8, None], ["b", "a", 0, 7, np.log(2.5) - np.log(1.5)],
        ["a", "b", 0, 7, np.log(1.5) - np.log(2.5)], ["a", "b", 0, 8, None],
    ]  # fmt: skip
    measured = pairs[pairs["link"] == "smoothness"]
    assert rows(measured, "value", "value_reference", "d") == [[0.75, 0.5, 0.25], [0.5, 0.75, -0.25]]
    assert tables.pairs(values, []).empty and frames[4].empty


@pytest.mark.parametrize(
    "fault,message",
    [
        (lambda rows: rows["train/baseline"][5].update(initial_weights="other"),
         "regularized and baseline, study 1, seed 101: got initial weights hash101 and other, expected the same"),
        (lambda rows: rows["train/regularized"][0].update(seed=9),
         "regularized and baseline, study 0, seed 0: got initial weights nan and hash0, expected the same"),
    ],
)  # fmt: skip
def test_records_that_do_not_belong_together_are_refused(fault: Callable[[made.Records], object], message: str) -> None:
    records = made.records()
    fault(records)
    with pytest.raises(ValueError, match=re.escape(message)):
        made.summarise(records)


def test_a_record_that_is_missing_or_not_as_written_is_named(tmp_path: Path) -> None:
    for read in (tables.trials, tables.runs, tables.design, tables.diagnosed):
        with pytest.raises(RecordError, match=r"baseline.json: got no readable record .*dvc repro -f"):
            read(tmp_path, ["baseline"])
    for alone in (tables.activity, tables.dose_response, tables.replicate):
        with pytest.raises(RecordError, match="dvc repro -f"):
            alone(tmp_path)
    made.write({"train/baseline": [made.trial(0, 0, 1.0)]}, tmp_path)
    with pytest.raises(RecordError, match=r"baseline.json: got no readable record .*initial_weights"):
        tables.runs(tmp_path, ["baseline"])
