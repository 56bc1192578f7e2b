"""Figures of the finished records: plain dictionaries in, Matplotlib figures out.

Nothing is computed that decides: bands over runs or studies are taken here, effects, intervals and verdicts are read.
"""

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

from svvr.core import files as records
from svvr.judge.statistics import mean_interval

Record = Mapping[str, Any]
Floats = npt.NDArray[np.float64]

DPI = 150
SMALL, LARGE = 9, 10  # points
VALIDATION = "validation loss (nats per example, used for tuning)"
BAND: dict[str, Any] = {"alpha": 0.18, "linewidth": 0}
SHADE: dict[str, Any] = {"color": "0.88", "linewidth": 0, "zorder": 0}
# Okabe and Ito's palette, which readers with any colour vision tell apart
_FIXED = {
    "baseline": "#0072B2",
    "regularized": "#D55E00",
    "weight_decay": "#009E73",
    "weight_decay_regularized": "#CC79A7",
}
_FURTHER = ("#56B4E9", "#E69F00", "#000000", "#F0E442")
_ROW_COLORS = ("#0072B2", "#D55E00", "#009E73")
_KNOBS = {
    "lr": "learning rate (per step)",
    "strength": "penalty strength (nats per unit of penalty)",
    "weight_decay": "weight decay (per step and learning rate)",
}
_LINKS = {
    "generalisation": "test loss",
    "conditioning": "condition number",
    "smoothness": "top Hessian eigenvalue",
    "gradient_stability": "gradient norm's variation",
}
_CLIP_QUANTILE, _CLIP_SPAN = 0.9, 4  # the objective's axis: this quantile, but at most 4 times best to median


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
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    records.write_bytes(path, buffer.getvalue())


def comparison(train: Mapping[str, Record]) -> Figure:
    """Draw each arm's validation loss (nats per example) against the epoch.

    Args:
        train: train record of each arm. The line is the mean over studies of the studies' means, the band its 95 %
            t interval; failed runs are left out and counted in the legend.

    Returns:
        A figure of one panel.
    """
    figure, (ax,) = _panels(1, 1, 4.5)
    handles = []
    for arm, color in _colors(train).items():
        runs = train[arm]["runs"]
        curves = study_curves(runs)
        failed = sum(run["state"] != "complete" for run in runs)
        (line,) = ax.plot([], [], color=color, label=_with_failures(arm, failed, len(runs)))
        handles.append(line)
        if len(curves):
            mean, low, high = (np.array(v) for v in zip(*(mean_interval(c, 0.95) for c in curves.T), strict=True))
            epochs = np.arange(1, len(mean) + 1)
            line.set_data(epochs, mean)
            line.set_marker("o" if len(mean) < 3 else "")
            ax.fill_between(epochs, low, high, color=color, **BAND)
    ax.autoscale_view()
    _limit(ax, [np.asarray(line.get_ydata(), dtype=np.float64) for line in handles])
    _epochs(ax, VALIDATION)
    ax.set_title(f"Mean and 95 % band of {_count(train)} per arm", fontsize=LARGE)
    _legend(figure, handles, 2)
    return figure


def study_curves(runs: Iterable[Record]) -> Floats:
    """Return the mean validation loss curve of each study's complete runs, (studies, epochs) in nats."""
    by_study: dict[int, list[list[float]]] = {}
    for run in runs:
        if run["state"] == "complete" and None not in run["validation_loss"]:
            by_study.setdefault(run["study"], []).append(run["validation_loss"])
    return np.array([np.mean(curves, axis=0) for curves in by_study.values()], dtype=np.float64)


def _with_failures(arm: str, failed: int, runs: int) -> str:
    return f"{_name(arm)} ({failed} of {runs} {_plural('run', runs)} failed)" if failed else _name(arm)


