"""Each layer's singular values before and after training."""

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from svvr.show import bands, style, words
from svvr.tables import Source


@style.fixed()
def draw(source: Source) -> Figure:
    """Draw each layer's singular values (weights have no unit) against their index.

    Args:
        source: diagnosed and final runs. A line is the median over runs, its band the 10 % to 90 % quantiles; the
            dashed line with its band is the same before training, over all arms. Failed runs are left out and counted
            in the legend.

    Returns:
        A figure of one panel for each layer.
    """
    values, runs = bands.spectra(source), bands.measured_runs(source)
    layers = sorted(values["layer"].unique())
    rows = max(-(-len(layers) // 3), 1)
    figure, axes = style.panels(rows, min(max(len(layers), 1), 3), 1.0 + 3.5 * rows)
    colors = style.colors(runs["arm"]) | {bands.BEFORE: style.GREY}
    for ax, layer in zip(axes, layers, strict=False):
        of_layer = values[values["layer"] == layer]
        for arm, color in colors.items():
            dash = "--" if arm == bands.BEFORE else "-"
            style.band(ax, of_layer[of_layer["arm"] == arm], "index", "median", color, linestyle=dash, gid=arm)
        ax.set_title(f"layer {layer}")
        style.whole_numbers(ax, "index of the singular value")
        ax.set_ylabel("singular value (dimensionless)")
        ax.set_ylim(bottom=0)
    for ax in axes[len(layers) :]:
        ax.set_axis_off()
    if not layers:
        style.nothing(axes[0], "no run")
    handles = [Line2D([], [], color=colors[row["arm"]], label=style.with_failures(**row)) for row in bands.plain(runs)]
    style.legend(figure, [*handles, Line2D([], [], color=style.GREY, linestyle="--", label=bands.BEFORE)])
    low, high = (f"{100 * share:.0f} %" for share in bands.QUANTILES)
    figure.suptitle(f"Median and {low} to {high} quantiles of {words.counted('run', runs['n'])} per arm")
    return figure
