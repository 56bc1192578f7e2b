"""The README's figure: every contrast in test loss, as tuned in the studies and by random search."""

from matplotlib.figure import Figure

from svvr.report import style


@style.fixed()
def draw(summary: style.Record) -> Figure:
    """Draw two rows a contrast: the studies, and random search at the tuning budget of trials."""
    contrasts, budget = style.contrasts(summary), len(summary["arms"][0]["running_best"])
    if not contrasts:
        return style.figure(1, "Test loss: no contrast")
    lines = max(1, *(style.versus(contrast, 44).count("\n") for contrast in contrasts))
    figure = style.figure(0.9 + 0.66 * lines * len(contrasts), "Test loss of each arm against its reference")
    ax, rows, labels, trials = figure.subplots(), [], [], style.counted(budget, "trial")
    for i, contrast in enumerate(contrasts):
        at_random = style.matching(summary["budget_verdicts"], contrast)
        rows += [None, contrast, next((row for row in at_random if row["n_trials"] == budget), None)]
        labels += [style.versus(contrast, 44), f"{style.counted(contrast['n_studies'], 'study')} of {trials}"]
        labels.append(f"random search, {trials}")
        ax.fill_betweenx([3 * i + 0.5, 3 * i + 2.5], *style.margin(contrast), **style.MARGIN)
    looks = style.looks(entry["arm"] for entry in summary["arms"])
    style.forest(ax, rows, looks, style.margin(contrasts[0]))
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    for label in ax.get_yticklabels()[::3]:
        label.set_fontweight("bold")
    ax.xaxis.set_major_formatter(style.signed)
    ax.set_xlabel(f"{style.DIFFERENCE}, below 0 is better")
    style.forest_legend(figure, *(style.level(contrasts[0][key]) for key in ("level", "equivalence_level")))
    return figure
