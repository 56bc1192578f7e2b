"""How every figure looks: the arms' colours, plain numbers, intervals that are never cut silently, PNG files."""

import contextlib
import io
import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator

from svvr.records import write_bytes
from svvr.report import text

Record: TypeAlias = Mapping[str, Any]
WIDTH, LETTER = 8.5, 0.068  # inches: a figure, a letter
# Okabe and Ito's palette, brown in place of yellow: distinct with any colour vision
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#8C564B")
DASHES = ("-", "-.", ":")  # of the first eight arms, the next eight, ...; "--" is before training
GREY = "0.45"
MARGIN: dict[str, Any] = {"color": "0.9", "linewidth": 0, "zorder": 0}
DIFFERENCE = "difference in test loss (%)"
VALIDATION = "validation loss\n(nats per example, used for tuning)"
contrasts, matching = text.test_loss, text.matching
EFFECT = ("effect_percent", "ci_low", "ci_high")
CAPS = [(-1, 0.3), (-1, -0.3), (-1, 0), (1, 0), (1, 0.3), (1, -0.3)]  # a line with caps, as a marker
_OFF = ("axes.spines.top", "axes.spines.right", "axes.formatter.useoffset", "legend.frameon")
_SIZES = {"font.size": 9, "axes.titlesize": 9.5, "figure.titlesize": 11, "xtick.labelsize": 8, "ytick.labelsize": 8.5}


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """Draw with Matplotlib's defaults and these settings, whatever the user's; also a decorator."""
    settings: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    settings |= _SIZES | dict.fromkeys(_OFF, False) | {"axes.formatter.limits": (-9, 9), "savefig.dpi": 150}
    with matplotlib.rc_context(settings):
        yield


@fixed()
def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as a PNG file whose bytes depend on the figure alone; RecordError where that is impossible."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
    figure.set_layout_engine("none")  # a second layout may move the panels a little
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    write_bytes(path, buffer.getvalue())


def figure(height: float, title: str) -> Figure:
    """Return an empty figure of a height in inches."""
    made = Figure(figsize=(WIDTH, height), layout="constrained")
    made.suptitle(title)
    return made


