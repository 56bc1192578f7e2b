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


def comparison(source: Source) -> Rows:
    """Return each arm's validation loss (nats) by epoch, with the interval and the band as it is drawn."""
    return _rows(bands.validation(source))


def search(source: Source) -> Rows:
    """Return every trial for each knob that its arm tunes: its value, its objective (nats) and where it is drawn."""
    frame = bands.trials(source)
    return _rows(frame.assign(knob=frame["knob"].map(style.KNOBS)))


def paired(summary: Record) -> Rows:
    """Return each pair's and study's difference in test loss (per cent), and each contrast's interval and margin."""
    colors = style.colors(bands.arms_of(summary))
    verdicts = {words.versus(c): c["verdict"] for c in summary["contrasts"] if c["link"] == GENERALISATION.name}
    return [
        {
            "contrast": words.versus(row),
            "color": colors[row["arm"]],
            **{key: row[key] for key in ("kind", "study", "difference", "low", "high")},
            "verdict": verdicts[words.versus(row)],
        }
        for row in bands.plain(bands.pairs(summary))
    ]


def links(summary: Record) -> Rows:
    """Return each contrast's effect on each link, as ratios for the eye and in per cent for words, and its verdict."""
    colors = style.colors(bands.arms_of(summary))
    ratios = ("effect", "low", "high", "inner_low", "inner_high", "margin_low", "margin_high")
    return [
        {
            "panel": f"{BY_NAME[row['link']].words}: difference in {BY_NAME[row['link']].figure} (%)",
            "contrast": words.versus(row),
            "color": colors[row["arm"]],
            **{key: row[key] for key in ratios},
            "change": None if row["effect"] is None else f"{words.percent(row['effect_percent'])} %",
            "interval": words.interval(row) or "-",
            "level": words.confidence(row["level"]),
            "verdict": row["verdict"],
        }
        for row in bands.plain(bands.effects(summary))
    ]


def spectra(source: Source) -> Rows:
    """Return the singular values of each layer, by arm and before training: median and quantiles over the runs."""
    frame = bands.spectra(source)
    return _rows(frame.assign(layer=[f"layer {layer}" for layer in frame["layer"]]))


def dose_response(record: Record) -> Rows:
    """Return each figure's mean at each strength, with its interval; what is unknown is left out."""
    frame = bands.dose(record)
    names = {quantity: style.DOSES.get(quantity, "link") for quantity in frame["quantity"]}
    return _rows(frame.assign(quantity=frame["quantity"].map(names)))


def replication(record: Record) -> Rows:
    """Return each row's validation loss (nats) by epoch, mean and range over the runs, then the published losses."""
    curves = bands.replication(record).assign(published=None)
    marks = bands.published(record).rename(columns={"loss": "published"})
    frame = pd.concat([curves, marks.reindex(columns=curves.columns)], ignore_index=True)
    return _rows(frame.assign(row=frame["row"].map(words.name)))


def _rows(frame: pd.DataFrame) -> Rows:
    if "arm" in frame:
        frame = frame.assign(arm=frame["arm"].map(words.name))
    return bands.plain(frame)
