"""Each layer's singular values before and after training."""

import textwrap

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from svvr.report import style

BEFORE = {"color": style.GREY, "linestyle": "--"}


@style.fixed()
def draw(spectra: pd.DataFrame, summary: style.Record) -> Figure:
    """Draw `tables.spectra`: an arm a row, against the reference of its first contrast, and a layer a column."""
    looks, layers = style.looks(entry["arm"] for entry in summary["arms"]), sorted(spectra["layer"].unique())
    references = {c["arm"]: c["reference"] for c in reversed(style.contrasts(summary))}
    rows = [arm for arm in looks if arm in references or not references]
    figure = style.figure(1.0 + 1.9 * len(rows), "Singular values: median and 10 % to 90 % quantiles over runs")
    axes = figure.subplots(len(rows), max(len(layers), 1), sharex="col", sharey=True, squeeze=False)
    for i, arm in enumerate(rows):
        both = [references[arm], arm] if arm in references else [arm]
        for ax, layer in zip(axes[i], layers, strict=False):
            _panel(ax, spectra[(spectra["layer"] == layer) & spectra["arm"].isin(both)], both, looks)
            ax.set(title=f"layer {layer}" if i == 0 else "", xlabel="index" if arm == rows[-1] else "")
        runs = len(spectra.loc[spectra["arm"] == arm, ["study", "seed"]].drop_duplicates())
        label = f"{' vs '.join(map(style.name, reversed(both)))} ({style.counted(runs, 'run')})"
        axes[i, -1].annotate(textwrap.fill(label, 18), (1.03, 0.5), xycoords="axes fraction", va="center", size=8)
        axes[i, 0].set_ylabel("singular value")
    if layers:
        style.log_axis(axes[0, 0], "y")
    handles = [style.handle(style.name(arm), **look) for arm, look in looks.items()]
    style.legend(figure, [*handles, style.handle("before training", **BEFORE)])
    return figure


def _panel(ax: Axes, values: pd.DataFrame, arms: list[str], looks: style.Record) -> None:
    style.band(ax, _quantiles(values, "initial"), BEFORE, linewidth=1.2)
    for arm in arms:
        style.band(ax, _quantiles(values[values["arm"] == arm], "trained"), looks[arm])
    last = values["index"].max()
    ax.set_xlim(1, last)
    ax.set_xticks(sorted({1, (1 + last) // 2, last}))


def _quantiles(values: pd.DataFrame, column: str) -> pd.DataFrame:
    groups = values.groupby("index")[column]
    return pd.DataFrame({key: groups.quantile(q) for key, q in (("mean", 0.5), ("low", 0.1), ("high", 0.9))})
