"""The four links of the hypothesis as a forest plot."""

import math
import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from svvr.links import LINKS
from svvr.report import style


@style.fixed()
def draw(summary: style.Record) -> Figure:
    """Draw a panel a link and a row a contrast: the change in per cent, on a logarithmic axis."""
    contrasts = style.contrasts(summary)
    if not contrasts:
        return style.figure(1, "The four links: no contrast")
    figure = style.figure(2.2 + 0.72 * max(len(contrasts), 2), "The four links (logarithmic axes, left of 0 is better)")
    looks, levels = style.looks(entry["arm"] for entry in summary["arms"]), []
    for ax, link in zip(figure.subplots(2, 2, sharey=True).flat, LINKS, strict=True):
        rows = [entry for entry in summary["contrasts"] if entry["link"] == link.name]
        limit = style.margin(rows[0])
        ax.axvspan(*map(_log_ratio, limit), **style.MARGIN)
        style.forest(ax, rows, looks, limit, _log_ratio, width=16)
        _ticks(ax)
        ax.set_yticks(range(len(rows)), [style.versus(row, 28) for row in rows])
        ax.set_title(link.words)
        ax.set_xlabel(textwrap.fill(f"difference in {link.figure} (%)", 42))
        levels.append([style.level(rows[0][key]) for key in ("level", "equivalence_level")])
    both = [f"{own} (other panels: {shared})" for own, shared in zip(levels[0], levels[-1], strict=True)]
    style.forest_legend(figure, *both)
    return figure


def _log_ratio(percent: float) -> float:
    return math.log1p(max(percent, -100 + 1e-9) / 100)


def _ticks(ax: Axes) -> None:
    """Label about six round percentages, from 0 to both sides, where they do not crowd."""
    low, high = ax.get_xlim()
    ratios = [math.exp(step * (high - low) / 6) for step in (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, -5, 6, -6)]
    ticks: dict[float, str] = {}
    for change in [float(f"{r - 1:.1g}") if r > 0.5 else float(f"{r:.1g}") - 1 for r in ratios]:
        at = math.log1p(change)
        if low <= at <= high and all(abs(at - other) > 0.12 * (high - low) for other in ticks):
            ticks[at] = style.signed(100 * change)
    ax.set_xticks(list(ticks), list(ticks.values()))
