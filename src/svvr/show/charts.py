"""Rows of the interactive charts, in plain types: the same bands and words as the figures'.

The charts themselves are Vega-Lite templates in `.dvc/plots/`, one for each function here. Names of arms, panels and
quantities are written out in the rows, so that a template holds no list but the palette.
"""

from typing import Any

import pandas as pd

from svvr.links import BY_NAME, GENERALISATION
from svvr.show import bands, style, words
from svvr.tables import Record, Source

Rows = list[dict[str, Any]]
CONTRAST = 2.65  # inches to write the name of a contrast in


def comparison(source: Source) -> Rows:
    """Return each arm's validation loss (nats) by epoch, with the interval and the band as it is drawn."""
    return _rows(bands.validation(source))


def budget(summary: Record) -> Rows:
    """Return each contrast's effect (per cent) by number of trials, what is judged of it, and each arm's loss (nats).

    A row that has an effect has no loss, and the other way round; the verdict is in the `flag` of what is judged.
    """
    curves, marks = bands.budget(summary), bands.judged(summary)
    flags = [f"{words.counted('trial', [row['n_trials']])}: {row['verdict']}" for row in bands.plain(marks)]
    effects = pd.concat([curves, marks.assign(flag=flags).drop(columns="verdict")], ignore_index=True)
    panels = [f"{style.wrapped(words.versus(row), CONTRAST)}\n{style.DIFFERENCE}" for row in bands.plain(effects)]
    losses = bands.expected(summary).drop(columns="loss").rename(columns={"drawn": "loss"})
    losses = losses.assign(panel=f"all arms\n{style.EXPECTED}")
    frame = pd.concat([effects.assign(panel=panels).drop(columns="reference"), losses], ignore_index=True)
    return _placed(_rows(frame), "panel")


def search(source: Source) -> Rows:
    """Return every trial with its knobs (None: not tuned), its objective (nats) and where it is drawn."""
    return _rows(bands.trials(source))


def paired(summary: Record) -> Rows:
    """Return each pair's and study's difference in test loss (per cent), and each contrast's interval and margin."""
    colors = _colors(summary)
    verdicts = {words.versus(c): c["verdict"] for c in summary["contrasts"] if c["link"] == GENERALISATION.name}
    rows = [
        {
            "contrast": style.wrapped(words.versus(row), CONTRAST),
            "color": colors[row["arm"]],
            **{key: row[key] for key in ("kind", "study", "difference", "low", "high")},
            "verdict": verdicts[words.versus(row)],
        }
        for row in _rows(bands.pairs(summary))
    ]
    return _placed(rows, "contrast")


def links(summary: Record) -> Rows:
    """Return each contrast's effect on each link, as ratios for the eye and in per cent for words, and its verdict."""
    colors = _colors(summary)
    ratios = ("effect", "low", "high", "inner_low", "inner_high", "margin_low", "margin_high")
    rows = [
        {
            "panel": f"{BY_NAME[row['link']].words}\ndifference in {BY_NAME[row['link']].figure} (%)",
            "contrast": style.wrapped(words.versus(row), CONTRAST),
            "color": colors[row["arm"]],
            **{key: row[key] for key in ratios},
            "change": None if row["effect"] is None else f"{words.percent(row['effect_percent'])} %",
            "interval": words.interval(row) or "-",
            "level": words.confidence(row["level"]),
            "verdict": row["verdict"],
        }
        for row in _rows(bands.effects(summary))
    ]
    return _placed(rows, "panel")


def spectra(source: Source) -> Rows:
    """Return the singular values of each layer, by arm and before training: median and quantiles over the runs."""
    frame = bands.spectra(source)
    return _rows(frame.assign(layer=[f"layer {layer}" for layer in frame["layer"]]))


def dose_response(record: Record) -> Rows:
    """Return each figure's mean at each strength of each setting, with its interval; what is unknown is left out."""
    frame = bands.dose(record)
    names = [words.setting(row) for row in bands.plain(frame)]
    placed = frame.assign(setting=names, panel=frame["quantity"].map(bands.DOSE))
    return _placed(_rows(placed.drop(columns=[*bands.SETTING, "quantity"])), "panel")


def replication(record: Record) -> Rows:
    """Return each row's validation loss (nats) by epoch, mean and range over the runs, then the published losses."""
    curves = bands.replication(record).assign(published=None)
    marks = bands.published(record).rename(columns={"loss": "published"})
    frame = pd.concat([curves, marks.reindex(columns=curves.columns)], ignore_index=True)
    return _rows(frame.assign(row=frame["row"].map(words.name)))


def _rows(frame: pd.DataFrame) -> Rows:
    """Return a frame's rows in plain types, arms by their names, numbers to the six digits that an eye can use."""
    if "arm" in frame:
        frame = frame.assign(arm=frame["arm"].map(words.name))
    return [
        {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in row.items()}
        for row in bands.plain(frame)
    ]


def _colors(summary: Record) -> dict[str, str]:
    """Return the arms' colours by the names of the arms."""
    return {words.name(arm): color for arm, color in style.colors(bands.arms_of(summary)).items()}


def _placed(rows: Rows, panel: str) -> Rows:
    """Number the panels in the order in which the rows name them, which a chart would draw in that of the alphabet."""
    order = list(dict.fromkeys(row[panel] for row in rows))
    return [row | {"place": order.index(row[panel])} for row in rows]
