"""The flat figures at the head of a stage's record: means over its rows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Figures: TypeAlias = dict[str, float | None]


def of_studies(studies: Rows) -> Figures:
    """Average an arm's studies; the objectives are those of winners, hence optimistic."""
    states = [trial["state"] for study in studies for trial in study["trials"]]
    return {
        "n_studies": len(studies),
        "n_trials": len(states),
        "n_failed": states.count("failed"),
        "objective_mean_used_for_tuning": _mean([study["objective"] for study in studies]),
    }


def of_runs(runs: Rows) -> Figures:
    """Average an arm's final runs that are complete; the validation loss is that of the selected epoch."""
    complete = [run for run in runs if run["state"] == "complete"]
    return {
        "n_runs": len(runs),
        "n_failed": len(runs) - len(complete),
        "validation_loss": _mean([run["validation_loss"][run["selected_epoch"] - 1] for run in complete]),
        **{name: _mean([run[name] for run in complete]) for name in ("test_loss", "test_accuracy")},
    }


def of_measurements(runs: Rows, names: Sequence[str]) -> Figures:
    """Average the named figures of an arm's diagnosed runs over those that could be measured."""
    return {"n_runs": len(runs), **{name: _mean([run[name] for run in runs]) for name in names}}


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of what is known, None where nothing is."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
