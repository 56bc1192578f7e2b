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
    """Return GROUP and, as ENDS, mean and Student t interval over seeds of runs as from `tables.dose_response`.

    Missing where a run of that strength has no figure: the survivors would bias the mean.
    """
    values = runs.melt([*SETTING, "strength"], QUANTITIES, var_name="quantity")
    rows = [
        [*key, *(mean_interval(each.to_numpy(), CONFIDENCE) if each.notna().all() else (float("nan"),) * 3)]
        for key, each in values.groupby(GROUP, sort=False)["value"]
    ]
    return pd.DataFrame(rows, columns=[*GROUP, *ENDS])


def settings(curves: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the setting in words -> its rows of `curves`."""
    return {
        f"{penalty}, learning rate {lr:g}, weight decay {decay:g}": rows
        for (penalty, lr, decay), rows in curves.groupby(SETTING, sort=False)
    }


def path(of_setting: pd.DataFrame) -> pd.DataFrame:
    """Return a path of `curves` by strength: mean conditioning, and test loss as ENDS."""
    by_strength = {name: rows.set_index("strength") for name, rows in of_setting.groupby("quantity")}
    return by_strength["test_loss"][ENDS].assign(conditioning=by_strength["conditioning"]["mean"]).sort_index()


def at_equal_conditioning(curves: pd.DataFrame) -> pd.DataFrame:
    """Return setting, place, conditioning and test loss as ENDS, in the middle and at the lowest that all paths reach.

    Losses are interpolated in the log condition number. No rows where fewer than two paths share one.
    """
    paths = {name: path(rows).dropna().sort_values("conditioning") for name, rows in settings(curves).items()}
    reached = [each["conditioning"] for each in paths.values()]
    lowest, highest = np.max([each.min() for each in reached]), np.min([each.max() for each in reached])  # NaN counts
    rows = [
        [name, place, at, *(np.interp(at, each["conditioning"], each[end]) for end in ENDS)]
        for place, at in {"the middle of what": (lowest + highest) / 2, "the lowest that": lowest}.items()
        for name, each in paths.items()
        if lowest <= highest and len(paths) > 1
    ]
    return pd.DataFrame(rows, columns=["setting", "place", "conditioning", *ENDS])
