"""The random design that all arms share: independently scrambled Sobol points over the knobs' log-uniform ranges."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import qmc

from svvr.core.seeds import budget_seeds, derive

if TYPE_CHECKING:
    from svvr.core.params import Budget

KNOBS = ("lr", "weight_decay", "strength")  # the coordinates of a point; an arm reads its own


def points(n: int, seed: int) -> npt.NDArray[np.float64]:
    """Return n points (n, 3) in [0, 1), evenly spread in every coordinate; another seed scrambles them independently.

    Source: Sobol' 1967; Owen 1998 (the scrambling), as scipy.stats.qmc has it.
    """
    exponent = max(n - 1, 0).bit_length()  # a power of two keeps the balance; the first n of it are spread nearly so
    engine = qmc.Sobol(len(KNOBS), scramble=True, rng=np.random.default_rng(seed))
    found: npt.NDArray[np.float64] = engine.random_base2(exponent)
    return found[:n]


def knobs(point: npt.NDArray[np.float64], ranges: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """Return the knobs of an arm at a point: knob -> value, log-uniform in its range (low, high)."""
    return {
        knob: float(low * (high / low) ** coordinate)
        for knob, coordinate in zip(KNOBS, point, strict=True)
        if knob in ranges
        for low, high in [ranges[knob]]
    }


@dataclass(frozen=True)
class Trial:
    """A run of the design: a point of a replicate, both numbered from 0, on one of the replicate's seeds."""

    replicate: int
    point: int
    seed: int
    knobs: dict[str, float]

    def record(self, validation_loss: float | None, test_loss: float | None) -> dict[str, Any]:
        """Describe the finished run; its losses are in nats, None where it failed. A knob that an arm lacks is 0."""
        return {
            "replicate": self.replicate,
            "point": self.point,
            "seed": self.seed,
            **{knob: self.knobs.get(knob, 0.0) for knob in KNOBS},
            "state": "failed" if validation_loss is None else "complete",
            "validation_loss": validation_loss,
            "test_loss": test_loss,
        }


def trials(root: int, settings: "Budget", ranges: Mapping[str, tuple[float, float]]) -> list[Trial]:
    """Return an arm's runs of the design: every point of every replicate, on the replicate's seeds.

    Args:
        root: seed of the experiment.
        settings: how many replicates, points and seeds.
        ranges: of the arm's knobs.
    """
    return [
        Trial(replicate, number, seed, knobs(point, ranges))
        for replicate in range(settings.replicates)
        for number, point in enumerate(points(settings.points, derive(root, "design", replicate)))
        for seed in budget_seeds(root, replicate, settings.seeds)
    ]
