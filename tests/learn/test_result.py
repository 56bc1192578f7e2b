"""What a run gives, in arrays and in plain types."""

import numpy as np
import pytest

from svvr.core.files import array_hash
from svvr.learn.result import CURVES, Result, Score, dose_record, final_arrays, final_records, record, selected_epoch
from svvr.learn.spec import Run

RUN = Run(seed=7, lr=0.1, weight_decay=0.2, penalty="sv_variance", strength=0.3, epochs=2)


def made(complete: bool = True, loss: float = 1.0) -> Result:
    curves = {name: np.array([2.0, loss if complete else np.nan]) for name in CURVES}
    weights, losses = np.full(5, loss, np.float32), np.array([loss, loss + 1], np.float32)
    return Result(curves, "ab", weights, 2 if complete else 0, complete, losses, np.array([True, False]))


@pytest.mark.parametrize("losses,rule,epoch", [([3, 1, 2], "last_epoch", 3), ([3, 1, 1], "best_epoch", 2)])
def test_selection_rule(losses: list[float], rule: str, epoch: int) -> None:
    assert selected_epoch(losses, rule) == epoch


def test_an_unknown_rule_is_named() -> None:
    with pytest.raises(ValueError, match=r"selection: got 'first', expected last_epoch or best_epoch"):
        selected_epoch([1.0], "first")


@pytest.mark.parametrize("complete", [True, False])
def test_arrays_hold_everything(complete: bool) -> None:
    result = made(complete)
    again = Result.from_arrays(result.arrays())
    assert (again.initial_weights, again.selected_epoch, again.complete) == ("ab", 2 * complete, complete)
    assert all(again.arrays()[name].tobytes() == array.tobytes() for name, array in result.arrays().items())


def test_losses_of_a_complete_run() -> None:
    result = made(loss=3.0)
    assert (result.validation_loss("last_epoch"), result.validation_loss("best_epoch")) == (3.0, 2.0)
    assert (result.test_loss, result.test_accuracy) == (3.5, 0.5)


def test_records_in_plain_types() -> None:
    described = record(RUN, made(complete=False))
    assert described["state"] == "failed" and described["selected_epoch"] is None
    assert (described["lr"], described["weight_decay"], described["strength"]) == (0.1, 0.2, 0.3)
    assert described["train_loss"] == [2.0, None]
    dose = dose_record(RUN, made(complete=False))
    knobs = {"strength": 0.3, "lr": 0.1, "weight_decay": 0.2}
    assert dose == {**knobs, "seed": 7, "state": "failed", "validation_loss": None, "test_loss": None}
    assert dose_record(RUN, made())["test_loss"] == 1.5


def test_final_runs_are_averaged_over_the_complete_ones_of_a_study() -> None:
    results = [made(loss=1.0), made(loss=3.0), made(loss=5.0), made(complete=False)]
    studies, runs = [0, 0, 1, 1], [RUN] * 4
    rows, arrays = final_records(studies, runs, results), final_arrays(studies, runs, results)
    assert [row["test_loss"] for row in rows] == [1.5, 3.5, 5.5, None]
    assert [row["study"] for row in rows] == studies and rows[1]["weights"] == array_hash(results[1].weights)
    assert arrays["test_losses"].tolist() == [[2.0, 3.0], [5.0, 6.0]] and arrays["test_losses"].dtype == np.float32
    assert arrays["weights"].shape == (4, 5) and arrays["seed"].tolist() == [7] * 4
    nothing = final_arrays([0], [RUN], [made(complete=False)])
    assert nothing["test_losses"].tolist() == [[0.0, 0.0]]


def test_a_score_keeps_the_losses_alone() -> None:
    run = Run(seed=7, lr=0.1, selection="best_epoch")
    for result, losses in ((made(loss=3.0), (2.0, 3.5)), (made(complete=False), (None, None))):
        score = Score.of(run, result)
        assert (score.validation_loss, score.test_loss) == losses
        assert Score.from_arrays(score.arrays()) == score
