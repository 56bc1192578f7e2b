"""The published result, and what its protocol gives on many seeds."""

import math

import pandas as pd

from svvr.params import Params

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
    """Return the last epoch's validation losses (nats) in each row of runs as from `tables.replicate`.

    Missing where a run failed; `published` is missing where `as_published` is false.
    """
    known, rows = as_published(params), []
    for name, of_row in runs.groupby("row", sort=False):
        last = pd.Series([curve[-1] for curve in of_row["validation_loss_curve"]], dtype="float64")
        figures = (last.agg(each, skipna=False) for each in ("mean", "std", "min", "max"))
        rows.append([name, len(last), *figures, ROWS[str(name)] if known else math.nan])
    columns = ["row", "n_runs", "last_mean", "last_sd", "last_min", "last_max", "published"]
    return pd.DataFrame(rows, columns=columns)