def _count(train: Mapping[str, Record]) -> str:
    runs = [run for record in train.values() for run in record["runs"]]
    studies, seeds = len({run["study"] for run in runs}), len({(run["study"], run["seed"]) for run in runs})
    per_study = seeds / max(studies, 1)
    return f"{studies} {_plural('study', studies)} \u00d7 {per_study:.3g} {_plural('seed', per_study)}"


def _plural(noun: str, n: float) -> str:
    return noun if n == 1 else {"study": "studies"}.get(noun, noun + "s")


def _counted(noun: str, counts: Iterable[int]) -> str:
    """Return a number with its noun: one number where all agree, else the lowest to the highest."""
    found = sorted(set(counts)) or [0]
    number = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"{number} {_plural(noun, found[-1])}"


def _limit(ax: Axes, lines: Sequence[Floats]) -> None:
    """Keep a wide band (few studies) from flattening the means: show at most one span of the means around them."""
    values = np.concatenate([*lines, np.empty(0)])
    if not len(values):
        return
    span = float(np.ptp(values)) or 0.1
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, float(values.min()) - span), min(high, float(values.max()) + span))


def search(tune: Mapping[str, Record], summary: Record | None) -> Figure:
    """Draw every trial's objective against each knob, and the best loss expected of a number of trials.

    Args:
        tune: tune record of each arm. A star marks each study's winner; trials above the shown range, and failed
            ones, are triangles at the upper edge.
        summary: the comparison's record, or None where there is none yet; an arm's `expected_best` may be None.

    Returns:
        A figure of four panels.
    """
    figure, axes = _panels(2, 2, 6.5)
    colors = _colors(tune)
    top = _top(tune)
    for ax, (knob, label) in zip(axes, _KNOBS.items(), strict=False):
        used = [x for arm, color in colors.items() for x in _trials(ax, tune[arm], knob, color, top)]
        ax.set_xlabel(label, fontsize=SMALL)
        ax.set_ylabel("objective (nats, used for tuning)", fontsize=SMALL)
        if used:
            ax.set_xscale("log")
            _set_ticks(ax, _log_ticks(used))
        else:
            _nothing(ax, "tuned by no arm")
    if top is not None:
        for ax in axes[:3]:
            if not ax.texts:
                ax.set_ylim(top=top)
    _expected(axes[3], summary["arms"] if summary else [], colors)
    _legend(figure, [*_dots(colors), *_signs()], 3)
    studies = [study for record in tune.values() for study in record["studies"]]
    per_arm = _counted("study", (len(record["studies"]) for record in tune.values()))
    trials = _counted("trial", (len(study["trials"]) for study in studies))
    figure.suptitle(f"Search: validation loss of {per_arm} \u00d7 {trials} per arm", fontsize=LARGE)
    return figure


def _top(tune: Mapping[str, Record]) -> float | None:
    """Return the upper end of the objective's axis: above every winner, else where most trials lie."""
    studies = [study for record in tune.values() for study in record["studies"]]
    values = [t["objective"] for study in studies for t in study["trials"] if t["objective"] is not None]
    if not values:
        return None
    winners = [study["objective"] for study in studies if study["objective"] is not None]
    lowest: float = min([*values, *winners])
    median, quantile = (float(q) for q in np.quantile(values, (0.5, _CLIP_QUANTILE)))
    # the quantile alone lets a tenth of diverging trials flatten all others
    highest: float = max([min(quantile, lowest + _CLIP_SPAN * (median - lowest)), *winners])
    return highest + 0.08 * ((highest - lowest) or 1.0)


