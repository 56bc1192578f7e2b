"""Records by hand: the rows of four arms as the stages write them, and the params that they belong to."""

import itertools
import json
import math
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from svvr.analysis import contrasts, tables
from svvr.links import MEASURED
from svvr.params import Params, load
from svvr.records import Row, write_rows

ROOT = Path(__file__).parents[2]
COMMITTED = load(ROOT / "params.yaml")
LINKS = tuple(link.name for link in MEASURED)
QUESTION = ("regularized", "baseline")
CONTRASTS = (QUESTION, ("weight_decay_regularized", "weight_decay"), ("regularized", "weight_decay"))
ARMS = ("baseline", "regularized", "weight_decay", "weight_decay_regularized")
N_TRIALS, REPLICATES, POINTS = 5, 3, 10
UNTUNED = {"lr": 0.01, "strength": 0.0, "weight_decay": 0.0}
BETTER = [-0.03, -0.031, -0.029, -0.03]  # studies in which the arm is better than its reference
Effects: TypeAlias = Mapping[str, Sequence[float]] | None  # arm -> log ratios by study
Records: TypeAlias = dict[str, list[Row]]  # "KIND/ARM" or "activity" -> rows


def params(studies: int = 4, seeds: int = 4, arms: Sequence[str] = ARMS, **compare: Any) -> Params:
    """Return the settings of the records below, with other ones in `compare`."""
    changes = {
        "tuning": {"studies": studies, "trials": N_TRIALS, "seeds_per_trial": 1},
        "final": {"seeds": seeds},
        "diagnose": {"seeds": seeds},
        "budget": {"replicates": REPLICATES, "points": POINTS, "seeds": 2},
        "compare": {"contrasts": CONTRASTS, "margin": 0.01} | compare,
    }
    sections = {name: getattr(COMMITTED, name).model_copy(update=values) for name, values in changes.items()}
    return COMMITTED.model_copy(update={"arms": {name: COMMITTED.arms[name] for name in arms}} | sections)


def losses_of(loss: float | None) -> Row:
    """Return the losses of a complete run, or of a failed one."""
    return {"state": "failed" if loss is None else "complete", "validation_loss": loss, "test_loss": loss}


def trial(study: int, number: int, loss: float | None, winner: bool = False, **hyperparameters: float) -> Row:
    losses = dict.fromkeys(tables.TUNING_LOSSES, loss) | {"state": losses_of(loss)["state"]}
    return {"study": study, "trial": number, "seed": 7, **UNTUNED, **hyperparameters, **losses, "winner": winner}


def final_run(study: int, seed: int, loss: float | None, **hyperparameters: float) -> Row:
    """Return a run of two epochs."""
    accuracies = dict.fromkeys(tables.ACCURACIES, None if loss is None else 0.5)
    return {
        **{"study": study, "seed": seed, "initial_weights": f"hash{seed}", **UNTUNED, **hyperparameters},
        **{"selected_epoch": None if loss is None else 2, **losses_of(loss), **accuracies},
        **{name: [2.0, loss] for name in tables.CURVES},
    }


def diagnosed_run(study: int, seed: int, value: float | None, variations: Sequence[float] = (0.3, 0.6)) -> Row:
    """Return a run with one figure for all links, and a layer of two singular values for each of the variations."""
    layers = range(1, 1 + len(variations)) if value is not None else ()
    return {
        **{"study": study, "seed": seed, **dict.fromkeys(LINKS, value)},
        "reason": "the run failed" if value is None else None,
        "singular_values": [[2.0, 1.0 / i] for i in layers],
        "initial_singular_values": [[3.0, 1.0] for _ in layers],
        "coefficient_of_variation": list(variations) if layers else [],
    }


def design_run(replicate: int, point: int, seed: int, lr: float, losses: Row) -> Row:
    return {"replicate": replicate, "point": point, "seed": 10 * replicate + seed, **UNTUNED, "lr": lr, **losses}


def records(effects: Effects = None, studies: int = 4, seeds: int = 4, fall: float = 0.5, cv: float = 1) -> Records:
    """Return the records of all arms.

    effects are an arm's log ratios to a loss of 1, by study, and to figures of 2 in every link; their mean is that of
    each point of the design. fall is a penalty's value relative to that at the reference's runs, cv the factor of the
    regularized arm's coefficients of variation.
    """
    made: Records = {}
    keys = [(study, 100 * study + seed) for study in range(studies) for seed in range(seeds)]
    design = list(itertools.product(range(REPLICATES), range(POINTS), range(2)))
    for arm in ARMS:
        d = (effects or {}).get(arm, [0.0] * studies)
        mean, layers = math.exp(float(np.mean(d))), [each * (cv if arm == "regularized" else 1) for each in (0.3, 0.6)]
        tuned = {name: 0.01 if name == "lr" else 0.1 for name in COMMITTED.arms[arm].tune}
        trials = itertools.product(range(studies), range(N_TRIALS))
        made[f"tune/{arm}"] = [trial(s, n, 1 + 0.001 * n, winner=n == 0, **tuned) for s, n in trials]
        made[f"train/{arm}"] = [final_run(s, k, math.exp(d[s] + 0.001 * (k % 2 - 0.5)), **tuned) for s, k in keys]
        made[f"diagnose/{arm}"] = [diagnosed_run(s, seed, 2 + d[s], layers) for s, seed in keys]
        made[f"budget/{arm}"] = [
            design_run(r, p, s, 0.01 + 0.001 * p, losses_of(1 + 0.01 * p + 0.001 * r) | {"test_loss": mean})
            for r, p, s in design
        ]
    made["activity"] = [
        {"arm": arm, "reference": reference, "study": s, "seed": seed, "value": 3 * fall, "value_reference": 3.0}
        for (arm, reference), (s, seed) in itertools.product(CONTRASTS, keys)
    ]
    return made


def write(made: Records, folder: Path) -> Path:
    for name, rows in made.items():
        write_rows(folder / f"{name}.json", rows)
    return folder


def frames(made: Records, arms: Sequence[str] = ARMS) -> list[pd.DataFrame]:
    """Return trials, runs, design, diagnosed and activity as read from files."""
    with tempfile.TemporaryDirectory() as name:
        return read(write(made, Path(name)), arms)


def read(metrics: Path, arms: Iterable[str]) -> list[pd.DataFrame]:
    readers = (tables.trials, tables.runs, tables.design, tables.diagnosed)
    return [*(read(metrics, arms) for read in readers), tables.activity(metrics)]


def examples(studies: int = 4) -> dict[str, Any]:
    """Return the test losses of 50 examples in each study, arm by arm."""
    rng = np.random.default_rng(0)
    return {arm: rng.gamma(2, 0.5, (studies, 50)).astype(np.float32) for arm in COMMITTED.arms}


def summarise(made: Records, settings: Params | None = None) -> dict[str, Any]:
    settings = settings or params()
    trials, runs, design, diagnosed, activity = frames(made, tuple(settings.arms))
    losses = examples(settings.tuning.studies)
    found = contrasts.summarise(settings, trials, runs, design, diagnosed, activity, losses)
    json.dumps(found, allow_nan=False)
    return found


def contrast(summary: Mapping[str, Any], link: str = "generalisation", number: int = 0) -> dict[str, Any]:
    """Return a row of the summary's contrasts; numbers are places in CONTRASTS."""
    return [row for row in summary["contrasts"] if row["link"] == link][number]
