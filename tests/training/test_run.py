"""From params and hyperparameters to runs, and from results to rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from svvr.params import Params, load
from svvr.training.run import CURVES, Result, Run, Score, doses, final_arrays, replication, score_row, train_row

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
RUN = Run(seed=7, lr=0.1, weight_decay=0.2, penalty="sv_variance", strength=0.3, epochs=2, tuned=(("power", 2.0),))
VALUES = {"lr": 0.1, "strength": 0.3, "weight_decay": 0.2, "power": 2.0}


def made(complete: bool = True, loss: float = 1.0) -> Result:
    curves = {name: np.array([2.0, loss if complete else np.nan]) for name in CURVES}
    weights, losses = np.full(5, loss, np.float32), np.array([loss, loss + 1], np.float32)
    return Result(curves, "ab", weights, 2 if complete else 0, complete, losses, np.array([True, False]))


def test_every_setting_reaches_the_run() -> None:
    arm: dict[str, Any] = {"tune": ["lr", "strength", "power"], "optimizer": {"name": "sgd", "momentum": 0.9}}
    span = {"low": 0.1, "high": 2.0}
    arm["penalty"] = {"name": "l2", "coupling": "decoupled", "strength": span, "power": span, "heads": True, "a": 1}
    settings = PARAMS.model_dump() | {"selection": "best_epoch", "arms": {"one": arm}}
    settings["training"] = {"epochs": 3, "batch_size": 7, "device": "cuda"}
    settings["compare"]["contrasts"] = []
    run = Run.of_arm(Params.model_validate(settings), "one", {"power": 0.7, "lr": 0.1, "strength": 0.2}, 5)
    assert run == Run(
        seed=5, lr=0.1, penalty="l2", strength=0.2, hidden=(128, 128), epochs=3, batch_size=7, device="cuda",
        selection="best_epoch", optimizer="sgd", momentum=0.9, coupling="decoupled", fixed=(("a", 1), ("heads", True)),
        tuned=(("power", 0.7),),
    )  # fmt: skip
    assert run.hyperparameters() == {"lr": 0.1, "strength": 0.2, "weight_decay": 0.0, "power": 0.7}


def test_only_hyperparameters_and_seeds_may_differ_within_a_stack() -> None:
    alike = [
        replace(RUN, seed=1),
        replace(RUN, lr=1, weight_decay=0, strength=2),
        replace(RUN, tuned=(("power", 3.0),)),
    ]
    other: list[dict[str, Any]] = [
        {"optimizer": "sgd"}, {"coupling": "decoupled"}, {"momentum": 0.5}, {"strength": 0.0}, {"epochs": 3},
        {"tuned": ()}, {"fixed": (("power", 2.0),)}, {"device": "cuda"}, {"start": RUN},
        {"start": replace(RUN, epochs=9)},
    ]  # fmt: skip
    assert {run.stackable() for run in alike} == {RUN.stackable()}
    assert len({RUN.stackable(), *(replace(RUN, **each).stackable() for each in other)}) == len(other) + 1
    assert replace(RUN, penalty="none", start=RUN).penalties() == ("none", "sv_variance")


def test_the_dose_response_differs_in_strength_and_setting_alone() -> None:
    runs, settings = doses(PARAMS), PARAMS.dose_response
    for dose in settings.settings:
        own = [run for run in runs if (run.penalty, run.lr) == (dose.penalty, dose.lr)]
        assert [run.strength for run in own[:: settings.seeds]] == list(dose.strengths)
        assert {(run.lr, run.weight_decay) for run in own} == {(dose.lr, dose.weight_decay)}
    assert len({run.seed for run in runs}) == settings.seeds


def test_the_third_row_of_the_replication_continues_from_the_first() -> None:
    asked, n = replication(PARAMS), PARAMS.replicate.seeds
    assert [row for row, _ in asked[::n]] == ["baseline", "regularized_fresh", "regularized_continued"]
    runs = [run for _, run in asked]
    for trained, fresh, continued in zip(runs[:n], runs[n : 2 * n], runs[2 * n :], strict=True):
        assert trained.seed == fresh.seed == continued.seed
        assert continued.start == trained and fresh.start is None
        assert (fresh.lr, fresh.strength) == (continued.lr, continued.strength) == (0.0021, 0.0422)
    assert len({run.seed for run in runs}) == n


@pytest.mark.parametrize("complete", [True, False])
def test_arrays_hold_everything(complete: bool) -> None:
    result = made(complete)
    again = Result.from_arrays(result.arrays())
    assert (again.initial_weights, again.selected_epoch, again.complete) == ("ab", 2 * complete, complete)
    assert all(again.arrays()[name].tobytes() == array.tobytes() for name, array in result.arrays().items())
    assert Score.from_arrays(result.score().arrays()) == result.score()


@pytest.mark.parametrize("selection,epoch,loss", [("last_epoch", 2, 3.0), ("best_epoch", 1, 2.0)])
def test_rows(selection: str, epoch: int, loss: float) -> None:
    result, run = replace(made(loss=3.0), selected_epoch=epoch), replace(RUN, selection=selection)
    row = {"seed": 7, **VALUES, "state": "complete", "validation_loss": loss, "test_loss": 3.5}
    assert score_row(run, result.score()) == row
    curves = {name: [2.0, 3.0] for name in CURVES if not name.startswith("validation")}
    curves |= {"validation_loss_curve": [2.0, 3.0], "validation_accuracy_curve": [2.0, 3.0]}
    figures = {"selected_epoch": epoch, "validation_accuracy": loss, "test_accuracy": 0.5}
    assert train_row(4, run, result) == {"study": 4, "initial_weights": "ab"} | row | figures | curves
    failed = train_row(4, run, made(complete=False))
    assert failed.keys() == train_row(4, run, result).keys() and failed["train_loss"] == [2.0, None]
    nothing = dict.fromkeys(("validation_loss", "test_loss", *figures))
    assert failed["state"] == "failed" and {name: failed[name] for name in nothing} == nothing
    untested = replace(result, test_losses=np.empty(0, np.float32), test_hits=np.empty(0, np.bool_))
    assert train_row(4, run, untested) == train_row(4, run, result) | {"test_loss": None, "test_accuracy": None}


def test_test_losses_are_averaged_over_the_complete_runs_of_a_study() -> None:
    results = [made(loss=1.0), made(loss=3.0), made(loss=5.0), made(False), made(False)]
    arrays = final_arrays([0, 0, 1, 1, 2], [RUN] * 5, results)
    assert arrays["test_losses"].tolist() == [[2.0, 3.0], [5.0, 6.0], [0.0, 0.0]]
    assert arrays["test_losses"].dtype == np.float32 and arrays["weights"].shape == (5, 5)
    assert arrays["seed"].tolist() == [7] * 5 and arrays["study"].tolist() == [0, 0, 1, 1, 2]