def _trials(ax: Axes, record: Record, knob: str, color: str, top: float | None) -> list[float]:
    """Draw one arm's trials against a knob and return the knob's values."""
    inside: list[tuple[float, float]] = []
    above: list[float] = []
    stars: list[tuple[float, float]] = []
    for study in record["studies"]:
        for trial in study["trials"]:
            x, y = trial["params"].get(knob) or 0.0, trial["objective"]
            if x > 0 and y is not None and top is not None and y <= top:
                inside.append((x, y))
            elif x > 0:
                above.append(x)
        if (study["best"].get(knob) or 0.0) > 0 and study["objective"] is not None:
            stars.append((study["best"][knob], study["objective"]))
    if inside:
        x_dot, y_dot = zip(*inside, strict=True)
        ax.scatter(x_dot, y_dot, s=10, color=color, alpha=0.5, linewidths=0, gid="trials")
    if above:
        edge = ax.get_xaxis_transform()
        ax.plot(above, [1.0] * len(above), "^", markersize=5, color=color, transform=edge, clip_on=False, gid="above")
    if stars:
        x_star, y_star = zip(*stars, strict=True)
        ax.scatter(x_star, y_star, s=80, color=color, marker="*", edgecolors="black", zorder=3, gid="winners")
    return [*(x for x, _ in inside), *above]


