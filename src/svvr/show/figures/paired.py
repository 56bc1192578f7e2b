"""The pairs of runs behind every verdict on generalisation."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from svvr.links import GENERALISATION
from svvr.show import bands, style, words
from svvr.tables import Record


@style.fixed()
def draw(summary: Record) -> Figure:
    """Draw the differences in test loss (per cent) of all pairs, by study, of each generalisation contrast.

    Args:
        summary: the comparison's record. The line and its band are the effect and its interval at the contrast's
            level, the grey strip is the margin of practical equality.

    Returns:
        A figure of one panel for each contrast.
    """
    contrasts = [c for c in summary["contrasts"] if c["link"] == GENERALISATION.name]
    columns = min(max(len(contrasts), 1), 3)
    rows = max(-(-len(contrasts) // columns), 1)
    figure, axes = style.panels(rows, columns, 1.0 + 3.5 * rows)
    drawn, colors = bands.pairs(summary), style.colors(bands.arms_of(summary))
    for ax, contrast in zip(axes, contrasts, strict=False):
        of_contrast = (drawn["arm"] == contrast["arm"]) & (drawn["reference"] == contrast["reference"])
        _panel(ax, drawn[of_contrast], colors[contrast["arm"]])
        title = style.wrapped(words.versus(contrast), 6.6 / columns)
        ax.set_title(f"{title}:\n{contrast['verdict']}")
    for ax in axes[len(contrasts) :]:
        ax.set_axis_off()
    if contrasts:
        studies = words.counted("study", (c["n_studies"] for c in contrasts))
        pairs = words.counted("pair", (c["n_pairs"] or 0 for c in contrasts))
        figure.suptitle(f"Test loss against the reference: {studies}, {pairs} per contrast")
        style.legend(figure, _signs(words.confidence(contrasts[0]["level"])))
    else:
        style.nothing(axes[0], "no contrast")
    return figure


def _panel(ax: Axes, drawn: pd.DataFrame, color: str) -> None:
    """Draw one contrast's pairs."""
    kinds = {kind: rows for kind, rows in drawn.groupby("kind")}
    for row in bands.plain(kinds[bands.EQUAL]):
        ax.axhspan(row["low"], row["high"], **style.SHADE)
    ax.axhline(0, color="black", linewidth=0.8)
    style.whole_numbers(ax, "study (number)")
    ax.set_ylabel(style.DIFFERENCE)
    if bands.MEAN not in kinds:
        ax.set_xticks([])
        style.nothing(ax, "runs failed", 0.75)
        return
    for _, pairs in kinds[bands.PAIR].groupby("study"):
        x = pairs["study"].astype(float) + style.offsets(len(pairs))
        ax.scatter(x, pairs["difference"], s=12, color=color, alpha=0.6, linewidths=0, gid=bands.PAIR)
    means = kinds[bands.STUDY]
    own: dict[str, Any] = {"s": 34, "marker": "D", "edgecolors": "black", "gid": bands.STUDY}
    ax.scatter(means["study"].astype(float), means["difference"], color=color, **own)
    for row in bands.plain(kinds[bands.MEAN]):
        ax.axhline(row["difference"], color=color)
        if row["low"] is not None:
            ax.axhspan(row["low"], row["high"], color=color, **style.BAND)
    ax.set_xlim(-0.5, len(means) - 0.5)


def _signs(level: str) -> list[Line2D]:
    dot: dict[str, Any] = {"linestyle": "", "color": "0.4"}
    return [
        Line2D([], [], marker="o", markersize=4, label=bands.PAIR, **dot),
        Line2D([], [], marker="D", markersize=6, markeredgecolor="black", label=bands.STUDY, **dot),
        Line2D([], [], color="0.4", label=f"{bands.MEAN} with {level} interval (band)"),
        Line2D([], [], color="0.88", linewidth=8, label=bands.EQUAL),
    ]
