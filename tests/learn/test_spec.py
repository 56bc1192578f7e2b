"""An arm's settings to runs."""

from pathlib import Path

import pytest

from svvr.core.params import Params, load
from svvr.learn import spec as arms
from svvr.learn.train import Run

PARAMS = load(Path(__file__).parents[2] / "params.yaml")


def changed(section: str, **values: object) -> Params:
    part = getattr(PARAMS, section)
    return PARAMS.model_copy(update={section: part.model_copy(update=values)})


def test_every_setting_reaches_the_run() -> None:
    params = changed("training", epochs=3, batch_size=7, device="cuda").model_copy(update={"selection": "best_epoch"})
    values = {"lr": 0.1, "strength": 0.2, "weight_decay": 0.3}
    assert arms.run_of(params, "weight_decay_regularized", values, 5) == Run(
        seed=5, lr=0.1, weight_decay=0.3, penalty="sv_variance", strength=0.2, hidden=(128, 128), epochs=3,
        batch_size=7, device="cuda", selection="best_epoch",
    )  # fmt: skip


def test_knobs_that_an_arm_has_not_are_off() -> None:
    run = arms.run_of(PARAMS, "baseline", {"lr": 0.1}, 5)
    assert (run.weight_decay, run.strength, run.penalty, run.selection) == (0, 0, "none", "last_epoch")


@pytest.mark.parametrize(
    "arm,values",
    [
        ("baseline", {}),
        ("baseline", {"lr": 0.1, "strength": 0.1}),
        ("regularized", {"lr": 0.1}),
        ("regularized", {"strength": 0.1}),
    ],
)
def test_knobs_that_do_not_belong_to_the_arm_are_refused(arm: str, values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"knobs of arm {arm}: got \[.*\], expected lr, and strength with a penalty"):
        arms.run_of(PARAMS, arm, values, 5)
