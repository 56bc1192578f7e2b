"""The published result, and what its protocol gives on many seeds (pure: records in, records out)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from svvr.core.params import Params


@dataclass(frozen=True)
class Published:
    """Figures to be met by a row.

    Attributes:
        last_loss: the prior experiment's validation loss after 20 epochs, one seed.
        mean: of the last epoch's validation loss over EXPECTED_N seeds, measured independently of this code.
        sd: standard deviation of the same.
    """

    last_loss: float
    mean: float
    sd: float


# Hidden widths, batch size, epochs, the baseline's learning rate, the regularized run's and its strength
PROTOCOL = ((128, 128), 128, 20, 0.0042, 0.0021, 0.0422)
EXPECTED_N = 24
AGREEMENT = 3.0  # standard errors
ROWS = {
    "baseline": Published(1.198, 1.179, 0.052),
    "regularized_fresh": Published(1.396, 1.052, 0.031),
    "regularized_continued": Published(1.396, 1.418, 0.065),
}


def as_published(params: "Params") -> bool:
    """Tell whether the replication repeats what was published: architecture, training and hyperparameters."""
    own, knobs = params.replicate, params.replicate.regularized
    protocol = (params.model.hidden, params.training.batch_size, own.epochs, own.baseline.lr, knobs.lr, knobs.strength)
    return protocol == PROTOCOL


def row(name: str, runs: Sequence[Mapping[str, Any]], published: bool = True) -> dict[str, Any]:
    """Summarise the runs of a row.

    Args:
        name: one of ROWS.
        published: whether they repeat what was published; else all that compares them with that is None.
        runs: at least two train records with `seed`, `initial_weights`, `lr`, `strength` and `validation_loss`.

    Returns:
        Mean, standard deviation, minimum and maximum of the first and last epoch's validation loss (nats); the
        published loss and the share of runs at or above it; the independently measured mean, the distance to it in
        standard errors, and whether both agree.

    Raises:
        ValueError: for another row, fewer than two runs, or a run that diverged.
    """
    if name not in ROWS:
        raise ValueError(f"row of the replication: got {name!r}, expected one of {list(ROWS)}")
    if len(runs) < 2:
        raise ValueError(f"runs of row {name}: got {len(runs)}, expected at least 2 (replicate.seeds)")
    failed = [run["seed"] for run in runs if run["state"] != "complete"]
    if failed:
        raise ValueError(f"row {name}: the run of seed {failed[0]} diverged, expected finite losses")
    of_row = ROWS[name]
    last = [run["validation_loss"][-1] for run in runs]
    spread = _spread(last)
    error = math.sqrt(of_row.sd**2 / EXPECTED_N + spread["sd"] ** 2 / len(runs))
    distance = (spread["mean"] - of_row.mean) / error
    compared = {
        "published": of_row.last_loss,
        "share_beyond_published": sum(loss >= of_row.last_loss for loss in last) / len(last),
        "expected_mean": of_row.mean,
        "expected_sd": of_row.sd,
        "z": distance,
        "agrees": abs(distance) <= AGREEMENT,
    }
    return {
        "row": name,
        "lr": runs[0]["lr"],
        "strength": runs[0]["strength"],
        "n_runs": len(runs),
        "first_epoch": _spread([run["validation_loss"][0] for run in runs]),
        "last_epoch": spread,
        **(compared if published else dict.fromkeys(compared)),
        "runs": [{key: run[key] for key in ("seed", "initial_weights", "validation_loss")} for run in runs],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "mean": float(np.mean(values)),
        "sd": float(np.std(values, ddof=1)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }
