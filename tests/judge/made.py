"""Records made by hand, each as its schema wants it, and the tools to damage them."""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from svvr.core.files import RecordError, array_hash
from svvr.core.params import Budget, Params, load
from svvr.judge import contrasts, schemas
from svvr.links import MEASURED

ROOT = Path(__file__).parents[2]
METRICS = ROOT / "metrics"
COMMITTED = load(ROOT / "params.yaml")
N_TRIALS = COMMITTED.tuning.trials
FOUR = {name: arm for name, arm in COMMITTED.arms.items() if name != "regularized_decoupled"}
PARAMS = COMMITTED.model_copy(
    update={
        "arms": FOUR,
        "budget": Budget(replicates=3, points=2 * N_TRIALS, seeds=2),
        "compare": COMMITTED.compare.model_copy(update={"contrasts": COMMITTED.compare.contrasts[:3]}),
    }
)
BUDGET = PARAMS.budget
ARMS = tuple(PARAMS.arms)
N_SEEDS = 4
LINKS = tuple(link.name for link in MEASURED)
BETTER = [-0.03, -0.031, -0.029, -0.03]  # studies that support the hypothesis in generalisation
Records: TypeAlias = dict[str, dict[str, dict[str, Any]]]
GONE = object()
Losses: TypeAlias = dict[str, npt.NDArray[np.float32]]


def trial(number: int, objective: float | None, **params: float) -> dict[str, Any]:
    state = "failed" if objective is None else "complete"
    return {
        "number": number, "params": params, "state": state, "objective": objective, "seeds": [7], "losses": [objective],
    }  # fmt: skip


def study(number: int, trials: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make a study whose winner is its first trial."""
    return {"study": number, "best": trials[0]["params"], "objective": trials[0]["objective"], "trials": list(trials)}


def final_run(number: int, seed: int, test_loss: float | None, **knobs: float) -> dict[str, Any]:
    """Make a run of two epochs, a failed one without a test loss."""
    failed = test_loss is None
    return {
        "study": number, "seed": seed, "initial_weights": f"hash{seed}",
        "lr": 0.01, "strength": 0.0, "weight_decay": 0.0, **knobs,
        "weights": "cd", "state": "failed" if failed else "complete", "selected_epoch": None if failed else 2,
        **{name: [2.0, None if failed else 1.0] for name in schemas.FINITE_CURVES}, "gradient_cosine": [None, 0.5],
        "test_loss": test_loss, "test_accuracy": None if failed else 0.5,
    }  # fmt: skip


def design_run(
    replicate: int, point: int, seed: int, losses: tuple[float | None, float | None], **knobs: float
) -> dict[str, Any]:
    """Make a run of the random design with its validation and test loss."""
    return {
        "replicate": replicate, "point": point, "seed": seed, "lr": 0.01, "weight_decay": 0.0, "strength": 0.0, **knobs,
        "state": "failed" if None in losses else "complete", "validation_loss": losses[0], "test_loss": losses[1],
    }  # fmt: skip


def diagnosed_run(number: int, seed: int, value: float | None, variations: Sequence[float] = (0.3, 0.6)) -> Any:
    """Make a run with one figure for all links, and a layer of two singular values for each of the variations."""
    return {
        "study": number, "seed": seed, "initial_weights": f"hash{seed}", **dict.fromkeys(LINKS, value),
        "layers": [
            {"layer": i, "singular_values": [2.0, 1.0 / i], "initial_singular_values": [3.0, 1.0],
             "coefficient_of_variation": variation}
            for i, variation in enumerate(() if value is None else variations, 1)
        ],
    }  # fmt: skip


def records(effects: Mapping[str, Sequence[float]] | None = None, cv: Mapping[str, float] | None = None) -> Records:
    """Make the records of all arms.

    Args:
        effects: arm -> the studies' log differences from a loss of 1, and from 2 in every link; 0 for other arms. Their
            mean is that of each point of the random design.
        cv: arm -> factor of its singular values' coefficients of variation.
    """
    effects, cv = effects or {}, cv or {}
    n = max([len(each) for each in effects.values()] or [4])
    keys = [(s, 100 * s + seed) for s in range(n) for seed in range(N_SEEDS)]
    made: Records = {kind: {} for kind in schemas.KINDS}
    for arm, settings in PARAMS.arms.items():
        shift = effects.get(arm, [0.0] * n)
        best = {knob: 0.01 if knob == "lr" else 0.1 for knob in settings.tune}
        trials = [trial(number, 1.0 + 0.001 * number, **best) for number in range(N_TRIALS)]
        made["tune"][arm] = {
            "arm": arm, "penalty": settings.penalty.name, "n_studies": n, "n_trials": len(trials) * n,
            "studies": [study(s, trials) for s in range(n)],
        }  # fmt: skip
        made["train"][arm] = {
            "arm": arm, "penalty": settings.penalty.name, "selection": PARAMS.selection,
            **dict.fromkeys(("validation_loss", "test_loss"), 1.0), "test_accuracy": 0.5, "test_losses": ["ef"],
            "runs": [
                final_run(s, seed, math.exp(shift[s] + 0.001 * (seed % 2 - 0.5)), **best) for s, seed in keys
            ],
        }  # fmt: skip
        made["budget"][arm] = {
            "arm": arm, "penalty": settings.penalty.name, "selection": PARAMS.selection,
            "runs": [
                design_run(r, p, 10 * r + s, (1 + 0.01 * p + 0.001 * r, math.exp(float(np.mean(shift)))),
                           **best | {"lr": 0.01 + 0.001 * p})
                for r, p, s in itertools.product(*map(range, (BUDGET.replicates, BUDGET.points, BUDGET.seeds)))
            ],
        }  # fmt: skip
        variations = [each * cv.get(arm, 1.0) for each in (0.3, 0.6)]
        made["diagnose"][arm] = {
            "arm": arm, "runs": [diagnosed_run(s, seed, 2 + shift[s], variations) for s, seed in keys],
        }  # fmt: skip
    return cast(Records, json.loads(json.dumps(made)))  # no two places share a list


def retune(made: Records, arm: str, number: int, **knobs: float) -> None:
    """Let a study of an arm have won with other knobs."""
    tuned = made["tune"][arm]["studies"][number]
    for params in (tuned["best"], tuned["trials"][0]["params"]):
        params |= knobs
    for run in made["train"][arm]["runs"]:
        if run["study"] == number:
            run |= knobs


def losses(made: Records) -> Losses:
    """Make per-example test losses that belong to the final runs, and put their hashes into the records."""
    return {arm: _seal(record) for arm, record in made["train"].items()}


def _seal(record: dict[str, Any]) -> npt.NDArray[np.float32]:
    n = 1 + max(run["study"] for run in record["runs"])
    examples = np.random.default_rng(0).gamma(2, 0.5, (n, 50))
    for s in range(n):
        of_runs = [run["test_loss"] for run in record["runs"] if run["study"] == s and run["test_loss"] is not None]
        examples[s] *= np.mean(of_runs or [1]) / examples[s].mean()
    sealed = examples.astype(np.float32)
    record["test_losses"] = [array_hash(sealed)]
    return sealed


NO_FIGURES = pd.DataFrame(columns=["arm", "reference", "study", "seed", "d"])


def summarise(made: Records, params: Params = PARAMS, own: pd.DataFrame = NO_FIGURES) -> dict[str, Any]:
    return contrasts.summarise(params, made, losses(made), own)


def comparing(**changes: Any) -> Params:
    """Return the params with other settings in `compare`."""
    return PARAMS.model_copy(update={"compare": PARAMS.compare.model_copy(update=changes)})


def assert_same(found: Any, expected: Any) -> None:
    """Check two records for equality, numbers to 1e-12 relative."""
    if isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            assert_same(*pair)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-12, abs=0)
    else:
        assert found == expected


def refused(
    path: Path, schema: type[schemas.Schema], record: Mapping[str, Any], place: Sequence[Any], value: Any
) -> str:
    """Change a value of a record, or remove its key for the value GONE; return the line that refuses the record."""
    damaged = json.loads(json.dumps(record))
    holder: Any = damaged
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    if value is GONE:
        del holder[place[-1]]
    path.write_text(json.dumps(damaged))
    with pytest.raises(RecordError) as caught:
        schemas.read(path, schema)
    return str(caught.value)


def check_all_damage(path: Path, schema: type[schemas.Schema], record: Mapping[str, Any]) -> None:
    """Remove each key and put other types in each place: one line refuses the record, and it names file and key."""
    n_refused = 0
    for place in _places(record):
        is_key = isinstance(place[-1], str) and place[-2:-1] not in (("params",), ("best",))
        for value in ({"x": "y"}, [[[]]], GONE)[: 2 + is_key]:
            line = refused(path, schema, record, place, value)
            key = ".".join(map(str, place))
            assert line.startswith(f"{path}: ") and key in line and "expected" in line and "\n" not in line
            n_refused += 1
    assert n_refused > 10


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything below a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield (*above, key)
        yield from _places(inner, (*above, key))
