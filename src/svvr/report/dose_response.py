"""Test loss and the links against the penalty's strength."""

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from svvr.analysis.statistics import CONFIDENCE
from svvr.links import GENERALISATION, MEASURED
from svvr.report import style

PANELS = {"test_loss": GENERALISATION, **{link.name: link for link in MEASURED}}
LOOKS = (("#332288", "o"), ("#AA8800", "s"), ("#882255", "D"), ("#777777", "^"))  # of the settings; no arm's colours


@style.fixed()
def draw(curves: pd.DataFrame) -> Figure:
    """Draw means and intervals over seeds, a line a setting, from the frame of analysis.dose_response.curves."""
    figure = style.figure(6.0, f"Dose-response: mean and {style.level(CONFIDENCE)} over seeds")
    axes, strengths = figure.subplots(2, 2, sharex=True), sorted(curves["strength"].unique())
    for ax, (quantity, link) in zip(axes.flat, PANELS.items(), strict=True):
        of_quantity = curves[curves["quantity"] == quantity].sort_values("strength", kind="stable")
        settings = of_quantity.groupby(["lr", "weight_decay"])
        for ((lr, decay), rows), (color, marker) in zip(settings, LOOKS, strict=False):
            ends = (rows["mean"] - rows["ci_low"], rows["ci_high"] - rows["mean"])
            label = f"learning rate {lr:g}, weight decay {decay:g}"
            ax.errorbar(rows["strength"], rows["mean"], ends, label=label, color=color, marker=marker, markersize=4.5)
        ax.set_title(link.words)
        ax.set_ylabel(textwrap.fill(link.axis, 36))
    least, shown = min(s for s in strengths if s > 0), strengths[:: len(strengths) // 9 + 1]
    axes[0, 0].set_xscale("symlog", linthresh=least, linscale=0.4)  # logarithmic from there on, and with a place for 0
    axes[0, 0].set_xlim((-0.08 if 0 in strengths else 0.9) * least, strengths[-1] * 1.15)
    axes[0, 0].set_xticks(shown, [style.plain(strength) for strength in shown])
    axes[0, 0].minorticks_off()
    for ax in axes[1]:
        ax.set_xlabel("penalty strength (nats per unit of penalty)")
    style.legend(figure, axes[0, 0].get_legend_handles_labels()[0])
    return figure
