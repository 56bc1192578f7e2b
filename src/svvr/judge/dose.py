"""The links against the penalty's strength: means and intervals over seeds (pure)."""

from collections.abc import Mapping, Sequence
from typing import Any

from svvr.judge.statistics import mean_interval

FIGURES = ("validation_loss", "test_loss", "conditioning", "smoothness", "gradient_stability")
LEVEL = 0.95


def curves(runs: Sequence[Mapping[str, Any]], strengths: Sequence[float]) -> dict[str, dict[str, list[float | None]]]:
    """Average each figure over the seeds of a strength.

    Args:
        runs: records with `strength`, `seed` and the figures: losses in nats, the links as logarithms; None where a
            run failed, in the links also where it could not be measured.
        strengths: in the order of the result.

    Returns:
        For each figure its `mean`, `ci_low` and `ci_high` (95 % Student t), one value a strength; None where a run of
        that strength lacks it, since the rest would be a selection.
    """
    result: dict[str, dict[str, list[float | None]]] = {}
    for figure in FIGURES:
        columns = [[run[figure] for run in runs if run["strength"] == strength] for strength in strengths]
        intervals = [(None,) * 3 if None in column else mean_interval(column, LEVEL) for column in columns]
        names = ("mean", "ci_low", "ci_high")
        result[figure] = {name: [interval[i] for interval in intervals] for i, name in enumerate(names)}
    return result
