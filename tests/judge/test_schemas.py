"""The arms' records, edited by hand: each damage is refused in one line that names file and key."""

import json
from pathlib import Path
from typing import Any

import pytest

from svvr.core.files import RecordError, write_json
from svvr.judge import schemas
from tests.judge import made

TRIALS = [made.trial(0, 1.5, lr=0.1), made.trial(1, None, lr=0.1)]
RECORDS: dict[str, dict[str, Any]] = {
    "tune": {"arm": "a", "penalty": "none", "n_studies": 1, "n_trials": 2, "studies": [made.study(0, TRIALS)]},
    "train": {
        "arm": "a", "penalty": "none", "selection": "last_epoch", "validation_loss": 1.0, "test_loss": 1.0,
        "test_accuracy": 0.5, "test_losses": ["ef"], "runs": [made.final_run(0, 3, 1.0), made.final_run(0, 4, None)],
    },
    "budget": {
        "arm": "a", "penalty": "none", "selection": "last_epoch",
        "runs": [made.design_run(0, 0, 3, (1.0, 1.5)), made.design_run(0, 1, 3, (None, None))],
    },
    "diagnose": {"arm": "a", "runs": [made.diagnosed_run(0, 3, -1.0, [0.5]), made.diagnosed_run(0, 4, None)]},
}  # fmt: skip


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_a_whole_record_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    extended = RECORDS[kind] | {"more": [1, None]}
    write_json(tmp_path / kind / "a.json", extended)
    assert schemas.read_arms(tmp_path, ["a"], kind) == {kind: {"a": extended}}


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_whatever_is_missing_or_of_another_type_is_refused(tmp_path: Path, kind: str) -> None:
    made.check_all_damage(tmp_path / "a.json", schemas.KINDS[kind], RECORDS[kind])


@pytest.mark.parametrize(
    "kind,place,value,message",
    [
        ("tune", "studies 0 best lr", -1, "studies.0.best.lr: got -1, expected greater than 0"),
        ("tune", "studies 0 study", 5, "studies: got [5], expected studies 0 to 0"),
        ("tune", "studies 0 trials 0 losses", [], "losses: got [], expected a loss for each of 1 seeds"),
        ("tune", "studies 0 trials 0 objective", None, "objective: got nothing, expected what belongs to the state"),
        ("tune", "studies 0 trials 1 objective", 1.0, "objective: got 1.0, expected what belongs to the state 'fai"),
        ("tune", "studies 0 trials 0 state", "lost", "state: got 'lost', expected 'complete' or 'failed'"),
        ("train", "runs", [], "runs: got [], expected 1 or more entries"),
        ("train", "runs 0 test_loss", None, "runs.0.test_loss: got nothing, expected a number, since the run is"),
        ("train", "runs 0 test_loss", 0, "runs.0.test_loss: got 0, expected greater than 0"),
        ("train", "runs 1 test_loss", 1.0, "runs.1.test_loss: got 1.0, expected nothing, since the run failed"),
        ("train", "runs 0 train_loss", [1.0], "runs.0.train_loss: got 1, expected 2 epochs"),
        ("train", "runs 0 train_loss", [1.0, None], "runs.0.train_loss: got nothing, expected a number for each epoch"),
        ("train", "runs 0 selected_epoch", 3, "runs.0.selected_epoch: got 3, expected an epoch from 1 to 2"),
        ("train", "test_losses", ["ef", "ab"], "test_losses: got ['ef', 'ab'], expected 1 or fewer entries"),
        ("budget", "runs 0 test_loss", None, "runs.0.test_loss: got nothing, expected what belongs to the state 'comp"),
        ("budget", "runs 1 validation_loss", 1.0, "validation_loss: got 1.0, expected what belongs to the state 'fail"),
        ("budget", "runs 0 lr", 0, "runs.0.lr: got 0, expected greater than 0"),
        ("diagnose", "runs 0 smoothness", 1e308, "runs.0.smoothness: got 1e+308, expected less than 500"),
        ("diagnose", "runs 0 smoothness", None, "runs.0.conditioning: got (-1.0, None, -1.0), expected all links and"),
        ("diagnose", "runs 0 layers", [], "runs.0.conditioning: got (-1.0, -1.0, -1.0), expected all links and layers"),
        ("diagnose", "runs 0 layers 0 initial_singular_values", [1.0], "values: got 1, expected 2 values, as trained"),
        ("diagnose", "runs 1", made.diagnosed_run(0, 9, 1.0), "runs: got [((1, 2, 2),), ((1, 2, 2), (2, 2, 2))], exp"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(tmp_path: Path, kind: str, place: str, value: Any, message: str) -> None:
    keys = [int(key) if key.isdigit() else key for key in place.split()]
    assert message in made.refused(tmp_path / "a.json", schemas.KINDS[kind], RECORDS[kind], keys, value)


def test_no_record_and_that_of_another_arm_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"tune/b\.json: cannot be read"):
        schemas.read_arms(tmp_path, ["b"])
    write_json(tmp_path / "tune/b.json", RECORDS["tune"])
    with pytest.raises(RecordError, match=r"b\.json: arm: got 'a', expected 'b'"):
        schemas.read_arms(tmp_path, ["b"])


def test_records_of_removed_arms_are_left_over(tmp_path: Path) -> None:
    for path in ("train/old.json", "tune/old.json", "tune/a.json", "diagnose/a.json"):
        write_json(tmp_path / path, {})
    assert schemas.left_over(tmp_path, ["a"]) == ["old"]
    assert schemas.paths(tmp_path, "train", "diagnose") == [tmp_path / "train/old.json", tmp_path / "diagnose/a.json"]


def test_the_committed_and_the_made_records_are_what_the_schemas_say() -> None:
    arms = [path.stem for path in schemas.paths(made.METRICS, "tune")]
    assert {kind: list(of_kind) for kind, of_kind in schemas.read_arms(made.METRICS, arms).items()} == {
        kind: arms for kind in schemas.KINDS
    }
    for kind, of_kind in made.records().items():
        for record in of_kind.values():
            assert schemas.KINDS[kind].model_validate(json.loads(json.dumps(record)))
