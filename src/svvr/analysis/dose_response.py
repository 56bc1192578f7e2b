"""The links against the penalty's strength: means and intervals over seeds."""

import pandas as pd

from svvr.analysis.statistics import CONFIDENCE, mean_interval
from svvr.analysis.tables import LINKS

QUANTITIES = ["test_loss", "validation_loss", *LINKS]
GROUP = ["lr", "weight_decay", "quantity", "strength"]


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Return lr, weight_decay, quantity, strength, mean, ci_low, ci_high (Student t over seeds).

    Runs are as from `tables.dose_response`: losses in nats, links as logarithms. Missing where a run of that strength
    has no figure: the survivors would bias the mean.
    """
    values = runs.melt(["lr", "weight_decay", "strength"], QUANTITIES, var_name="quantity")
    rows = [
        [*key, *(mean_interval(each.to_numpy(), CONFIDENCE) if each.notna().all() else (float("nan"),) * 3)]
        for key, each in values.groupby(GROUP, sort=False)["value"]
    ]
    return pd.DataFrame(rows, columns=[*GROUP, "mean", "ci_low", "ci_high"])