def _expected(ax: Axes, arms: Sequence[Record], colors: Mapping[str, str]) -> None:
    ax.set_xlabel("number of trials", fontsize=SMALL)
    ax.set_ylabel("expected best (nats, used for tuning)", fontsize=SMALL)
    for entry in arms:
        curve = entry["expected_best"]
        if curve:
            marker = "o" if len(curve) < 3 else ""
            ax.plot(range(1, len(curve) + 1), curve, color=colors.get(entry["arm"], "black"), marker=marker)
    longest = max((len(entry["expected_best"] or []) for entry in arms), default=0)
    ax.set_xlim(0.5, max(longest, 1) + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if not ax.lines:
        _nothing(ax, "unknown (failed trials)" if arms else "not compared yet")


def _dots(colors: Mapping[str, str]) -> list[Line2D]:
    return [Line2D([], [], color=color, marker="o", markersize=5, label=_name(arm)) for arm, color in colors.items()]


def _signs() -> list[Line2D]:
    style: dict[str, Any] = {"linestyle": "", "color": "0.4"}
    return [
        Line2D([], [], marker="*", markersize=11, markeredgecolor="black", label="a study's winner", **style),
        Line2D([], [], marker="^", markersize=5, label="above the range, or failed", **style),
    ]


def paired(summary: Record) -> Figure:
    """Draw the differences in test loss (percent) of all pairs, by study, of each generalisation contrast.

    Args:
        summary: the comparison's record; dots are `pair_effects`, diamonds `study_effects`, the line and its band the
            effect and its interval at the contrast's `level`, the grey strip the margin of practical equality.

    Returns:
        A figure of one panel for each contrast.
    """
    contrasts = [c for c in summary["contrasts"] if c["link"] == "generalisation"]
    columns = min(max(len(contrasts), 1), 3)
    rows = max(-(-len(contrasts) // columns), 1)
    figure, axes = _panels(rows, columns, 1.0 + 3.5 * rows)
    colors = _colors([c["arm"] for c in contrasts])
    for ax, contrast in zip(axes, contrasts, strict=False):
        _pairs(ax, contrast, colors[contrast["arm"]])
    for ax in axes[len(contrasts) :]:
        ax.set_axis_off()
    if not contrasts:
        _nothing(axes[0], "no contrast")
    dot: dict[str, Any] = {"linestyle": "", "color": "0.4"}
    handles = [
        Line2D([], [], marker="o", markersize=4, label="one pair of runs", **dot),
        Line2D([], [], marker="D", markersize=6, markeredgecolor="black", label="mean of a study", **dot),
        Line2D([], [], color="0.4", label=f"mean with {_levels(contrasts, 'level')} (band)"),
        Line2D([], [], color="0.88", linewidth=8, label="practically equal"),
    ]
    _legend(figure, handles, 4)
    if contrasts:
        studies = _counted("study", (c["n_studies"] for c in contrasts))
        pairs = _counted("pair", (c["n_pairs"] or 0 for c in contrasts))
        figure.suptitle(f"Test loss against the reference: {studies}, {pairs} per contrast", fontsize=LARGE)
    return figure


def _pairs(ax: Axes, contrast: Record, color: str) -> None:
    """Draw one contrast's pairs."""
    ax.axhspan(*_margin(contrast), **SHADE)
    ax.axhline(0, color="black", linewidth=0.8)
    names = f"{_name(contrast['arm'])}\nvs {_name(contrast['reference'])}"
    ax.set_title(f"{names}:\n{contrast['verdict']}", fontsize=LARGE)
    ax.set_xlabel("study (number)", fontsize=SMALL)
    ax.set_ylabel("difference in test loss (%)", fontsize=SMALL)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if contrast["effect_percent"] is None:
        ax.set_xticks([])
        _nothing(ax, "runs failed", 0.75)
        return
    for study, effects in enumerate(contrast["pair_effects"]):
        shift = 0.15 * np.linspace(-1, 1, len(effects)) if len(effects) > 1 else np.zeros(len(effects))
        ax.scatter(study + shift, effects, s=12, color=color, alpha=0.6, linewidths=0, gid="pairs")
    means = contrast["study_effects"]
    ax.scatter(range(len(means)), means, s=34, marker="D", color=color, edgecolors="black", gid="studies")
    ax.axhline(contrast["effect_percent"], color=color)
    if contrast["ci_low"] is not None and contrast["ci_high"] is not None:
        ax.axhspan(contrast["ci_low"], contrast["ci_high"], color=color, **BAND)
    ax.set_xlim(-0.5, len(means) - 0.5)


def _margin(contrast: Record) -> tuple[float, float]:
    """Return the margin's ends in percent; they are symmetric as logarithms, hence not as percentages."""
    margin = contrast["margin_percent"]
    return -100 * margin / (100 + margin), margin


def links(summary: Record) -> Figure:
    """Draw the effect of each contrast on each link (percent) with its intervals and verdict.

    Args:
        summary: the comparison's record; the thin line is the interval at the contrast's `level`, the thick one that
            at its `equivalence_level`, the grey strip the margin of practical equality.

    Returns:
        A figure of one panel for each link, a row for each contrast.
    """
    rows = list(dict.fromkeys((c["arm"], c["reference"]) for c in summary["contrasts"]))
    figure, axes = _panels(2, 2, 2.3 + 2 * 0.45 * max(len(rows), 2))
    colors = _colors([arm for arm, _ in rows])
    for i, (ax, (link, quantity)) in enumerate(zip(axes, _LINKS.items(), strict=True)):
        for contrast in summary["contrasts"]:
            if contrast["link"] == link:
                _forest(ax, contrast, rows.index((contrast["arm"], contrast["reference"])), colors[contrast["arm"]])
        ax.axvline(0, color="black", linewidth=0.8)
        names = [f"{_name(arm)}\nvs {_name(reference)}" for arm, reference in rows] if i % 2 == 0 else [""] * len(rows)
        ax.set_yticks(range(len(rows)), names, fontsize=SMALL)
        ax.set_ylim(max(len(rows), 1) - 0.5, -0.5)
        ax.set_xlabel(f"difference in {quantity} (%)", fontsize=SMALL)
        ax.set_title(link.replace("_", " "), fontsize=LARGE)
        ax.xaxis.set_major_locator(MaxNLocator(nbins=5))
    handles = [
        Line2D([], [], color="0.4", linewidth=width, label=_levels(summary["contrasts"], level))
        for level, width in (("level", 1.2), ("equivalence_level", 4))
    ]
    handles += [
        Line2D([], [], color="0.88", linewidth=8, label="practically equal"),
    ]
    _legend(figure, handles, 2)
    if rows:
        studies = _counted("study", (c["n_studies"] for c in summary["contrasts"]))
        figure.suptitle(f"The four links: {studies} per contrast", fontsize=LARGE)
    return figure


def _levels(contrasts: Iterable[Record], key: str) -> str:
    """Return the intervals' confidence in words; the links that are tested together have another one."""
    found = {c["link"] == "generalisation": f"{100 * c[key]:.3g} %" for c in contrasts}
    alone, together = found.get(True), found.get(False)
    if alone and together and alone != together:
        return f"{alone} interval (first panel), {together} (others)"
    return f"{alone or together or 'the'} interval"


def _forest(ax: Axes, contrast: Record, row: int, color: str) -> None:
    """Draw one row of a forest plot."""
    if not ax.patches:
        ax.axvspan(*_margin(contrast), **SHADE)
    verdict = contrast["verdict"]
    if contrast["effect_percent"] is None:
        verdict = "no verdict"
    else:
        ax.plot(contrast["effect_percent"], row, "o", color=color, markeredgecolor="black", markersize=6, zorder=4)
        for level, width in (("ci", 1.2), ("equivalence_ci", 4.0)):
            ends = contrast[f"{level}_low"], contrast[f"{level}_high"]
            if None not in ends:
                ax.plot(ends, (row, row), color=color, linewidth=width, zorder=3)
    ax.text(1.02, row, verdict, transform=ax.get_yaxis_transform(), va="center", fontsize=SMALL)


def spectra(diagnose: Mapping[str, Record]) -> Figure:
    """Draw each layer's singular values against their index, before and after training.

    Args:
        diagnose: diagnose record of each arm. A line is the mean over runs, its band the 10 % to 90 % quantiles; the
            dashed line with its band is the same before training, over all arms. Failed runs are left out and counted
            in the legend.

    Returns:
        A figure of one panel for each layer.
    """
    layers = sorted({x["layer"] for r in diagnose.values() for run in r["runs"] for x in run.get("layers") or []})
    columns = min(max(len(layers), 1), 3)
    rows = max(-(-len(layers) // columns), 1)
    figure, axes = _panels(rows, columns, 1.0 + 3.5 * rows)
    colors = _colors(diagnose)
    for ax, layer in zip(axes, layers, strict=False):
        found = {arm: _values(record, layer, "singular_values") for arm, record in diagnose.items()}
        for arm, values in found.items():
            _spectrum(ax, values, colors[arm])
        initial = [v for record in diagnose.values() for v in _values(record, layer, "initial_singular_values")]
        if initial:
            index = range(1, len(initial[0]) + 1)
            ax.plot(index, np.mean(initial, axis=0), "--", color="0.45", gid="initial")
            ax.fill_between(index, *np.quantile(np.array(initial), (0.1, 0.9), axis=0), color="0.45", **BAND)
        ax.set_title(f"layer {layer}", fontsize=LARGE)
        ax.set_xlabel("index of the singular value", fontsize=SMALL)
        ax.set_ylabel("singular value (dimensionless)", fontsize=SMALL)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        ax.set_ylim(bottom=0)
    for ax in axes[len(layers) :]:
        ax.set_axis_off()
    if not layers:
        _nothing(axes[0], "no run")
    handles = []
    for arm, color in colors.items():
        runs = diagnose[arm]["runs"]
        label = _with_failures(arm, sum(not run.get("layers") for run in runs), len(runs))
        handles.append(Line2D([], [], color=color, label=label))
    _legend(figure, [*handles, Line2D([], [], color="0.45", linestyle="--", label="before training")], 3)
    count = _counted("run", (len(record["runs"]) for record in diagnose.values()))
    figure.suptitle(f"Mean and 10 % to 90 % quantiles of {count} per arm", fontsize=LARGE)
    return figure


def _values(record: Record, layer: int, key: str) -> list[list[float]]:
    """Return one layer's singular values of each run that has them."""
    found = [entry[key] for run in record["runs"] for entry in run.get("layers") or [] if entry["layer"] == layer]
    return [values for values in found if values and None not in values]


def _spectrum(ax: Axes, values: Sequence[Sequence[float]], color: str) -> None:
    if not values:
        return
    index = np.arange(1, len(values[0]) + 1)
    low, high = np.quantile(np.array(values), (0.1, 0.9), axis=0)
    ax.plot(index, np.mean(values, axis=0), color=color, marker="o" if len(index) < 3 else "", gid="final")
    ax.fill_between(index, low, high, color=color, **BAND)


def dose_response(record: Record) -> Figure:
    """Draw losses and link figures against the penalty's strength, mean and 95 % interval over seeds.

    Args:
        record: the dose-response record. Strength 0 has no place on a logarithmic axis; it is drawn left of a break.

    Returns:
        A figure of four panels.
    """
    panels: list[tuple[str, dict[str, str]]] = [
        ("loss (nats per example)", {"test_loss": "#D55E00", "validation_loss": "#0072B2"}),
        (r"conditioning: mean $\ln\kappa$ (ln units)", {"conditioning": "#000000"}),
        (r"smoothness: $\ln\lambda_{\max}$ (ln units)", {"smoothness": "#000000"}),
        ("ln CV of gradient norm (ln units)", {"gradient_stability": "#000000"}),
    ]
    figure, axes = _panels(2, 2, 6.0)
    positions = _positions(record["strengths"])
    for ax, (label, quantities) in zip(axes, panels, strict=True):
        _strength_axis(ax, record["strengths"], positions)
        for quantity, color in quantities.items():
            _dose(ax, record["strengths"], positions, record[quantity], color)
        ax.set_ylabel(label, fontsize=SMALL)
    style: dict[str, Any] = {"marker": "o", "markersize": 4}
    handles = [
        Line2D([], [], color="#D55E00", label="test loss", **style),
        Line2D([], [], color="#0072B2", label="validation loss (used for tuning)", **style),
        Line2D([], [], color="0.5", linestyle=":", label="level at strength 0"),
    ]
    _legend(figure, handles, 3)
    seeds = record["n_seeds"]
    text = f"Mean and 95 % interval over {seeds} {_plural('seed', seeds)}, learning rate {record['lr']:.3g}"
    figure.suptitle(text, fontsize=LARGE)
    return figure


def _positions(strengths: Sequence[float]) -> list[float]:
    """Return where to draw each strength on a logarithmic axis; 0 goes left of the smallest other one."""
    positive = [s for s in strengths if s > 0] or [1.0]
    gap = 10 ** (0.25 + 0.15 * math.log10(max(positive) / min(positive)))
    return [s if s > 0 else min(positive) / gap for s in strengths]


def _strength_axis(ax: Axes, strengths: Sequence[float], positions: Sequence[float]) -> None:
    """Set up the logarithmic axis, with a break where strength 0 is drawn."""
    ax.set_xscale("log")
    ax.set_xlabel("penalty strength (nats per unit of penalty)", fontsize=SMALL)
    positive = sorted({s for s in strengths if s > 0})
    ticks = _log_ticks(positive)
    if 0 in strengths:
        zero = positions[list(strengths).index(0)]
        ticks = {zero: "0"} | ticks
        if positive:
            at = math.sqrt(zero * positive[0])
            slash: Any = [(-1, -2), (1, 2)]
            edge = ax.get_xaxis_transform()
            ax.plot([at / 1.06, at * 1.06], [0, 0], marker=slash, color="black", ls="", transform=edge, clip_on=False)
    _set_ticks(ax, ticks)
    if positions:
        ax.set_xlim(min(positions) / 1.4, max(positions) * 1.4)


def _log_ticks(values: Sequence[float]) -> dict[float, str]:
    """Return positions and labels for positive values: the decades, or the ends where there is at most one decade."""
    if not values:
        return {}
    low, high = min(values), max(values)
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    if last > first:
        return {10.0**k: f"$10^{{{k}}}$" for k in range(first, last + 1)}
    return {value: f"{value:.2g}" for value in ([low, high] if high > 1.5 * low else [low])}


def _set_ticks(ax: Axes, ticks: Mapping[float, str]) -> None:
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_major_formatter(FixedFormatter(list(ticks.values())))
    ax.xaxis.set_minor_locator(NullLocator())


def _dose(ax: Axes, strengths: Sequence[float], positions: Sequence[float], curve: Record, color: str) -> None:
    """Draw one quantity; strength 0 stands alone, its level continued as a dotted line."""
    rows = zip(strengths, positions, curve["mean"], curve["ci_low"], curve["ci_high"], strict=True)
    known = sorted((x, s, mean, low, high) for s, x, mean, low, high in rows if mean is not None)
    dosed = [(x, mean) for x, s, mean, _, _ in known if s > 0]
    if dosed:
        ax.plot(*zip(*dosed, strict=True), color=color)
    for x, s, mean, low, high in known:
        ax.plot(x, mean, "o", color=color, markersize=4, gid="dose")
        if low is not None and high is not None:
            ax.plot((x, x), (low, high), color=color, linewidth=1.2)
        if s == 0:
            ax.axhline(mean, color=color, linestyle=":", linewidth=1, alpha=0.6)


def replication(record: Record) -> Figure:
    """Draw the validation loss (nats per example) of each replicated row with the published end points.

    Args:
        record: the replication's record. A line is the mean over runs, its band their minimum and maximum.

    Returns:
        A figure of one panel.
    """
    figure, (ax,) = _panels(1, 1, 4.5)
    handles = []
    published: dict[float, tuple[int, list[str]]] = {}
    for i, row in enumerate(record["rows"]):
        curves = [run["validation_loss"] for run in row["runs"] if None not in run["validation_loss"]]
        color = _ROW_COLORS[i % len(_ROW_COLORS)]
        runs = len(curves)
        (line,) = ax.plot([], [], color=color, label=f"{_name(row['row'])} ({runs} {_plural('run', runs)})")
        handles.append(line)
        if curves:
            epochs = np.arange(1, len(curves[0]) + 1)
            line.set_data(epochs, np.mean(curves, axis=0))
            ax.fill_between(epochs, np.min(curves, axis=0), np.max(curves, axis=0), color=color, **BAND)
            end = max(len(epochs), published.get(row["published"], (0, []))[0])
            published[row["published"]] = end, [*published.get(row["published"], (0, []))[1], _name(row["row"])]
    for marker, (value, (epoch, names)) in zip("XPsv", published.items(), strict=False):
        text = f"published: {value:.3f}, {names[0].split()[0]}"
        style: dict[str, Any] = {"marker": marker, "color": "black", "ls": "", "markersize": 8, "clip_on": False}
        handles += ax.plot([epoch], [value], label=text, zorder=5, gid="published", **style)
    ax.relim()
    ax.autoscale_view()
    _epochs(ax, VALIDATION)
    ax.set_title("Replication: mean and range of the runs", fontsize=LARGE)
    _legend(figure, handles, 2)
    return figure


def _panels(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes in reading order."""
    figure = Figure(figsize=(8.5, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for ax in axes:
        ax.tick_params(which="both", labelsize=SMALL)
        ax.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend(figure: Figure, handles: Sequence[Line2D], columns: int) -> None:
    """Put the legend below all panels, where it hides no data."""
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=SMALL, frameon=False)


def _epochs(ax: Axes, label: str) -> None:
    ax.set_xlabel("epoch (number)", fontsize=SMALL)
    ax.set_ylabel(label, fontsize=SMALL)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))


def _nothing(ax: Axes, text: str, height: float = 0.5) -> None:
    """Say in a panel why it is empty."""
    ax.text(0.5, height, text, transform=ax.transAxes, ha="center", va="center", fontsize=SMALL)


def _name(arm: str) -> str:
    return arm.replace("_", " ")


def _colors(arms: Iterable[str]) -> dict[str, str]:
    """Return each arm's colour; the known arms keep theirs in every figure, others take further ones in turn."""
    further = 0
    colors: dict[str, str] = {}
    for arm in dict.fromkeys(arms):
        if arm in _FIXED:
            colors[arm] = _FIXED[arm]
        else:
            colors[arm] = _FURTHER[further % len(_FURTHER)]
            further += 1
    return colors
