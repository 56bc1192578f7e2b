"""The published comparison, repeated on many seeds."""

from typing import Any

from matplotlib.figure import Figure

from svvr.show import bands, style, words
from svvr.tables import Record


@style.fixed()
def draw(record: Record) -> Figure:
    """Draw the validation loss (nats per example) of each replicated row, and the published losses.

    Args:
        record: the replication's record. A line is the mean over runs, its band their range; a published loss is
            marked at its last epoch, none for a row whose `published` is None.

    Returns:
        A figure of one panel.
    """
    figure, (ax,) = style.panels(1, 1, 4.5)
    curves, handles = bands.replication(record), []
    for row in record["rows"]:
        color = style.ROWS.get(row["row"], style.PLAIN)
        line = style.band(ax, curves[curves["row"] == row["row"]], "epoch", "mean", color)
        line.set_label(f"{words.name(row['row'])} ({words.counted('run', [len(row['runs'])])})")
        handles.append(line)
    own: dict[str, Any] = {"color": "black", "ls": "", "markersize": 8, "clip_on": False, "zorder": 5}
    for marker, mark in zip("XPsv", bands.plain(bands.published(record)), strict=False):
        label = f"published: {mark['loss']:.3f}, {words.name(mark['row']).split()[0]}"
        handles += ax.plot([mark["epoch"]], [mark["loss"]], marker=marker, label=label, gid="published", **own)
    style.whole_numbers(ax, "epoch (number)")
    ax.set_ylabel(style.VALIDATION)
    ax.set_title("Replication: mean and range of the runs")
    style.legend(figure, handles, 3)
    return figure
