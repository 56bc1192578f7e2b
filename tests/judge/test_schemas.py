"""Records edited by hand: each damage is refused in one line that names file and key."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from svvr.core.files import RecordError
from svvr.judge import schemas

ROOT = Path(__file__).parents[2]
TRIAL = {"number": 0, "params": {"lr": 0.1}, "state": "complete", "objective": 1.5, "seeds": [7], "losses": [1.5]}
FAILED = TRIAL | {"number": 1, "state": "failed", "objective": None, "losses": [None]}
STUDY = {"study": 0, "best": {"lr": 0.1}, "objective": 1.5, "on_boundary": ["lr"], "trials": [TRIAL, FAILED]}
RUN = {
    "study": 0, "seed": 3, "initial_weights": "ab", "lr": 0.1, "strength": 0, "weight_decay": 0.0, "weights": "cd",
    "state": "complete", "selected_epoch": 2,
    **{name: [1.0, 2] for name in schemas.FINITE_CURVES}, "gradient_cosine": [None, 0.5],
    "test_loss": 1.0, "test_accuracy": 0.5,
}  # fmt: skip
LOST = RUN | {"seed": 4, "state": "failed", "selected_epoch": None, "test_loss": None, "test_accuracy": None}
LAYER = {
    "layer": 1, "singular_values": [1.0], "initial_singular_values": [1.0], "coefficient_of_variation": 0.5,
}  # fmt: skip
WORSE = TRIAL | {"number": 1, "objective": 1.25, "losses": [1.25]}  # than this one is the winner
LINKS = dict.fromkeys(("conditioning", "smoothness", "gradient_stability"), -1.0)
OTHER = {
    "study": 0, "seed": 9, "initial_weights": "ab", **LINKS, "layers": [LAYER | {"singular_values": [2.0, 1.0]}],
}  # fmt: skip
CONTRAST = {
    "arm": "a", "reference": "b", "link": "generalisation", "margin_percent": 1.0, "equivalence_level": 0.9,
    "level": 0.95, "n_studies": 1, "n_pairs": 1, "studies_needed": None,
    "effect_percent": -1.0, "equivalence_ci_low": None, "equivalence_ci_high": None,
    "ci_low": None, "ci_high": None, "verdict": "no verdict", "study_effects": [-1.0], "pair_effects": [[-1.0]],
    "flags": [],
}  # fmt: skip
DOSE = {"mean": [1.0, 2.0], "ci_low": [0.5, 1.5], "ci_high": [1.5, 2.5]}
QUANTITIES = ("validation_loss", "test_loss", *LINKS)
VALID: dict[type[schemas.Schema], dict[str, Any]] = {
    schemas.Tuning: {"arm": "a", "penalty": "none", "n_studies": 1, "n_trials": 2, "studies": [STUDY]},
    schemas.Training: {
        "arm": "a", "penalty": "none", "selection": "last_epoch", "validation_loss": 1.0, "test_loss": 1.0,
        "test_accuracy": 0.5, "test_losses": ["ef"], "runs": [RUN, LOST],
    },
    schemas.Diagnosis: {
        "arm": "a",
        "runs": [
            {"study": 0, "seed": 3, "initial_weights": "ab", **LINKS, "layers": [LAYER]},
            {"study": 0, "seed": 4, "initial_weights": "ab", **dict.fromkeys(LINKS), "layers": []},
        ],
    },
    schemas.Summary: {"overall": ["so"], "arms": [{"arm": "a", "expected_best": [1.0]}], "contrasts": [CONTRAST]},
    schemas.DoseResponse: {"lr": 0.1, "strengths": [0, 0.1], "n_seeds": 2, **dict.fromkeys(QUANTITIES, DOSE)},
    schemas.Replication: {"rows": [{"row": "baseline", "published": 1.2, "runs": [{"validation_loss": [1.0]}]}]},
}  # fmt: skip


def read(path: Path, record: Any, schema: type[schemas.Schema]) -> dict[str, Any]:
    path.write_text(json.dumps(record))
    return schemas.read(path, schema)


def places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*above, key)
        yield from places(inner, (*above, key))


def damaged(record: dict[str, Any], place: tuple[Any, ...], change: Callable[[Any, Any], None]) -> dict[str, Any]:
    result = json.loads(json.dumps(record))  # no two places share a list
    holder: Any = result
    for key in place[:-1]:
        holder = holder[key]
    change(holder, place[-1])
    return result


def of(value: Any) -> Callable[[Any, Any], None]:
    return lambda holder, key: holder.__setitem__(key, value)


@pytest.mark.parametrize("schema", VALID)
def test_a_whole_record_is_read_as_it_is(tmp_path: Path, schema: type[schemas.Schema]) -> None:
    extended = VALID[schema] | {"more": [1, None]}
    assert read(tmp_path / "a.json", extended, schema) == extended


@pytest.mark.parametrize("schema", VALID)
def test_whatever_is_missing_or_of_another_type_is_refused_by_name(
    tmp_path: Path, schema: type[schemas.Schema]
) -> None:
    path = tmp_path / "a.json"
    n_refused = 0
    for place in places(VALID[schema]):
        is_key = isinstance(place[-1], str) and place[-2:-1] not in (("params",), ("best",))
        changes = [of({"x": "y"}), of([[[]]])] + [lambda holder, key: holder.pop(key)] * is_key
        for change in changes:
            with pytest.raises(RecordError) as refused:
                read(path, damaged(VALID[schema], place, change), schema)
            message = str(refused.value)
            assert message.startswith(f"{path}: ") and "expected" in message and "\n" not in message
            assert str(place[0]) in message
            n_refused += 1
    assert n_refused > 10


@pytest.mark.parametrize(
    "schema,place,value,message",
    [
        (schemas.Tuning, ("studies", 0, "best", "lr"), 0.2, "studies.0.best: got {'lr': 0.2}, expected the knobs and"),
        (schemas.Tuning, ("studies", 0, "best", "lr"), -1, "studies.0.best.lr: got -1, expected greater than 0"),
        (schemas.Tuning, ("studies", 0, "study"), 5, "studies: got [5], expected studies 0 to 0"),
        (
            schemas.Tuning,
            ("studies", 0, "trials", 0, "losses"),
            [],
            "losses: got [], expected a loss for each of 1 seeds",
        ),
        (
            schemas.Tuning,
            ("studies", 0, "trials", 0, "objective"),
            None,
            "objective: got nothing, expected what belongs",
        ),
        (schemas.Tuning, ("n_trials",), 3, "n_trials: got 3, expected the number of trials of all studies"),
        (schemas.Tuning, ("studies", 0, "trials", 0, "losses"), [1.4], "objective: got 1.5, expected the mean of the"),
        (schemas.Tuning, ("studies", 0, "trials", 1), WORSE, "studies.0.objective: got 1.5, expected the lowest of"),
        (schemas.Diagnosis, ("runs", 1), OTHER, "runs: got [((1, 1, 1),), ((1, 2, 1),)], expected the same layers"),
        (schemas.Diagnosis, ("runs", 0, "smoothness"), 1e308, "smoothness: got 1e+308, expected less than 500"),
        (
            schemas.Summary,
            ("contrasts", 0, "ci_low"),
            1.0,
            "ci_high: got nothing, expected both ends of an",
        ),
        (schemas.Training, ("runs", 1, "seed"), 3, "runs.1: got 'study 0, seed 3 twice', expected each run once"),
        (schemas.Training, ("runs", 0, "test_loss"), None, "runs.0.test_loss: got nothing, expected a number, since"),
        (schemas.Training, ("runs", 0, "test_loss"), 0, "runs.0.test_loss: got 0, expected greater than 0"),
        (schemas.Training, ("runs", 1, "test_loss"), 1.0, "runs.1.test_loss: got 1.0, expected nothing, since the run"),
        (schemas.Training, ("runs", 0, "train_loss"), [1.0], "runs.0.train_loss: got 1, expected 2 epochs"),
        (schemas.Training, ("runs", 0, "train_loss"), [1.0, None], "runs.0.train_loss: got nothing, expected a number"),
        (schemas.Training, ("runs", 0, "selected_epoch"), 3, "selected_epoch: got 3, expected an epoch from 1 to 2"),
        (schemas.Training, ("runs",), [], "runs: got [], expected"),
        (
            schemas.Diagnosis,
            ("runs", 0, "smoothness"),
            None,
            "runs.0.conditioning: got (-1.0, None, -1.0), expected all",
        ),
        (schemas.Diagnosis, ("runs", 1, "seed"), 3, "runs.1: got 'study 0, seed 3 twice'"),
        (schemas.DoseResponse, ("smoothness", "ci_low"), [1.0], "smoothness: got [1.0, 2.0], expected 2 values, one"),
        (schemas.Replication, ("rows", 0, "runs"), [], "rows.0.runs: got [], expected"),
        (
            schemas.Replication,
            ("rows", 0, "runs"),
            [{"validation_loss": [1.0]}, {"validation_loss": [1.0, 2.0]}],
            "rows.0.runs: got [1, 2], expected as many epochs in each run",
        ),
        (schemas.Summary, ("contrasts", 0, "verdict"), "yes", "contrasts.0.verdict: got 'yes', expected 'supported'"),
    ],
)
def test_values_that_cannot_be_are_refused(
    tmp_path: Path, schema: type[schemas.Schema], place: tuple[Any, ...], value: Any, message: str
) -> None:
    with pytest.raises(RecordError) as refused:
        read(tmp_path / "a.json", damaged(VALID[schema], place, of(value)), schema)
    assert message in str(refused.value)


def test_the_record_of_another_arm_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_text(json.dumps(VALID[schemas.Tuning]))
    with pytest.raises(RecordError, match=r"b\.json: arm: got 'a', expected 'b'"):
        schemas.read_arms(tmp_path, schemas.Tuning, ["b"])


def test_the_committed_records_are_what_the_schemas_say() -> None:
    for folder, schema in schemas.OF_ARMS.items():
        arms = [path.stem for path in (ROOT / "metrics" / folder).glob("*.json")]
        assert set(schemas.read_arms(ROOT / "metrics" / folder, schema, arms)) == set(arms)
    others = {"summary": schemas.Summary, "dose_response": schemas.DoseResponse, "replicate": schemas.Replication}
    for name, schema in others.items():
        assert schemas.read(ROOT / "metrics" / f"{name}.json", schema)
