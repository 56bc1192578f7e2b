"""How every figure looks: palette, sizes, labels with units, axes, legends, and how a figure becomes a file."""

import contextlib
import io
import itertools
import math
import os
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from svvr.core.files import write_bytes
from svvr.show import words

# A notebook's MPLBACKEND may name what this environment lacks, and Matplotlib then refuses to be imported. No figure
# here needs it: each has a canvas of its own.
_BACKEND = os.environ.pop("MPLBACKEND", None)
try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator
finally:
    if _BACKEND is not None:
        os.environ["MPLBACKEND"] = _BACKEND

WIDTH, DPI = 8.5, 150  # inches, dots per inch
# Okabe and Ito's palette, which readers with any colour vision tell apart
ARMS = {
    "baseline": "#0072B2",
    "regularized": "#D55E00",
    "weight_decay": "#009E73",
    "weight_decay_regularized": "#CC79A7",
}
FURTHER = ("#56B4E9", "#E69F00", "#000000", "#F0E442")
ROWS = {"baseline": "#0072B2", "regularized_fresh": "#D55E00", "regularized_continued": "#E69F00"}
SETTINGS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7")  # of the dose-response
GREY = "#737373"  # before training
PLAIN = "#000000"  # of no arm
BAND: dict[str, Any] = {"alpha": 0.18, "linewidth": 0}
SHADE: dict[str, Any] = {"color": "0.88", "linewidth": 0, "zorder": 0}  # practically equal
VALIDATION = "validation loss (nats per example, used for tuning)"
OBJECTIVE = "objective (nats, used for tuning)"
STRENGTH = "penalty strength (nats per unit of penalty)"
DIFFERENCE = "difference in test loss (%)"
EXPECTED = "expected test loss (nats)"
KNOBS = {
    "lr": "learning rate (per step)",
    "strength": STRENGTH,
    "weight_decay": "weight decay (per step and learning rate)",
}
LEGEND_ITEM, LETTER = 0.5, 0.065  # inches: what a legend's entry takes beside its text, and a letter of it
_OWN: dict[str, Any] = {
    "font.size": 9,
    "axes.titlesize": 10,
    "figure.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.dpi": DPI,
    "savefig.dpi": DPI,
}


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Draw by Matplotlib's defaults and this module's settings, whatever the user's; also a decorator."""
    defaults: dict[Any, Any] = {k: v for k, v in matplotlib.rcParamsDefault.items() if k != "backend"}
    with matplotlib.rc_context(defaults | _OWN):
        yield


@fixed()
def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file whose bytes depend on the figure alone.

    Args:
        figure: what to write.
        path: file to replace; missing folders are made.

    Raises:
        RecordError: where the file cannot be written.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # each run of the layout may move it a little, so a second save would differ
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def panels(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of a height in inches and its axes in reading order."""
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def colors(arms: Iterable[str]) -> dict[str, str]:
    """Return each arm's colour; the known arms have theirs in every figure, others take further ones in turn.

    Args:
        arms: all arms of the comparison in their order, so that a figure of some of them colours them as the others.
    """
    named = list(dict.fromkeys(arms))
    further = dict(zip((arm for arm in named if arm not in ARMS), itertools.cycle(FURTHER), strict=False))
    return {arm: ARMS.get(arm) or further[arm] for arm in named}


def with_failures(arm: str, n: int, failed: int) -> str:
    """Return an arm's name for a legend, with the number of failed runs where there are any."""
    return f"{words.name(arm)} ({failed} of {n} {words.plural('run', n)} failed)" if failed else words.name(arm)


def legend(figure: Figure, handles: Sequence[Line2D], columns: int = 4) -> None:
    """Put the legend below all panels, where it hides no data, in as few rows as fit; more than two add height."""
    labels = [wrapped(str(handle.get_label()), 3.4) for handle in handles]
    longest = max((len(line) for label in labels for line in label.splitlines()), default=0)
    fitting = max(1, min(columns, int((WIDTH - 0.3) / (LEGEND_ITEM + LETTER * longest))))
    rows = max(1, math.ceil(len(handles) / fitting))
    lines = rows * max((label.count("\n") + 1 for label in labels), default=1)
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, lines - 2))
    figure.legend(handles, labels, loc="outside lower center", ncols=math.ceil(len(handles) / rows) or 1)


