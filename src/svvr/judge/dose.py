"""The links against the penalty's strength: means and intervals over seeds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from svvr.judge.statistics import CONFIDENCE, mean_interval
from svvr.links import MEASURED

if TYPE_CHECKING:
    from svvr.core.params import DoseResponse

FIGURES = ("validation_loss", "test_loss", *(link.name for link in MEASURED))


def record(runs: Sequence[Mapping[str, Any]], settings: "DoseResponse") -> dict[str, Any]:
    """Gather the runs by setting.

    Args:
        runs: records with `lr`, `weight_decay`, `strength`, `seed` and the figures; see `curves`.
        settings: of the stage.

    Returns:
        Of the first setting `lr`, `weight_decay`, `strengths`, `n_seeds`, its `curves` and `runs`; and the same of each
        further one in the list `others`.
    """
    first, *others = (
        {
            **setting.model_dump(),
            "strengths": list(settings.strengths),
            "n_seeds": settings.seeds,
            **curves(own, settings.strengths),
            "runs": own,
        }
        for setting in settings.settings
        for own in [[run for run in runs if setting.model_dump().items() <= run.items()]]
    )
    return {**first, "others": others}


def curves(runs: Sequence[Mapping[str, Any]], strengths: Sequence[float]) -> dict[str, dict[str, list[float | None]]]:
    """Average each figure over the seeds of a strength.

    Args:
        runs: records with `strength`, `seed` and the figures: losses in nats, the links as logarithms; None where a
            run failed, in the links also where it could not be measured.
        strengths: in the order of the result.

    Returns:
        For each figure its `mean`, `ci_low` and `ci_high` (Student t), one value a strength; None where a run of that
        strength lacks it, since the rest would be a selection.
    """
    by_strength = dict(list(pd.DataFrame(runs).groupby("strength")))
    result = {}
    for figure in FIGURES:
        columns = [by_strength[strength][figure].astype("float64") for strength in strengths]
        ends = [
            (None,) * 3 if column.isna().any() else mean_interval(column.tolist(), CONFIDENCE) for column in columns
        ]
        result[figure] = {name: [each[i] for each in ends] for i, name in enumerate(("mean", "ci_low", "ci_high"))}
    return result
