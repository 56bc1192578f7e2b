"""Losses and links against the penalty's strength."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from svvr.judge.statistics import CONFIDENCE
from svvr.show import bands, style, words
from svvr.tables import Record


@style.fixed()
def draw(record: Record) -> Figure:
    """Draw losses and links against the penalty's strength, mean and interval over seeds, a colour for each setting.

    Args:
        record: the dose-response record. Strength 0 has no place on a logarithmic axis; it is drawn left of a break.

    Returns:
        A figure of a panel for each quantity.
    """
    figure, axes = style.panels(2, 3, 6.2)
    drawn, settings = bands.dose(record), bands.settings(record)
    positions = _positions(record["strengths"])
    drawn["x"] = drawn["strength"].map(positions)
    colors = {words.setting(each): color for each, color in zip(settings, style.SETTINGS, strict=False)}
    for ax, (quantity, label) in zip(axes, bands.DOSE.items(), strict=False):
        _strength_axis(ax, record["strengths"], positions)
        ax.set_ylabel(style.wrapped(label, 1.9))
        for _, rows in drawn[drawn["quantity"] == quantity].groupby(bands.SETTING, sort=False):
            _curve(ax, rows, colors[words.setting(bands.plain(rows.head(1))[0])])
    for ax in axes[len(bands.DOSE) :]:
        ax.set_axis_off()
    handles = [Line2D([], [], color=c, marker="o", markersize=4, label=name) for name, c in colors.items()]
    style.legend(figure, [*handles, Line2D([], [], color="0.5", linestyle=":", label="level at strength 0")], 3)
    seeds, interval = (
        words.counted("seed", (s["n_seeds"] for s in settings)),
        f"{words.confidence(CONFIDENCE)} interval",
    )
    figure.suptitle(f"Against the penalty's strength: mean and {interval} over {seeds}")
    return figure


def _positions(strengths: Sequence[float]) -> dict[float, float]:
    """Return where to draw each strength on a logarithmic axis; 0 goes left of the smallest other one."""
    positive = [s for s in strengths if s > 0] or [1.0]
    gap = 10 ** (0.25 + 0.15 * math.log10(max(positive) / min(positive)))
    return {s: s if s > 0 else min(positive) / gap for s in strengths}


def _strength_axis(ax: Axes, strengths: Sequence[float], positions: dict[float, float]) -> None:
    """Set up the logarithmic axis, with a break where strength 0 is drawn."""
    ax.set_xscale("log")
    ax.set_xlabel(style.wrapped(style.STRENGTH, 2.2))
    positive = sorted({s for s in strengths if s > 0})
    ticks = style.decades(positive)
    if 0 in positions:
        ticks = {positions[0]: "0"} | ticks
        if positive:
            at = math.sqrt(positions[0] * positive[0])
            slash: Any = [(-1, -2), (1, 2)]
            edge = ax.get_xaxis_transform()
            ax.plot([at / 1.06, at * 1.06], [0, 0], marker=slash, color="black", ls="", transform=edge, clip_on=False)
    style.ticks(ax, ticks)
    if positions:
        ax.set_xlim(min(positions.values()) / 1.4, max(positions.values()) * 1.4)


def _curve(ax: Axes, rows: pd.DataFrame, color: str) -> None:
    """Draw one quantity in one setting; strength 0 stands alone, its level continued as a dotted line."""
    dosed, zero = rows[rows["strength"] > 0], rows[rows["strength"] == 0]
    ax.plot(dosed["x"], dosed["mean"], color=color)
    ax.plot(rows["x"], rows["mean"], "o", color=color, markersize=4, gid="dose")
    ax.vlines(rows["x"], rows["low"], rows["high"], color=color, linewidth=1.2)
    for level in zero["mean"]:
        ax.axhline(level, color=color, linestyle=":", linewidth=1, alpha=0.6)
