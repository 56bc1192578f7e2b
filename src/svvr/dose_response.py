"""The links against the penalty's strength: means and intervals over seeds (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from svvr.statistics import mean_interval

FIGURES = ("validation_loss", "test_loss", "conditioning", "smoothness", "gradient_stability")
LEVEL = 0.95


def curves(runs: Sequence[Mapping[str, Any]], strengths: Sequence[float]) -> dict[str, dict[str, list[float]]]:
    """Average each figure over the seeds of a strength.

    Args:
        runs: records with `strength`, `seed` and the figures: losses in nats, the links as logarithms.
        strengths: in the order of the result.

    Returns:
        For each figure its `mean`, `ci_low` and `ci_high` (95 % Student t), one value a strength.

    Raises:
        ValueError: where a figure of a run is not finite; it names strength and seed.
    """
    result: dict[str, dict[str, list[float]]] = {}
    for figure in FIGURES:
        for run in runs:
            if run[figure] is None or run[figure] != run[figure]:
                raise ValueError(f"dose_response: {figure} at strength {run['strength']}, seed {run['seed']} diverged")
        of_strength = [[run[figure] for run in runs if run["strength"] == strength] for strength in strengths]
        intervals = [mean_interval(values, LEVEL) for values in of_strength]
        names = ("mean", "ci_low", "ci_high")
        result[figure] = {name: [interval[i] for interval in intervals] for i, name in enumerate(names)}
    return result
