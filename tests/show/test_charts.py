"""Rows of the interactive charts, from hand-made records."""

import json
from pathlib import Path
from typing import Any

import pytest

from svvr.show import charts

ROOT = Path(__file__).parents[2]
TEMPLATES = ("comparison", "search", "paired", "links", "spectra", "dose_response")


def run(study: int, losses: list[float | None], state: str = "complete") -> dict[str, Any]:
    return {"study": study, "state": state, "validation_loss": losses}


def test_curves_are_means_of_study_means_without_failed_runs() -> None:
    runs = [run(0, [1.0, 2.0]), run(0, [3.0, 4.0]), run(1, [4.0, 5.0]), run(1, [None, None], "failed")]
    rows = charts.curves({"baseline": {"runs": runs}, "empty": {"runs": runs[3:]}})
    assert [(row["arm"], row["epoch"], row["mean"]) for row in rows] == [("baseline", 1, 3.0), ("baseline", 2, 4.0)]
    assert rows[0]["low"] == pytest.approx(3 - 12.7062 * 1, abs=1e-3)  # t with 1 degree of freedom, sd / sqrt(2) = 1


def test_search_has_every_finished_trial_and_marks_the_winner() -> None:
    trials = [{"number": k, "params": {"lr": 0.1 * k}, "objective": loss} for k, loss in enumerate([1.2, 1.1, None])]
    rows = charts.search({"baseline": {"studies": [{"study": 3, "objective": 1.1, "trials": trials}]}})
    assert [(row["trial"], row["winner"], row["strength"]) for row in rows] == [(0, "no", None), (1, "yes", None)]


def test_contrasts_become_pairs_and_links() -> None:
    entry = {
        "arm": "weight_decay",
        "reference": "baseline",
        "link": "generalisation",
        "pair_effects": [[1.0, 2.0], [3.0]],
    }
    entry |= {"effect_percent": 2.0, "ci_low": 1.0, "ci_high": 3.0, "level": 0.95, "verdict": "opposite"}
    unknown = {**entry, "link": "gradient_stability", "effect_percent": None}
    summary = {"contrasts": [entry, unknown]}
    assert [(row["study"], row["pair"], row["difference"]) for row in charts.paired(summary)] == [
        (0, 0, 1.0), (0, 1, 2.0), (1, 0, 3.0),
    ]  # fmt: skip
    (row,) = charts.links(summary)
    assert row["contrast"] == "weight decay vs baseline" and (row["low"], row["effect"], row["high"]) == (1.0, 2.0, 3.0)
    assert row["level"] == "95 %"


def test_spectra_are_means_and_ranges_over_measured_runs() -> None:
    runs = [
        {"layers": [{"singular_values": values, "initial_singular_values": [values[0] - 2, 0.5]}]}
        for values in ([3.0, 1.0], [5.0, 2.0])
    ]
    rows = charts.spectra({"baseline": {"runs": [*runs, {"layers": []}]}})
    assert rows[0] == {"arm": "baseline", "layer": 1, "index": 1, "mean": 4.0, "low": 3.0, "high": 5.0}
    assert rows[2] == {"arm": "before training", "layer": 1, "index": 1, "mean": 2.0, "low": 1.0, "high": 3.0}
    assert len(rows) == 4


def test_dose_response_leaves_out_what_is_unknown() -> None:
    curve = {"mean": [1.0, None], "ci_low": [0.5, None], "ci_high": [1.5, None]}
    names = ("test_loss", "conditioning", "smoothness", "gradient_stability")
    rows = charts.dose_response({"strengths": [0, 0.1], **dict.fromkeys(names, curve)})
    assert len(rows) == 4 and rows[0]["quantity"] == "test loss (nats per example)" and rows[0]["low"] == 0.5


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_asks_for_fields_that_its_rows_have(name: str) -> None:
    rows = json.loads((ROOT / f"plots/interactive/{name}.json").read_text())["rows"]
    text = (ROOT / f".dvc/plots/{name}.json").read_text()
    template = json.loads(text)
    fields: set[str] = set()

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            fields.update([node["field"]] if isinstance(node.get("field"), str) else [])
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(template)
    assert rows and fields - {"rev"} <= set(rows[0]) and "rev" in fields
