"""Records that gather all arms or none, edited by hand."""

from pathlib import Path
from typing import Any

import pytest

from svvr.core.files import write_json
from svvr.judge import results, schemas
from svvr.judge.dose import FIGURES
from tests.judge import made

CONTRAST = {
    "arm": "a", "reference": "b", "link": "generalisation", "margin_percent": 1.0, "equivalence_level": 0.9,
    "level": 0.95, "n_studies": 1, "n_pairs": 1, "studies_needed": None,
    "effect_percent": -1.0, "equivalence_ci_low": None, "equivalence_ci_high": None,
    "ci_low": None, "ci_high": None, "verdict": "no verdict", "study_effects": [-1.0], "pair_effects": [[-1.0]],
    "flags": [],
}  # fmt: skip
POINT = {
    "arm": "a", "reference": "b", "n_trials": 1, "effect_percent": -1.0,
    **dict.fromkeys(("equivalence_ci_low", "equivalence_ci_high", "ci_low", "ci_high")),
}  # fmt: skip
AT = {"label": "so much", "verdict": "no verdict", "reason": None, "replicates_needed": 9, "decided_from": None}
CURVE = {"mean": [1.0, 2.0], "ci_low": [0.5, 1.5], "ci_high": [1.5, 2.5]}
SETTING = {"lr": 0.1, "weight_decay": 0, "strengths": [0, 0.1], "n_seeds": 2, **dict.fromkeys(FIGURES, CURVE)}
SCHEMAS: dict[str, type[schemas.Schema]] = {
    "summary": results.Summary, "dose_response": results.DoseResponse, "replicate": results.Replication,
}  # fmt: skip
RECORDS: dict[str, dict[str, Any]] = {
    "summary": {
        "overall": ["so"], "sampler": "tpe",
        "arms": [{"arm": "a", **{name: [1.0] for name in ("running_best", "expected_best", "expected_test_loss")}}],
        "contrasts": [CONTRAST], "budget": [POINT], "budget_verdicts": [POINT | AT],
    },
    "dose_response": SETTING | {"others": [SETTING | {"weight_decay": 0.4}]},
    "replicate": {"rows": [{"row": "baseline", "published": 1.2, "runs": [{"validation_loss": [1.0]}]}]},
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEMAS)
def test_whole_records_are_read_as_they_are_and_damaged_ones_refused(tmp_path: Path, name: str) -> None:
    path, extended = tmp_path / "a.json", RECORDS[name] | {"more": [1, None]}
    write_json(path, extended)
    assert schemas.read(path, SCHEMAS[name]) == extended
    made.check_all_damage(path, SCHEMAS[name], RECORDS[name])


@pytest.mark.parametrize(
    "name,place,value,message",
    [
        ("summary", "contrasts 0 ci_low", 1.0, "ci_high: got nothing, expected both ends of an interval or none"),
        ("summary", "contrasts 0 verdict", "yes", "contrasts.0.verdict: got 'yes', expected 'supported'"),
        ("summary", "contrasts 0 link", "luck", "contrasts.0.link: got 'luck', expected one of generalisation, cond"),
        ("dose_response", "smoothness ci_low", [1.0], "smoothness: got [1.0, 2.0], expected 2 values, one"),
        ("summary", "budget 0 n_trials", 0, "budget.0.n_trials: got 0, expected a whole number, at least 1"),
        ("dose_response", "others 0 strengths", [1.0], "others.0.validation_loss: got [1.0, 2.0], expected 1 values"),
        ("dose_response", "strengths", [], "strengths: got [], expected 1 or more entries"),
        ("replicate", "rows 0 runs", [], "rows.0.runs: got [], expected 1 or more entries"),
        ("replicate", "rows 0 runs", [{"validation_loss": n * [1.0]} for n in (1, 2)],
         "rows.0.runs: got [1, 2], expected as many epochs in each run"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_refused(tmp_path: Path, name: str, place: str, value: Any, message: str) -> None:
    keys = [int(key) if key.isdigit() else key for key in place.split()]
    assert message in made.refused(tmp_path / "a.json", SCHEMAS[name], RECORDS[name], keys, value)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_committed_records_are_what_the_schemas_say(name: str) -> None:
    assert schemas.read(made.METRICS / f"{name}.json", SCHEMAS[name])
