"""Learning curves of the arms, and how far each is from its reference."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from svvr.analysis.statistics import CONFIDENCE, mean_interval
from svvr.report import style

RUN = ["arm", "study", "seed"]


@style.fixed()
def draw(curves: pd.DataFrame, summary: style.Record) -> Figure:
    """Draw `tables.curves` and paired differences to the reference of the first contrast; failed runs are counted."""
    looks = style.looks(entry["arm"] for entry in summary["arms"])
    references = {c["arm"]: c["reference"] for c in reversed(style.contrasts(summary))}
    interval = f"mean and {style.level(CONFIDENCE)} over {style.counted(curves['study'].nunique(), 'study')}"
    figure = style.figure(7.2 if references else 4.2, f"Learning curves: {interval}")
    upper, *lower = figure.subplots(2 if references else 1, sharex=True, squeeze=False)[:, 0]
    losses = curves.assign(log=np.log(curves["validation_loss"]))
    failed = losses["log"].isna().groupby([losses[key] for key in RUN]).transform("any")
    losses, n_failed = losses[~failed], losses[failed].drop_duplicates(RUN)["arm"].value_counts()
    for arm, look in looks.items():
        style.band(upper, _over_studies(losses[losses["arm"] == arm], "validation_loss"), look)
    upper.set_ylabel(style.VALIDATION)
    for ax in lower:
        ax.axhline(0, color="black", linewidth=0.8)
        for arm, reference in references.items():
            style.band(ax, _difference(losses, arm, reference), looks[arm])
        ax.set_ylabel("paired difference to the reference\n(% of validation loss)")
        ax.yaxis.set_major_formatter(style.signed)
    figure.axes[-1].set_xlabel("epoch")
    figure.axes[-1].locator_params("x", integer=True)
    handles = []
    for arm, look in looks.items():
        label = style.name(arm) + (f" (below: vs {style.name(references[arm])})" if arm in references else "")
        label += f", {style.counted(n_failed[arm], 'run')} failed" if arm in n_failed else ""
        handles.append(style.handle(label, **look))
    style.legend(figure, handles)
    return figure


def _over_studies(values: pd.DataFrame, column: str) -> pd.DataFrame:
    studies = values.groupby(["epoch", "study"])[column].mean()
    rows = {epoch: mean_interval(each.to_numpy(), CONFIDENCE) for epoch, each in studies.groupby("epoch")}
    return pd.DataFrame.from_dict(rows, "index", columns=["mean", "low", "high"], dtype="float64")


def _difference(losses: pd.DataFrame, arm: str, reference: str) -> pd.DataFrame:
    one, other = (losses[losses["arm"] == each] for each in (arm, reference))
    both = one.merge(other, on=["study", "seed", "epoch"], suffixes=("", "_reference"))
    ratios = _over_studies(both.assign(d=both["log"] - both["log_reference"]), "d")
    return ratios.transform(lambda column: 100 * np.expm1(column))
