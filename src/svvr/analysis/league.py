"""The league of regularizers: in every regime every penalty against plain Adam and against AdamW, by random search."""

import pandas as pd

from svvr import survey
from svvr.analysis import budget, statistics
from svvr.params import SHARED, Params
from svvr.records import Row, read_rows, rows_of

ARMS = ("plain", "decay")  # of a cell: without weight decay, and with it tuned
REFERENCES = {"adam": ("none", "plain"), "adamw": ("none", "decay")}  # penalty and arm
COLUMNS = ("settings", "arm", "replicate", "point", *SHARED, "state", "validation_loss", "test_loss")
EFFECT = ("effect_percent", "ci_low", "ci_high", "verdict", "p_holm")


def rows(settings: survey.Survey) -> list[Row]:
    """Return a row a regime, penalty and decay (true or false), from the cells at hand; ValueError without any.

    Keys are `failed`, the share of runs; lr, strength and weight_decay of the run with the lowest validation loss; and
    EFFECT of each reference, in test loss and per cent, p adjusted for all rows with that reference; None if unknown.
    A cell whose settings are no more those of the params is left out.
    """
    found = [row for regime in settings.regimes for row in _of_regime(settings, regime)]
    if not found:
        raise ValueError(f"{survey.FOLDER}/cells: got no runs of any cell, expected some: make survey")
    for name in REFERENCES:
        judged = [row for row in found if row[f"{name}_p_holm"] is not None]
        adjusted = statistics.holm([row[f"{name}_p_holm"] for row in judged])
        for row, p in zip(judged, adjusted, strict=True):
            row[f"{name}_p_holm"] = p
    return found


def _of_regime(settings: survey.Survey, regime: str) -> list[Row]:
    arms: dict[tuple[str, str], pd.DataFrame] = {}
    params = {penalty: settings.params(regime, penalty) for penalty in settings.penalties}
    for penalty in settings.penalties:
        if not (path := survey.record(regime, penalty)).exists():
            continue
        cell = read_rows(path, *COLUMNS).astype({"validation_loss": float, "test_loss": float})
        if {*cell["settings"]} != {survey.digest(params[penalty])}:
            again = f"make survey REGIME={regime} PENALTY={penalty}"
            print(f"league: {path.stem} left out, since its settings have changed: {again}")
        else:
            arms |= {(penalty, arm): cell[cell["arm"] == arm] for arm in ARMS if arm in {*cell["arm"]}}
    designs, found = {key: budget.design(runs) for key, runs in arms.items()}, []
    for (penalty, arm), runs in arms.items():
        row: Row = {"regime": regime, "penalty": penalty, "decay": arm == "decay"}
        row["failed"] = float((runs["state"] == "failed").mean())
        best = rows_of(runs.sort_values("validation_loss")[list(SHARED)])[0]
        row |= best if row["failed"] < 1 else dict.fromkeys(SHARED)
        for name, reference in REFERENCES.items():
            effect = dict.fromkeys(EFFECT)
            if reference in designs and reference != (penalty, arm):
                effect = _effect(params[penalty], settings.trials, designs[penalty, arm], designs[reference])
            row |= {f"{name}_{key}": value for key, value in effect.items()}
        found.append(row)
    return found


def _effect(params: Params, trials: int, arm: budget.Design, reference: budget.Design) -> Row:
    effect, error = budget.effects(arm, reference, [trials])
    row = budget.percents(params, effect, error)[0] | budget.verdict(params, effect[0], error[0])
    unknown = row["verdict"] == "no verdict"
    row["p_holm"] = None if unknown else statistics.p_value(effect[0], error[0], len(arm.validation))
    return {key: row[key] for key in EFFECT}
