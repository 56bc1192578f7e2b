"""Test loss and the links against a penalty's strength, and test loss against conditioning."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from svvr.analysis import dose_response
from svvr.analysis.statistics import CONFIDENCE
from svvr.links import GENERALISATION, MEASURED
from svvr.report import style

PANELS = {"test_loss": GENERALISATION, **{link.name: link for link in MEASURED}}
# Of the settings: colours of no arm, and points by which their strengths are written off the marks
LOOKS = (("#332288", "o", 4), ("#AA8800", "s", -9), ("#882255", "D", 12), ("#777777", "^", -17))


@style.fixed()
def draw(curves: pd.DataFrame) -> Figure:
    """Draw means and intervals over seeds, a line a path, from the frame of analysis.dose_response.curves."""
    figure = style.figure(8.5, f"Dose-response: mean and {style.level(CONFIDENCE)} over seeds")
    rooms: list[Any] = [[*PANELS][:2], [*PANELS][2:], ["path"] * 2]
    axes = figure.subplot_mosaic(rooms)
    for (label, rows), (color, marker, off) in zip(dose_response.settings(curves).items(), LOOKS, strict=False):
        look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 4.5}
        for quantity in PANELS:
            own = rows[rows["quantity"] == quantity].sort_values("strength")
            axes[quantity].errorbar(own["strength"], *_mean(own), label=label, **look)
        path = dose_response.path(rows)
        axes["path"].errorbar(path["conditioning"], *_mean(path), **look)
        for strength, condition, loss in zip(path.index, path["conditioning"], path["mean"], strict=True):
            place: dict[str, Any] = {"xytext": (3, off), "textcoords": "offset points", "size": 7, "color": color}
            axes["path"].annotate(style.plain(strength), (condition, loss), **place)
    for quantity, link in PANELS.items():
        axes[quantity].set(title=link.words, ylabel=textwrap.fill(link.axis, 36), xlabel="penalty strength")
        _strengths(axes[quantity], sorted(curves["strength"].unique()))
    axes["path"].set(title="test loss against conditioning, strengths at the marks")
    axes["path"].set(xlabel=PANELS["conditioning"].axis, ylabel=GENERALISATION.axis)
    style.legend(figure, axes["test_loss"].get_legend_handles_labels()[0])
    return figure


def _mean(rows: pd.DataFrame) -> tuple["pd.Series[float]", tuple["pd.Series[float]", "pd.Series[float]"]]:
    return rows["mean"], (rows["mean"] - rows["ci_low"], rows["ci_high"] - rows["mean"])


def _strengths(ax: Axes, strengths: list[float]) -> None:
    least, powers = min(s for s in strengths if s > 0), LogLocator(numticks=6)
    ax.set_xscale("symlog", linthresh=least, linscale=0.4)  # logarithmic from there on, and with a place for 0
    ax.set_xlim((-0.08 if 0 in strengths else 0.9) * least, strengths[-1] * 1.15)
    ticks = [0.0] * (0 in strengths) + [float(t) for t in powers.tick_values(least, strengths[-1]) if t >= least]
    ax.set_xticks([t for t in ticks if t <= strengths[-1]], [style.plain(t) for t in ticks if t <= strengths[-1]])
    ax.minorticks_off()
