"""Every contrast's effect on every link, with its intervals and verdict."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from svvr.links import GENERALISATION, LINKS, Link
from svvr.show import bands, style, words
from svvr.tables import Record


@style.fixed()
def draw(summary: Record) -> Figure:
    """Draw the effect of each contrast on each link, logarithmic in the ratio to the reference, ticks in per cent.

    Args:
        summary: the comparison's record; the thin line is the interval at the contrast's `level`, the thick one that
            at its `equivalence_level`, the grey strip the margin of practical equality.

    Returns:
        A figure of one panel for each link, a row for each contrast.
    """
    contrasts = {(c["arm"], c["reference"]): words.versus(c) for c in summary["contrasts"]}
    names = [style.wrapped(name, 2.0) for name in contrasts.values()]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    figure, axes = style.panels(2, 2, 2.6 + 2 * max(len(names), 2) * (0.14 + 0.15 * lines))
    effects, colors = bands.effects(summary), style.colors(bands.arms_of(summary))
    for i, (ax, link) in enumerate(zip(axes, LINKS, strict=True)):
        _axes(ax, link, names if i % 2 == 0 else [""] * len(names))
        if names:
            _panel(ax, effects[effects["link"] == link.name], colors)
    if names:
        studies = words.counted("study", (c["n_studies"] for c in summary["contrasts"]))
        figure.suptitle(f"The four links: {studies} per contrast")
        style.legend(figure, _signs(effects), 2)
    return figure


def _axes(ax: Axes, link: Link, names: list[str]) -> None:
    ax.set_title(link.words)
    ax.set_xlabel(style.wrapped(f"difference in {link.figure}\u00a0(%)", 2.4))
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(max(len(names), 1) - 0.5, -0.5)
    ax.axvline(1, color="black", linewidth=0.8)
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(NullLocator())


def _panel(ax: Axes, effects: pd.DataFrame, colors: Mapping[str, str]) -> None:
    """Draw a link's rows of a forest plot."""
    ax.axvspan(effects["margin_low"].iloc[0], effects["margin_high"].iloc[0], **style.SHADE)
    for y, row in enumerate(bands.plain(effects)):
        own: dict[str, Any] = {"color": colors[row["arm"]]}
        ax.text(1.02, y, row["verdict"], transform=ax.get_yaxis_transform(), va="center")
        if row["effect"] is not None:
            ax.plot(row["effect"], y, "o", markeredgecolor="black", markersize=6, zorder=4, gid="effect", **own)
        if row["low"] is not None:
            ax.plot((row["low"], row["high"]), (y, y), linewidth=1.2, zorder=3, gid="level", **own)
            for end, arrow, farthest in zip(("low", "high"), "<>", bands.FARTHEST, strict=True):
                if row[end] == farthest:
                    ax.plot(farthest, y, arrow, markersize=7, gid="beyond", **own)
            ax.plot((row["inner_low"], row["inner_high"]), (y, y), linewidth=4, zorder=3, gid="inner", **own)
    style.ticks(ax, style.percents(*ax.get_xlim()))


def _signs(effects: pd.DataFrame) -> list[Line2D]:
    return [
        Line2D([], [], color="0.4", linewidth=1.2, label=_levels(effects, "level")),
        Line2D([], [], color="0.4", linewidth=4, label=_levels(effects, "equivalence_level")),
        Line2D([], [], color="0.88", linewidth=8, label=bands.EQUAL),
    ]


def _levels(effects: pd.DataFrame, key: str) -> str:
    """Return the intervals' confidence in words; the links that are tested together have another one."""
    alone = effects["link"] == GENERALISATION.name
    found: list[Any] = [words.confidence(effects.loc[chosen, key].iloc[0]) for chosen in (alone, ~alone)]
    if found[0] == found[1]:
        return f"{found[0]} interval"
    return f"{found[0]} interval (first panel), {found[1]} (others)"
