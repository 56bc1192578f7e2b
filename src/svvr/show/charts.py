"""Rows of the interactive charts: finished records in, plain rows out; nothing is computed that decides.

The charts themselves are Vega-Lite templates in `.dvc/plots/`, one for each function here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from svvr.judge.statistics import mean_interval
from svvr.show.figures import Floats, Record, study_curves

Rows = list[dict[str, Any]]
LEVEL = 0.95
_QUANTITIES = {
    "test_loss": "test loss (nats per example)",
    "conditioning": "conditioning (ln of the condition number)",
    "smoothness": "smoothness (ln of the top Hessian eigenvalue)",
    "gradient_stability": "gradient stability (ln of the norm's variation)",
}


def curves(train: Mapping[str, Record]) -> Rows:
    """Return each arm's validation loss (nats) by epoch: the mean over studies of their means, and its t interval."""
    rows: Rows = []
    for arm, record in train.items():
        for epoch, values in enumerate(study_curves(record["runs"]).T, 1):
            rows.append({"arm": arm, "epoch": epoch, **_interval(values)})
    return rows


def search(tune: Mapping[str, Record]) -> Rows:
    """Return every finished trial with its knobs, its objective (nats) and whether it won its study."""
    return [
        {
            "arm": arm,
            "study": study["study"],
            "trial": trial["number"],
            **{knob: trial["params"].get(knob) for knob in ("lr", "strength", "weight_decay")},
            "objective": trial["objective"],
            "winner": "yes" if trial["objective"] == study["objective"] else "no",
        }
        for arm, record in tune.items()
        for study in record["studies"]
        for trial in study["trials"]
        if trial["objective"] is not None
    ]


def paired(summary: Record) -> Rows:
    """Return each pair's difference in test loss (percent) by contrast and study."""
    return [
        {"contrast": _contrast(entry), "study": study, "pair": pair, "difference": effect}
        for entry in summary["contrasts"]
        if entry["link"] == "generalisation"
        for study, effects in enumerate(entry["pair_effects"])
        for pair, effect in enumerate(effects)
    ]


def links(summary: Record) -> Rows:
    """Return each contrast's effect on each link (percent) with its interval at the contrast's level and verdict."""
    return [
        {
            "contrast": _contrast(entry),
            "link": entry["link"].replace("_", " "),
            "effect": entry["effect_percent"],
            "low": entry["ci_low"],
            "high": entry["ci_high"],
            "level": f"{100 * entry['level']:.3g} %",
            "verdict": entry["verdict"],
        }
        for entry in summary["contrasts"]
        if entry["effect_percent"] is not None
    ]


def spectra(diagnose: Mapping[str, Record]) -> Rows:
    """Return the singular values of each layer, by arm and before training: mean, lowest and highest over the runs."""
    runs = {arm: [run["layers"] for run in record["runs"] if run["layers"]] for arm, record in diagnose.items()}
    rows = [row for arm, each in runs.items() for row in _spectrum(arm, each, "singular_values")]
    return rows + _spectrum(
        "before training", [each for arm in runs.values() for each in arm], "initial_singular_values"
    )


def _spectrum(name: str, runs: Sequence[Sequence[Record]], key: str) -> Rows:
    rows: Rows = []
    for number, layers in enumerate(zip(*runs, strict=True), 1):
        for index, column in enumerate(np.array([layer[key] for layer in layers]).T, 1):
            figures = {"mean": float(column.mean()), "low": float(column.min()), "high": float(column.max())}
            rows.append({"arm": name, "layer": number, "index": index, **figures})
    return rows


def dose_response(record: Record) -> Rows:
    """Return the mean of each link's quantity at each strength, with its interval; what is unknown is left out."""
    return [
        {"quantity": quantity, "strength": strength, "mean": mean, "low": low, "high": high}
        for name, quantity in _QUANTITIES.items()
        for strength, mean, low, high in zip(
            record["strengths"], *(record[name][key] for key in ("mean", "ci_low", "ci_high")), strict=True
        )
        if mean is not None
    ]


def _interval(values: Floats) -> dict[str, float]:
    return dict(zip(("mean", "low", "high"), mean_interval(values, LEVEL), strict=True))


def _contrast(entry: Record) -> str:
    return f"{entry['arm']} vs {entry['reference']}".replace("_", " ")
