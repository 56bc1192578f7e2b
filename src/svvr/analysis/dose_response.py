"""The links against the penalty's strength: means and intervals over seeds."""

import numpy as np
import pandas as pd

from svvr.analysis.statistics import CONFIDENCE, mean_interval
from svvr.analysis.tables import LINKS

QUANTITIES = ["test_loss", "validation_loss", *LINKS]
SETTING = ["penalty", "lr", "weight_decay"]  # of a path
GROUP = [*SETTING, "quantity", "strength"]
ENDS = ["mean", "ci_low", "ci_high"]


def curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Return penalty, lr, weight_decay, quantity, strength, mean, ci_low, ci_high (Student t over seeds).

    Runs are as from `tables.dose_response`: losses in nats, links as logarithms. Missing where a run of that strength
    has no figure: the survivors would bias the mean.
    """
    values = runs.melt([*SETTING, "strength"], QUANTITIES, var_name="quantity")
    rows = [
        [*key, *(mean_interval(each.to_numpy(), CONFIDENCE) if each.notna().all() else (float("nan"),) * 3)]
        for key, each in values.groupby(GROUP, sort=False)["value"]
    ]
    return pd.DataFrame(rows, columns=[*GROUP, *ENDS])


def settings(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the setting in words -> its rows of `curves`."""
    found = {}
    for _, rows in curves.groupby(SETTING, sort=False):
        penalty, lr, decay = rows[SETTING].iloc[0]
        found[f"{penalty}, learning rate {lr:g}, weight decay {decay:g}"] = rows
    return found


def path(of_setting: pd.DataFrame) -> pd.DataFrame:
    """Return a path of `curves` by strength: mean conditioning, and test loss as ENDS."""
    by_strength = {name: rows.set_index("strength") for name, rows in of_setting.groupby("quantity")}
    frame = by_strength["test_loss"][ENDS].assign(conditioning=by_strength["conditioning"]["mean"])
    return frame.sort_index()


def at_equal_conditioning(curves: pd.DataFrame) -> pd.DataFrame:
    """Return setting, conditioning, and test loss as ENDS at the middle of the condition numbers that all paths reach.

    Losses are interpolated in its logarithm between strengths. No rows where fewer than two paths share one.
    """
    paths = {name: path(rows).dropna().sort_values("conditioning") for name, rows in settings(curves).items()}
    columns = ["setting", "conditioning", *ENDS]
    if len(paths) < 2 or any(each.empty for each in paths.values()):
        return pd.DataFrame(columns=columns)
    reached = [each["conditioning"] for each in paths.values()]
    lowest, highest = max(each.min() for each in reached), min(each.max() for each in reached)
    middle = (lowest + highest) / 2
    rows = [
        [name, middle, *(np.interp(middle, each["conditioning"], each[end]) for end in ENDS)]
        for name, each in paths.items()
        if lowest <= highest
    ]
    return pd.DataFrame(rows, columns=columns)
