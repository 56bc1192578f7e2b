"""Each arm's validation loss against the epoch."""

from matplotlib.figure import Figure

from svvr import tables
from svvr.judge.statistics import CONFIDENCE
from svvr.show import bands, style, words
from svvr.tables import Source


@style.fixed()
def draw(source: Source) -> Figure:
    """Draw each arm's validation loss (nats per example) against the epoch.

    Args:
        source: final runs. The line is the mean over studies of the studies' means, the band its t interval; failed
            runs are left out and counted in the legend.

    Returns:
        A figure of one panel.
    """
    curves, runs = bands.validation(source), bands.final_runs(source)
    figure, (ax,) = style.panels(1, 1, 4.5)
    colors = style.colors(runs["arm"])
    handles = []
    for row in bands.plain(runs):
        line = style.band(ax, curves[curves["arm"] == row["arm"]], "epoch", "mean", colors[row["arm"]])
        line.set_label(style.with_failures(**row))
        handles.append(line)
    style.whole_numbers(ax, "epoch (number)")
    ax.set_ylabel(style.VALIDATION)
    ax.set_title(f"Mean and {words.confidence(CONFIDENCE)} interval of {_count(source)} per arm")
    style.legend(figure, handles)
    return figure


def _count(source: Source) -> str:
    runs = tables.runs(source)
    studies = runs["study"].nunique()
    seeds = len(runs[["study", "seed"]].drop_duplicates()) / max(studies, 1)
    return f"{words.counted('study', [studies])} \u00d7 {seeds:.3g} {words.plural('seed', seeds)}"
