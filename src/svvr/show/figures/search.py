"""What the tuning saw: every trial against its knobs."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from svvr import tables
from svvr.show import bands, style, words
from svvr.tables import Record, Source


@style.fixed()
def draw(source: Source, summary: Record | None = None) -> Figure:
    """Draw every trial's objective (nats) against each knob, and the best loss expected of a number of trials.

    Args:
        source: tuning records. A star marks each study's winner; trials above the shown range, and failed ones, are
            triangles at the upper edge.
        summary: the comparison's record, or None where there is none yet; an arm's `expected_best` may be None.

    Returns:
        A figure of four panels.
    """
    found, drawn = tables.trials(source), bands.trials(source)
    colors = style.colors(found["arm"])
    figure, axes = style.panels(2, 2, 6.5)
    for ax, (knob, label) in zip(axes, style.KNOBS.items(), strict=False):
        ax.set_xlabel(label)
        ax.set_ylabel(style.OBJECTIVE)
        _knob(ax, drawn.dropna(subset=knob), knob, colors)
    _expected(axes[3], summary["arms"] if summary else [], colors)
    style.legend(figure, [*_dots(colors), *_signs()], 3)
    studies = found.groupby("arm")["study"].nunique()
    trials = found.groupby(["arm", "study"]).size()
    title = f"{words.counted('study', studies)} \u00d7 {words.counted('trial', trials)} per arm"
    figure.suptitle(f"Search: validation loss of {title}")
    return figure


def _knob(ax: Axes, drawn: pd.DataFrame, knob: str, colors: Mapping[str, str]) -> None:
    """Draw all arms' trials against a knob."""
    if drawn.empty:
        style.nothing(ax, "tuned by no arm")
        return
    ax.set_xscale("log")
    style.ticks(ax, style.decades(drawn[knob]))
    for (arm, kind), trials in drawn.groupby(["arm", "kind"], sort=False):
        color, x = colors[str(arm)], trials[knob]
        if kind == bands.TRIAL:
            ax.scatter(x, trials["drawn"], s=10, color=color, alpha=0.5, linewidths=0, gid=kind)
        elif kind == bands.WINNER:
            ax.scatter(x, trials["drawn"], s=80, color=color, marker="*", edgecolors="black", zorder=3, gid=kind)
        else:
            edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot(x, [1.0] * len(x), "^", markersize=5, color=color, gid=kind, **edge)
    above = drawn.loc[drawn["kind"] == bands.ABOVE, "drawn"].dropna()
    if len(above):
        ax.set_ylim(top=above.iloc[0])


def _expected(ax: Axes, arms: Sequence[Record], colors: Mapping[str, str]) -> None:
    style.whole_numbers(ax, "number of trials")
    ax.set_ylabel("expected best (nats, used for tuning)")
    curves = {entry["arm"]: entry.get("expected_best") or [] for entry in arms}
    for arm, curve in curves.items():
        if curve:
            marker = "o" if len(curve) < 3 else ""
            ax.plot(range(1, len(curve) + 1), curve, color=colors.get(arm, style.PLAIN), marker=marker)
    if not ax.lines:
        ax.set_xlim(0.5, 1.5)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=3))
        style.nothing(ax, "unknown" if arms else "not compared yet")


def _dots(colors: Mapping[str, str]) -> list[Line2D]:
    return [Line2D([], [], color=c, marker="o", markersize=5, label=words.name(arm)) for arm, c in colors.items()]


def _signs() -> list[Line2D]:
    own: dict[str, Any] = {"linestyle": "", "color": "0.4"}
    return [
        Line2D([], [], marker="*", markersize=11, markeredgecolor="black", label=bands.WINNER, **own),
        Line2D([], [], marker="^", markersize=5, label=bands.ABOVE, **own),
    ]
