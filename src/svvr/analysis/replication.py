"""The published result, and what its protocol gives on many seeds."""

import math

import pandas as pd

from svvr.params import Params
from svvr.records import Row

# Hidden widths, batch size, epochs, the baseline's learning rate, the regularized run's and its strength
PROTOCOL = ((128, 128), 128, 20, 0.0042, 0.0021, 0.0422)
DATA = ("mnist1d", {"seed": 42, "n_test": 0, "test_seed": 0})  # the test split does not matter
# The published validation loss, one seed
ROWS = {"baseline": 1.198, "regularized_fresh": 1.396, "regularized_continued": 1.396}


def as_published(params: Params) -> bool:
    """Return whether the replication repeats what was published: data, architecture, training and hyperparameters."""
    own, regularized = params.replicate, params.replicate.regularized
    protocol = params.model.hidden, params.training.batch_size, own.epochs, own.baseline.lr
    data = dict(params.data.settings()) | {"n_test": 0, "test_seed": 0}
    return (params.data.name, data) == DATA and (*protocol, regularized.lr, regularized.strength) == PROTOCOL


def summarise(runs: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Return one row per row of the replication; runs are as from `tables.replicate`.

    Mean, sd, min and max are of the last epoch's validation loss (nats), missing where a run failed; `published` is the
    published loss, missing where `as_published` is false.
    """
    known = as_published(params)
    rows = []
    for name, of_row in runs.groupby("row", sort=False):
        last = pd.Series([curve[-1] for curve in of_row["validation_loss_curve"]], dtype="float64")
        row: Row = {
            "row": name,
            "lr": of_row["lr"].iloc[0],
            "strength": of_row["strength"].iloc[0],
            "n_runs": len(last),
        }
        for statistic, function in (("mean", "mean"), ("sd", "std"), ("min", "min"), ("max", "max")):
            row[f"last_{statistic}"] = last.agg(function, skipna=False)
        rows.append(row | {"published": ROWS[str(name)] if known else math.nan})
    columns = ["row", "lr", "strength", "n_runs", "last_mean", "last_sd", "last_min", "last_max", "published"]
    return pd.DataFrame(rows, columns=columns)
