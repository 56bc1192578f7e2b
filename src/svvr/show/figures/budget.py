"""Every contrast's effect against the number of trials: what the penalty brings depends on how much one searches."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from svvr.links import GENERALISATION
from svvr.show import bands, style, words
from svvr.tables import Record

BESIDE = 1.08  # of a budget: where the diamond stands
HEAD = 0.09  # of a panel's height: a row for a verdict


@style.fixed()
def draw(summary: Record) -> Figure:
    """Draw the effect of each contrast on test loss (per cent) against the number of trials of random search.

    Args:
        summary: the comparison's record. A line is the effect, its band the interval at the contrast's level, the grey
            strip the margin of practical equality. At the budgets that are judged a dot with its interval at the
            equivalence level, and the verdict; beside it, as a diamond, what the studies found.

    Returns:
        A figure of one panel for each contrast, and one with each arm's expected test loss (nats per example).
    """
    marks, colors = bands.judged(summary), style.colors(bands.arms_of(summary))
    curves = [curve for _, curve in bands.budget(summary).groupby(bands.CONTRAST, sort=False)]
    columns = 2 if curves else 1
    rows = -(-(len(curves) + 1) // columns)
    figure, axes = style.panels(rows, columns, 0.9 + 2.9 * rows)
    for ax, curve in zip(axes, curves, strict=False):
        contrast = curve[bands.CONTRAST].head(1)
        (name,) = bands.plain(contrast)
        ax.set_title(style.wrapped(words.versus(name), 3.4))
        _contrast(ax, curve, marks.merge(contrast), colors[name["arm"]])
    _losses(axes[len(curves)], bands.expected(summary), colors)
    for ax in axes[len(curves) + 1 :]:
        ax.set_axis_off()
    figure.suptitle("The effect against the budget: best of so many trials of random search")
    style.legend(figure, [*_arms(colors), *(_signs(summary) if curves else [])])
    return figure


def _contrast(ax: Axes, curve: pd.DataFrame, marks: pd.DataFrame, color: str) -> None:
    """Draw one contrast's effect; the first trials may lead out of sight."""
    ax.axhspan(curve["margin_low"].iloc[0], curve["margin_high"].iloc[0], **style.SHADE)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set_ylabel(style.DIFFERENCE)
    style.trials_axis(ax, max(curve["n_trials"].max(), marks["n_trials"].max()))
    style.band(ax, curve, "n_trials", "effect", color, gid="effect")
    if curve["drawn"].isna().all():
        style.nothing(ax, "runs failed", 0.3)
    for row in bands.plain(marks.dropna(subset="drawn")):
        _mark(ax, row, color)
    flags = marks[marks["kind"] == bands.JUDGED]
    ends = ["drawn", "drawn_low", "drawn_high", "margin_low", "margin_high"]
    style.limits(ax, pd.concat([curve, marks])[ends].to_numpy().flat, HEAD * len(flags))
    _flags(ax, flags)


def _mark(ax: Axes, row: Record, color: str) -> None:
    """Draw one effect on which there is a verdict."""
    tuned = row["kind"] == bands.TUNED
    x, ends = row["n_trials"] * (BESIDE if tuned else 1), "drawn" if tuned else "drawn_inner"
    line: dict[str, Any] = {"color": "black", "linewidth": 1.2} if tuned else {"color": color, "linewidth": 4}
    if row[f"{ends}_low"] is not None:
        ax.plot((x, x), (row[f"{ends}_low"], row[f"{ends}_high"]), zorder=3, **line)
    dot: dict[str, Any] = {"markeredgecolor": "black", "markersize": 6, "zorder": 4, "clip_on": False}
    ax.plot(x, row["drawn"], "D" if tuned else "o", color=color, gid=row["kind"], **dot)


def _flags(ax: Axes, marks: pd.DataFrame) -> None:
    """Write the verdict at each judged budget beside a line at it, in rows of their own above the data."""
    edge = ax.get_xaxis_transform()
    for i, row in enumerate(bands.plain(marks.sort_values("n_trials", ascending=False))):
        x, y = row["n_trials"], 1 - i * HEAD
        left = ax.transAxes.inverted().transform(ax.transData.transform((x, 0)))[0] > 0.5
        ax.plot((x, x), (0, y), color="0.4", linestyle=":", linewidth=1, transform=edge, zorder=1)
        text = f"{words.counted('trial', [x])}: {row['verdict']}"
        side: dict[str, Any] = {"ha": "right", "xytext": (-3, 0)} if left else {"ha": "left", "xytext": (3, 0)}
        side["bbox"] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.5}
        flag = ax.annotate(text, (x, y), xycoords=edge, textcoords="offset points", va="top", **side)
        flag.set_in_layout(False)  # it stands inside; as long as a layout makes panels smaller, it would not


def _losses(ax: Axes, losses: pd.DataFrame, colors: Mapping[str, str]) -> None:
    """Draw each arm's expected test loss."""
    ax.set_title("all arms")
    ax.set_ylabel(style.EXPECTED)
    if losses["drawn"].isna().all():
        ax.set_xticks([])
        style.nothing(ax, "unknown")
        return
    style.trials_axis(ax, losses["n_trials"].max())
    for arm, curve in losses.groupby("arm", sort=False):
        ax.plot(curve["n_trials"], curve["loss"], color=colors[str(arm)], gid="loss")
    style.limits(ax, losses["drawn"])


def _arms(colors: Mapping[str, str]) -> list[Line2D]:
    return [Line2D([], [], color=color, label=words.name(arm)) for arm, color in colors.items()]


def _signs(summary: Record) -> list[Line2D]:
    contrasts = [c for c in summary["contrasts"] if c["link"] == GENERALISATION.name]
    level, inner = (words.confidence(contrasts[0][key]) for key in ("level", "equivalence_level"))
    studies = words.counted("study", (c["n_studies"] for c in contrasts))
    trials = words.counted("trial", [bands.tuning_budget(summary)])
    dot: dict[str, Any] = {"color": "0.4", "markeredgecolor": "black", "markersize": 6}
    return [
        Line2D([], [], color="0.4", label=f"random search with {level} interval (band)"),
        Line2D([], [], linewidth=4, marker="o", label=f"where it is judged, with {inner} interval", **dot),
        Line2D([], [], linewidth=1.2, marker="D", label=f"tuning: {studies} of {trials}, {level} interval", **dot),
        Line2D([], [], color="0.88", linewidth=8, label=bands.EQUAL),
    ]
