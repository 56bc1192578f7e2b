"""Curves against strength: numpy and scipy on made runs, and the committed record."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from svvr.core.files import read_json
from svvr.core.params import DoseResponse, DoseSetting
from svvr.judge import dose
from tests.judge import made

STRENGTHS = [1.0, 0, 0.1]  # in no order


def runs(n_seeds: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    return [
        {"strength": strength, "seed": seed, **{figure: rng.normal() for figure in dose.FIGURES}}
        for seed in range(n_seeds)
        for strength in (0.0, 0.1, 1.0)
    ]


@pytest.mark.parametrize("figure", dose.FIGURES)
def test_means_and_intervals_are_scipy_s(figure: str) -> None:
    rows = runs(5)
    curve = dose.curves(rows, STRENGTHS)[figure]
    for i, strength in enumerate(STRENGTHS):
        values = [row[figure] for row in rows if row["strength"] == strength]
        low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
        assert [curve[name][i] for name in ("mean", "ci_low", "ci_high")] == pytest.approx([np.mean(values), low, high])


def test_a_strength_of_which_a_run_is_lost_has_no_mean() -> None:
    """The rest would be a selection; the other strengths and figures are as before."""
    rows = runs(3)
    whole = dose.curves(rows, STRENGTHS)
    rows[4] |= dict.fromkeys(made.LINKS)  # strength 0.1, which could not be measured
    found = dose.curves(rows, STRENGTHS)
    for figure, curve in found.items():
        for name, values in curve.items():
            lost = None if figure in made.LINKS else whole[figure][name][2]
            assert values == [*whole[figure][name][:2], lost]


def test_the_runs_are_gathered_by_setting() -> None:
    first, second = DoseSetting(lr=0.002, weight_decay=0), DoseSetting(lr=0.002, weight_decay=0.4)
    rows = [row | setting.model_dump() for row in runs(3) for setting in (second, first)]
    for row in rows:
        row["test_loss"] += row["weight_decay"]
    found = dose.record(rows, DoseResponse(settings=(first, second), strengths=(0.0, 0.1, 1.0), seeds=3))
    (other,) = found.pop("others")
    for record, setting in ((found, first), (other, second)):
        own = [row for row in rows if row["weight_decay"] == setting.weight_decay]
        head = {"lr": 0.002, "weight_decay": setting.weight_decay, "strengths": [0.0, 0.1, 1.0], "n_seeds": 3}
        assert record == head | dose.curves(own, [0.0, 0.1, 1.0]) | {"runs": own} and len(own) == 9


def test_the_committed_curves_are_those_of_the_committed_runs() -> None:
    committed = read_json(made.METRICS / "dose_response.json")
    for record in (committed, *committed["others"]):
        found = dose.curves(record["runs"], record["strengths"])
        made.assert_same(found, {figure: record[figure] for figure in dose.FIGURES})