def wrapped(text: str, width: float) -> str:
    """Return text in lines of at most so many inches."""
    return "\n".join(textwrap.wrap(text, max(8, int(width / LETTER))))


def band(ax: Axes, frame: pd.DataFrame, x: str, y: str, color: str, **line: Any) -> Line2D:
    """Draw a line with its band, the columns drawn_low and drawn_high or else low and high; without rows no line."""
    marker = "o" if frame[x].nunique() < 3 else ""  # a line of one point would be invisible
    (drawn,) = ax.plot(frame[x], frame[y], color=color, **({"marker": marker} | line))
    low, high = ("drawn_low", "drawn_high") if "drawn_low" in frame else ("low", "high")
    if len(frame):
        ax.fill_between(frame[x], frame[low], frame[high], color=color, **BAND)
    return drawn


def whole_numbers(ax: Axes, label: str) -> None:
    """Set up a horizontal axis of whole numbers."""
    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1, steps=[1, 2, 5, 10]))


def trials_axis(ax: Axes, n: int) -> None:
    """Set up a horizontal, logarithmic axis of 1 to n trials."""
    ax.set_xlabel("number of trials")
    ax.set_xscale("log")
    ax.set_xlim(0.92, 1.09 * n)
    found = [float(m * 10**k) for k in range(6) for m in (1, 2, 5) if m * 10**k <= n / 1.5]
    ticks(ax, {value: f"{value:g}" for value in [*found, n]})


def limits(ax: Axes, values: Iterable[float], head: float = 0.0) -> None:
    """Let the vertical axis reach around values, whatever else is drawn, and higher by a share for what is written."""
    known = [value for value in values if not math.isnan(value)]
    if known:
        low, span = min(known), (max(known) - min(known)) or abs(known[0]) or 1.0
        ax.set_ylim(low - 0.05 * span, low + span * 1.05 / (1 - head))


def ticks(ax: Axes, labels: Mapping[float, str]) -> None:
    """Set the horizontal axis' ticks: position -> label."""
    ax.xaxis.set_major_locator(FixedLocator(list(labels)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(labels.values())))
    ax.xaxis.set_minor_locator(NullLocator())


def decades(values: Iterable[float]) -> dict[float, str]:
    """Return ticks for positive values: the decades, or the ends where there is at most one decade."""
    known = sorted(values)
    if not known:
        return {}
    low, high = known[0], known[-1]
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last > first:
        return {10.0**k: f"$10^{{{k}}}$" for k in range(first, last + 1)}
    return {value: f"{value:.2g}" for value in ([low, high] if high > 1.5 * low else [low])}


def percents(low: float, high: float) -> dict[float, str]:
    """Return ticks between two ratios, labelled as differences in per cent: few enough for a third of the page."""
    if high / low < 4:
        values = MaxNLocator(nbins=4, steps=[1, 2, 5, 10]).tick_values(100 * (low - 1), 100 * (high - 1))
        found = [float(value) for value in values if low <= 1 + value / 100 <= high]
    else:
        inside = [-99.9, -99, -90, -50, 0, 100, 900] if high / low < 1000 else [-99.9, -99, -90, 0, 900]
        found = [value for value in inside if low <= 1 + value / 100 <= high]
    return {1 + value / 100: f"{value:+.4g}".replace("-", "\u2212") if value else "0" for value in found}


def nothing(ax: Axes, text: str, height: float = 0.5) -> None:
    """Say in a panel why it is empty."""
    ax.text(0.5, height, text, transform=ax.transAxes, ha="center", va="center")


def offsets(n: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return by how much to shift each of n marks that stand at one whole number."""
    return 0.15 * np.linspace(-1, 1, n) if n > 1 else np.zeros(n)
