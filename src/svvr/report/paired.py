"""The pairs of runs behind each verdict on test loss."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from svvr.report import style, text


@style.fixed()
def draw(summary: style.Record) -> Figure:
    """Draw a panel a contrast: studies sorted by effect; contrasts with the same reference share a scale."""
    contrasts, looks = style.contrasts(summary), style.looks(entry["arm"] for entry in summary["arms"])
    if not contrasts:
        return style.figure(1, "Pairs of runs: no contrast")
    columns = min(len(contrasts), 3)
    rows = -(-len(contrasts) // columns)
    figure = style.figure(0.7 + 2.9 * rows, "Test loss of each pair of runs, arm against reference")
    for i, contrast in enumerate(contrasts, 1):
        ax = figure.add_subplot(rows, columns, i)
        same = [other for other in contrasts if other["reference"] == contrast["reference"]]
        points = [effect for other in same for study in other["pair_effects"] for effect in study]
        ends = [other[key] for other in same for key in style.EFFECT]
        ax.set_ylim(style.window([*points, *style.margin(contrast)], ends, 0.5))
        ax.set_title(f"{style.versus(contrast, 100 // columns - 4)}\n{text.verdict(contrast)}")
        ax.set_ylabel(style.DIFFERENCE if i % columns == 1 or columns == 1 else "")
        ax.yaxis.set_major_formatter(style.signed)
        ax.set(xticks=[], xlabel="studies, sorted by effect")
        _panel(ax, contrast, looks[contrast["arm"]]["color"])
    dot = style.handle("pair of runs", linestyle="", color=style.GREY, marker="o", markersize=4)
    diamond = style.handle("study (mean of its pairs)", linestyle="", color=style.GREY, marker="D", mec="black")
    line = style.handle(f"mean over studies with {style.level(contrasts[0]['level'])} (band)", color=style.GREY)
    style.legend(figure, [dot, diamond, line], margin=True)
    return figure


def _panel(ax: Axes, contrast: style.Record, color: str) -> None:
    ax.axhspan(*style.margin(contrast), **style.MARGIN)
    ax.axhline(0, color="black", linewidth=0.8)
    if contrast["effect_percent"] is None:
        ax.text(0.5, 0.8, textwrap.fill(str(contrast["reason"]), 30), transform=ax.transAxes, ha="center", va="center")
        return
    ax.axhline(contrast["effect_percent"], color=color)
    studies = contrast["study_effects"]
    for rank, study in enumerate(np.argsort(studies, kind="stable")):
        pairs = contrast["pair_effects"][study]
        ax.scatter([rank] * len(pairs), pairs, s=12, color=color, alpha=0.55, linewidths=0, gid="pair", zorder=3)
        ax.plot(rank, studies[study], "D", color=color, markeredgecolor="black", markersize=5, zorder=4)
    ax.set_xlim(-0.7, len(studies) - 0.3)
    if contrast["ci_low"] is not None:
        ends = contrast["ci_low"], contrast["ci_high"]
        ax.axhspan(*ends, color=color, alpha=0.2, linewidth=0, gid="ci")
        style.mark_cut(ax, [len(studies) - 1] * 2, ends, color)
