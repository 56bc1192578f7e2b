"""From an arm's settings to the runs that they determine."""

from collections.abc import Mapping

from svvr.core.params import Params
from svvr.learn.train import Run


def run_of(params: Params, arm: str, values: Mapping[str, float], seed: int) -> Run:
    """Return the run of an arm.

    Args:
        params: of the pipeline; `model`, `training`, `selection` and the arm's penalty are read.
        arm: its name.
        values: the arm's knobs: lr, and where it has them strength and weight_decay.
        seed: of initial weights and batch order.

    Raises:
        ValueError: without lr, or where there is a strength without a penalty or the other way round.
    """
    penalty = params.arms[arm].penalty.name
    if "lr" not in values or ("strength" in values) != (penalty != "none"):
        raise ValueError(
            f"knobs of arm {arm}: got {sorted(values)}, expected lr, and strength with a penalty ({penalty})"
        )
    return Run(
        seed=seed,
        lr=values["lr"],
        weight_decay=values.get("weight_decay", 0.0),
        penalty=penalty,
        strength=values.get("strength", 0.0),
        hidden=tuple(params.model.hidden),
        epochs=params.training.epochs,
        batch_size=params.training.batch_size,
        device=params.training.device,
        selection=params.selection,
    )
