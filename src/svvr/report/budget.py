"""The effect on test loss against the number of trials of random search."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from svvr.report import style, text


@style.fixed()
def draw(summary: style.Record) -> Figure:
    """Draw a panel a contrast, the first two large: random search, and the studies' result at the tuning budget."""
    contrasts = style.contrasts(summary)
    if not contrasts:
        return style.figure(1, "Effect against the number of trials: no contrast")
    n, rows = len(contrasts), -(-max(len(contrasts) - 2, 0) // 3)
    figure = style.figure(4.4 + 2.5 * rows, "Effect on test loss against the number of trials")
    places: list[list[Any]] = [[0] * 6 if n == 1 else [0, 0, 0, 1, 1, 1]]
    places += [[i if i < n else "." for i in (j, j, j + 1, j + 1, j + 2, j + 2)] for j in range(2, n, 3)]
    looks = style.looks(entry["arm"] for entry in summary["arms"])
    for i, ax in figure.subplot_mosaic(places, height_ratios=[1.5, *[1] * rows]).items():
        _panel(ax, summary, contrasts[i], looks[contrasts[i]["arm"]]["color"], large=i < 2)
        ax.set_ylabel(style.DIFFERENCE if i in (0, *range(2, n, 3)) else "")
    level, trials = style.level(contrasts[0]["level"]), style.counted(len(summary["arms"][0]["running_best"]), "trial")
    line = style.handle(f"random search with {level} (band)", color=style.GREY, marker="o", mec="black")
    diamond = style.handle(f"studies of {trials} with {level}", color="black", marker="D", mfc=style.GREY)
    style.legend(figure, [line, diamond], margin=True)
    return figure


def _panel(ax: Axes, summary: style.Record, contrast: style.Record, color: str, large: bool) -> None:
    curve = pd.DataFrame(style.matching(summary["budget"], contrast)).set_index("n_trials")
    curve = curve[list(style.EFFECT)].astype("float64").set_axis(["mean", "low", "high"], axis=1)
    tuned = pd.Series([contrast[key] for key in style.EFFECT], dtype="float64").tolist()
    at = 1.12 * len(summary["arms"][0]["running_best"])  # beside random search
    dot: dict[str, Any] = {"color": color, "mec": "black", "zorder": 5}
    ax.axhspan(*style.margin(contrast), **style.MARGIN)
    ax.axhline(0, color="black", linewidth=0.8)
    style.band(ax, curve, {"color": color})
    ax.plot([at, at], tuned[1:], color="black", zorder=4, gid="studies")
    ax.plot(at, tuned[0], "D", **dot)
    lines = [style.versus(contrast, 50 if large else 34), f"studies: {text.verdict(contrast)}"]
    for row in style.matching(summary["budget_verdicts"], contrast):
        ax.plot(row["n_trials"], curve["mean"][row["n_trials"]], "o", **dot)
        lines.append(f"random search, {style.counted(row['n_trials'], 'trial')}: {text.verdict(row)}")
    ax.set_title("\n".join(lines), size=9 if large else 8)
    late = curve.loc[curve.index >= curve.index.max() / 8, "mean"]  # few trials may lead out of the panel
    ax.set_ylim(style.window([*late, *style.margin(contrast), tuned[0]], [*curve.to_numpy().flat, *tuned], 3))
    ax.set_xlim(0.9, 1.2 * max(at, curve.index.max()))
    style.log_axis(ax, "x")
    ax.set_xlabel("trials of random search")
    ax.yaxis.set_major_formatter(style.signed)
    style.mark_cut(ax, curve.index.repeat(3), curve.to_numpy().flat, color)
    style.mark_cut(ax, [at] * 3, tuned, "black", right=True)
