"""The published comparison, repeated on many seeds."""

import pandas as pd
from matplotlib.figure import Figure

from svvr.report import style

ROWS = {"baseline": ("baseline", "#0072B2"), "regularized_fresh": ("regularized, fresh weights", "#D55E00")}


@style.fixed()
def draw(runs: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    """Draw mean and range of runs as from `tables.replicate`, and the losses published in `replication.summarise`."""
    figure = style.figure(4.6, "Replication of the published comparison: mean and range over runs")
    ax = figure.subplots()
    if runs.empty:
        ax.text(0.5, 0.5, "left out: the published comparison is of MNIST-1D", ha="center")
        return figure
    curves = runs[["row", "seed", "validation_loss_curve"]].explode("validation_loss_curve")
    curves = curves.assign(loss=curves["validation_loss_curve"].astype("float64"))
    curves["epoch"] = curves.groupby(["row", "seed"]).cumcount() + 1
    last = int(curves["epoch"].max())
    for row, of_row in curves.groupby("row", sort=False):
        found = of_row.groupby("epoch")["loss"].agg(["mean", "min", "max"]).set_axis(["mean", "low", "high"], axis=1)
        label, color = ROWS.get(str(row), (f"continued (epochs {last + 1} to {2 * last})", "#E69F00"))
        n = style.counted(of_row["seed"].nunique(), "run")
        style.band(ax, found, {"color": color}, label=f"{label}, {n}")
    for loss in rows["published"].dropna().unique():
        ax.plot(last, loss, "X", color="black", markersize=8, clip_on=False, zorder=5, gid="published")
        ax.annotate(f"published {loss:.3f}", (last, loss), (9, 0), textcoords="offset points", va="center")
    ax.set_xlabel(f"epoch (the continued row starts after epoch {last} of the baseline)")
    ax.set_ylabel(style.VALIDATION)
    ax.locator_params("x", integer=True)
    style.legend(figure, ax.get_legend_handles_labels()[0])
    return figure
