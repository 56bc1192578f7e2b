"""What tuning saw: every trial's validation loss against its learning rate."""

import textwrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from svvr.report import style

SIGNS = {"trial": ("o", 5), "winner of a study": ("|", 9), "loss above the axis": ("^", 4), "failed trial": ("x", 5)}


@style.fixed()
def draw(trials: pd.DataFrame) -> Figure:
    """Draw a panel an arm from the frame of analysis.tables.trials; all panels share their axes."""
    looks, n = style.looks(trials["arm"]), trials.groupby(["arm", "study"]).size().max()
    size = f"{style.counted(trials['study'].nunique(), 'study')} of {style.counted(n, 'trial')}"
    columns = min(len(looks), 3)
    rows = -(-len(looks) // columns)
    figure = style.figure(1.0 + 2.2 * rows, f"Tuning: {size} for each arm")
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    loss, winners = trials["validation_loss"], trials["winner"].astype(bool)
    low = loss.min()
    top = max(low + 4 * (loss.median() - low), loss[winners].max()) + 0.01  # diverging trials do not flatten the others
    if top > low:
        axes[0, 0].set_ylim(low - 0.12 * (top - low), top + 0.03 * (top - low))
    for ax in axes.flat[len(looks) :]:
        ax.set_axis_off()
    for i, (ax, (arm, look)) in enumerate(zip(axes.flat, looks.items(), strict=False)):
        ax.set_ylabel(style.VALIDATION if i % columns == 0 else "", size=8)
        ax.set(title=textwrap.fill(style.name(arm), 34), xlabel="learning rate" if i >= columns * (rows - 1) else "")
        ax.tick_params(labelbottom=True)
        _panel(ax, trials[trials["arm"] == arm], top, look["color"])
    style.log_axis(axes[0, 0], "x")
    style.legend(figure, [style.handle(label, ls="", marker=sign, color="0.3") for label, (sign, _) in SIGNS.items()])
    return figure


def _panel(ax: Axes, trials: pd.DataFrame, top: float, color: str) -> None:
    loss = trials["validation_loss"]
    ax.scatter(trials["lr"], loss.where(loss <= top), s=9, color=color, alpha=0.5, linewidths=0)
    marked = (trials["winner"].astype(bool), loss > top, loss.isna())
    for chosen, (sign, size), y in zip(marked, [*SIGNS.values()][1:], (0.02, 1, 1), strict=True):
        if chosen.any():  # an empty line would count in the layout
            own: dict[str, Any] = {"color": color if sign == "^" else "black", "transform": ax.get_xaxis_transform()}
            ax.plot(trials.loc[chosen, "lr"], [y] * chosen.sum(), sign, markersize=size, gid=sign, clip_on=False, **own)
