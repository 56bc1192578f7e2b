"""The league's picture: regimes across, penalties down, coloured by the effect against AdamW."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from svvr.report import style, text

LIMIT = 10.0  # per cent, where the colours end; the number says more


@style.fixed()
def draw(rows: Sequence[style.Record], trials: int, level: float) -> Figure:
    """Draw the rows of `analysis.league`; bold: the interval excludes 0, a star: so does Holm's correction."""
    labels = list(dict.fromkeys(map(text.competitor, rows)))
    regimes = list(dict.fromkeys(row["regime"] for row in rows))
    figure = style.figure(1.4 + 0.32 * len(labels), f"Test loss against AdamW, random search of {trials} trials (%)")
    ax, scale = figure.subplots(), ScalarMappable(Normalize(-LIMIT, LIMIT), matplotlib.colormaps["RdBu_r"])
    shades = np.ones((len(labels), len(regimes), 4))
    for row in rows:
        y, x = labels.index(text.competitor(row)), regimes.index(row["regime"])
        if row["adamw_p_holm"] is None:
            said = "failed" if row["adamw_verdict"] else "reference" if labels[y] == "AdamW" else "?"
            ax.text(x, y, said, ha="center", va="center", size=7, color=style.GREY)
            continue
        effect = row["adamw_effect_percent"]
        shades[y, x] = scale.to_rgba(effect)
        weight = "bold" if row["adamw_ci_low"] * row["adamw_ci_high"] > 0 else "normal"
        said = f"{effect:+.1f}".replace("-", "\u2212") + ("*" if row["adamw_p_holm"] < 1 - level else "")
        color = "white" if abs(effect) > 0.7 * LIMIT else "black"
        ax.text(x, y, said, ha="center", va="center", size=8, color=color, weight=weight)
    ax.imshow(shades, aspect="auto")
    ax.set_xticks(range(len(regimes)), regimes)
    ax.set_yticks(range(len(labels)), map(style.name, labels))
    ax.tick_params(length=0)
    ax.set_xlabel(f"bold: the {style.level(level)} excludes 0; *: also after Holm's correction for all numbers here")
    figure.colorbar(scale, ax=ax, extend="both", format=style.signed, label=f"{style.DIFFERENCE}, below 0 is better")
    return figure
