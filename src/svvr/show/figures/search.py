"""What the tuning saw: every trial against its knobs."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from svvr import tables
from svvr.show import bands, style, words
from svvr.tables import Record, Source

DASHES: dict[str, Any] = {bands.TUNED: "-", bands.AT_RANDOM: "--"}


@style.fixed()
def draw(source: Source, summary: Record | None = None) -> Figure:
    """Draw every trial's objective (nats) against each knob, and the lowest against the number of trials.

    Args:
        source: tuning records. A star marks each study's winner; trials above the shown range, and failed ones, are
            triangles at the upper edge.
        summary: the comparison's record, or None where there is none yet. Of it a line is the mean over studies of the
            lowest so far, a dashed one what is expected of random search.

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
    _best(axes[3], summary, colors)
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
            star: dict[str, Any] = {"marker": "*", "edgecolors": "black", "linewidths": 0.6, "zorder": 3}
            ax.scatter(x, trials["drawn"], s=80 if len(trials) < 10 else 50, color=color, gid=kind, **star)
        else:
            edge: dict[str, Any] = {"transform": ax.get_xaxis_transform(), "clip_on": False}
            ax.plot(x, [1.0] * len(x), "^", markersize=5, color=color, gid=kind, **edge)
    above = drawn.loc[drawn["kind"] == bands.ABOVE, "drawn"].dropna()
    if len(above):
        ax.set_ylim(top=above.iloc[0])


def _best(ax: Axes, summary: Record | None, colors: Mapping[str, str]) -> None:
    """Draw the lowest loss against the number of trials; the first of them may lead out of sight."""
    ax.set_ylabel("lowest loss (nats, used for tuning)")
    found = bands.best(summary) if summary else pd.DataFrame({"drawn": []})
    if found["drawn"].isna().all():
        ax.set_xlabel("number of trials")
        ax.set_xticks([])
        ax.set_yticks([])
        style.nothing(ax, "unknown" if summary else "not compared yet")
        return
    style.trials_axis(ax, found["n_trials"].max())
    for (arm, kind), curve in found.groupby(["arm", "kind"], sort=False):
        own: dict[str, Any] = {"linestyle": DASHES[str(kind)], "marker": "o" if len(curve) < 3 else "", "gid": kind}
        ax.plot(curve["n_trials"], curve["loss"], color=colors.get(str(arm), style.PLAIN), **own)
    style.limits(ax, found["drawn"])


def _dots(colors: Mapping[str, str]) -> list[Line2D]:
    return [Line2D([], [], color=c, marker="o", markersize=5, label=words.name(arm)) for arm, c in colors.items()]


def _signs() -> list[Line2D]:
    own: dict[str, Any] = {"linestyle": "", "color": "0.4"}
    return [
        Line2D([], [], marker="*", markersize=11, markeredgecolor="black", label=bands.WINNER, **own),
        Line2D([], [], marker="^", markersize=5, label=bands.ABOVE, **own),
        Line2D([], [], color="0.4", linestyle=DASHES[bands.TUNED], label="tuning: best so far, mean over studies"),
        Line2D([], [], color="0.4", linestyle=DASHES[bands.AT_RANDOM], label="random search: expected best"),
    ]