def legend(figure: Figure, handles: Iterable[Artist], margin: bool = False) -> None:
    """Put a legend, with the margin if asked, below all panels, where it hides no data, and make room for it."""
    handles = [*handles, *([Patch(**MARGIN, label="margin: counts as equal")] if margin else [])]
    labels = [textwrap.fill(str(handle.get_label()), 48) for handle in handles]
    longest = max(len(line) for label in labels for line in label.splitlines())
    columns = min(int(WIDTH / (0.6 + LETTER * longest)), len(labels), 4)
    lines = -(-sum(label.count("\n") + 1 for label in labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.18 * lines)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def handle(label: str, **line: Any) -> Line2D:
    """Return a sign for a legend."""
    return Line2D([], [], label=label, **line)


def looks(arms: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return each arm's colour and line style by its place; the first 24 pairs differ."""
    pairs = itertools.cycle({"color": c, "linestyle": dash} for dash, c in itertools.product(DASHES, COLORS))
    return dict(zip(dict.fromkeys(arms), pairs, strict=False))


def margin(contrast: Record) -> tuple[float, float]:
    """Return the ends of a contrast's margin in per cent, symmetric as log ratios."""
    percent: float = contrast["margin_percent"]
    return -100 * percent / (100 + percent), percent


def name(arm: str) -> str:
    """Return an arm's name as it is written."""
    return arm.replace("_", " ")


def versus(contrast: Record, width: int = 60) -> str:
    """Return a contrast's name in lines of at most so many letters."""
    return textwrap.fill(f"{name(contrast['arm'])} vs {name(contrast['reference'])}", width)


def counted(n: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{n}\u00a0{noun if n == 1 else {'study': 'studies'}.get(noun, noun + 's')}"


def level(confidence: float) -> str:
    """Return an interval's confidence level in words."""
    return f"{100 * confidence:.3g}\u00a0%\u00a0interval"


def signed(percent: float, *_: Any) -> str:
    """Return a percentage with its sign and three digits, without its unit; also a formatter of ticks."""
    return "0" if abs(percent) < 1e-9 else f"{float(f'{percent:.3g}'):+.7g}".replace("-", "\u2212")


def plain(value: float, *_: Any) -> str:
    """Return a number without an exponent."""
    return np.format_float_positional(value, 6, fractional=False, trim="-")


def log_axis(ax: Axes, which: str) -> None:
    """Make the x or y axis of a panel logarithmic, labelled with plain numbers; call it after drawing."""
    ax.set(**{f"{which}scale": "log"})
    axis, (low, high) = getattr(ax, f"{which}axis"), getattr(ax, f"get_{which}lim")()
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 150 else (1.0, 2.0, 5.0), numticks=8))
    axis.set_major_formatter(plain)
    axis.set_minor_formatter("")


def window(core: Iterable[float | None], ends: Iterable[float | None], reach: float = 2.0) -> tuple[float, float]:
    """Return limits of an axis that hold all of core, and ends at most `reach` spans of core away from it."""
    known, far = np.array([*core], dtype=float), np.array([*ends], dtype=float)
    low, high = np.nanmin(known), np.nanmax(known)
    near = far[(far >= low - reach * (high - low)) & (far <= high + reach * (high - low))]
    low, high = min([low, *near]), max([high, *near])
    return low - 0.05 * (high - low), high + 0.05 * (high - low)


def band(ax: Axes, frame: pd.DataFrame, look: Record, **line: Any) -> None:
    """Draw the columns mean, low and high against the index."""
    marker = "o" if len(frame) < 3 else ""  # a line of one point would be invisible
    ax.plot(frame.index, frame["mean"], **{"marker": marker, **look, **line})
    ax.fill_between(frame.index, frame["low"], frame["high"], color=look["color"], alpha=0.15, linewidth=0)


def mark_cut(ax: Axes, x: Iterable[float], percents: Iterable[float], color: str, right: bool = False) -> None:
    """Mark each end of the vertical axis that cuts percentages with an arrow, and the farthest of them beside it."""
    points, edge = [*zip(x, percents, strict=True)], 1.5 * ax.get_xlim()[0]
    for sign, limit in zip((-1, 1), ax.get_ylim(), strict=True):
        beyond = [point for point in points if sign * point[1] > sign * limit]
        if beyond:
            at, percent = max(beyond, key=lambda point: sign * point[1])
            by = 6 if right or at < edge else -6
            _arrow(ax, (at, limit), "^" if sign > 0 else "v", percent, color, (by, -6 * sign))


def _arrow(ax: Axes, at: tuple[float, float], marker: str, percent: float, color: str, by: tuple[float, float]) -> None:
    ax.plot(*at, marker, color=color, markersize=7, clip_on=False, gid="cut", zorder=5)
    place: dict[str, Any] = {"ha": "left" if by[0] > 0 else "right", "va": "center", "size": 8, "color": color}
    ax.annotate(signed(percent), at, by, textcoords="offset points", zorder=6, **place)


def forest(
    ax: Axes, rows: Sequence[Record | None], looks: Mapping[str, Any], limit: tuple[float, float],
    at: Callable[[float], float] = float, width: int = 40,
) -> None:  # fmt: skip
    """Draw an effect a row from the top, None an empty one; limit is the margin (%), `at` maps per cent to the axis."""
    effects, *ends = ([row[key] for row in rows if row and row[key] is not None] for key in EFFECT)
    ax.set_xlim(window(map(at, [*effects, *limit]), map(at, itertools.chain(*ends))))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.axvline(0, color="black", linewidth=0.8)
    for y, row in enumerate(rows):
        if row:
            words, edge = textwrap.fill(text.verdict(row), width), ax.get_yaxis_transform()
            ax.text(1.03, y, words, transform=edge, va="center_baseline")
            _estimate(ax, y, row, looks[row["arm"]]["color"], at)


def _estimate(ax: Axes, y: float, row: Record, color: str, at: Callable[[float], float]) -> None:
    if row["effect_percent"] is not None:
        ax.plot(at(row["effect_percent"]), y, "o", color=color, markeredgecolor="black", markersize=6, zorder=4)
    if row["ci_low"] is None:
        return
    limits = ax.get_xlim()
    for key, width in (("ci", 1.2), ("equivalence_ci", 4.0)):
        ends = np.clip([at(row[f"{key}_low"]), at(row[f"{key}_high"])], *limits)
        ax.plot(ends, [y, y], color=color, linewidth=width, solid_capstyle="butt", zorder=3, gid=key)
    for sign, end, limit in zip((1, -1), ("ci_low", "ci_high"), limits, strict=True):
        if limits[0] <= at(row[end]) <= limits[1]:
            ax.plot(at(row[end]), y, "|", color=color, markersize=8, markeredgewidth=1.2, zorder=3)
        else:
            _arrow(ax, (limit, y), "<" if sign > 0 else ">", row[end], color, (4 * sign, 8))


def forest_legend(figure: Figure, wider: str, narrower: str) -> None:
    """Explain `forest`, both intervals by their levels in words."""
    thin: dict[str, Any] = {"linestyle": "", "marker": CAPS, "markersize": 22, "fillstyle": "none", "color": GREY}
    thick = handle(f"thick bar: {narrower}", color=GREY, linewidth=4)
    legend(figure, [handle(f"thin line with caps: {wider}", **thin), thick], margin=True)
