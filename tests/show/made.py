"""Records made by hand, with what figures and charts read of them, and the Source that holds them."""

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from svvr.links import LINKS, MEASURED
from svvr.show import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure  # svvr.show alone loads Matplotlib, which another backend would refuse

Record: TypeAlias = dict[str, Any]
Source: TypeAlias = dict[str, dict[str, Record]]

ARMS = ("baseline", "regularized", "weight_decay", "weight_decay_regularized")
LONG = "activation_decorrelation_" + "of_the_hidden_layers_" * 2
SIX = (*ARMS, "spectral_norm", LONG[:64])
VERDICTS = ("supported", "not supported", "opposite", "inconclusive")
FLAT = ("ci_low", "ci_high", "equivalence_ci_low", "equivalence_ci_high", "effect_percent", "n_pairs")
KNOBS = {"lr": 0.01, "strength": 0.1, "weight_decay": 0.3}


def source(
    arms: Sequence[str] = ARMS, studies: int = 4, seeds: int = 3, epochs: int = 20,
    failed: Collection[tuple[str, int, int]] = (), trials: int = 8, dead: int = 0, ks: Sequence[int] = (4, 10, 12),
) -> Source:  # fmt: skip
    """Make the records of tuning, final runs and diagnoses; `failed` names runs, `dead` a study's first trials."""
    keys = list(itertools.product(range(studies), range(seeds)))
    return {
        "tune": {arm: {"studies": [study(arm, s, trials, dead) for s in range(studies)]} for arm in arms},
        "train": {arm: {"runs": [final(arm, *key, epochs, (arm, *key) in failed) for key in keys]} for arm in arms},
        "diagnose": {arm: {"runs": [diagnosed(*key, ks, (arm, *key) in failed) for key in keys]} for arm in arms},
    }


def study(arm: str, number: int, n: int, dead: int) -> Record:
    """Make a study of n trials; the second of many lies far above the others."""
    rng = np.random.default_rng([number, len(arm)])
    trials: list[Record] = []
    for i in range(n):
        params = {knob: float(value * 10 ** rng.uniform(-1, 1)) for knob, value in KNOBS.items()}
        objective = None if i < dead else 1 + float(rng.random()) + 50 * (i == 1 and n > 2)
        state = "failed" if objective is None else "complete"
        trials.append({"number": i, "params": params, "state": state, "objective": objective})
    alive: list[Record] = [trial for trial in trials if trial["objective"] is not None] or [
        {"params": {}, "objective": None}
    ]
    best = min(alive, key=lambda trial: float(trial["objective"] or 0))
    return {"study": number, "best": best["params"], "objective": best["objective"], "trials": trials}


def final(arm: str, number: int, seed: int, epochs: int, bad: bool = False) -> Record:
    """Make a run whose losses fall, higher by 0.02 a study, 0.01 a seed and 0.005 a letter of its arm's name."""
    loss = [1 + math.exp(-e / 5) + 0.02 * number + 0.01 * seed + 0.005 * len(arm) for e in range(epochs)]
    return {
        "study": number, "seed": seed, "initial_weights": "ab", "state": "failed" if bad else "complete",
        "selected_epoch": None if bad else epochs, **KNOBS, "validation_loss": [None] * epochs if bad else loss,
        "test_loss": None if bad else loss[-1], "test_accuracy": None if bad else 0.5,
    }  # fmt: skip


def diagnosed(number: int, seed: int, ks: Iterable[int], bad: bool = False) -> Record:
    """Make a run whose singular values lie evenly between 2 and 0.1 before training, larger by 10 % a seed after it."""
    initial = [np.linspace(2, 0.1, k) for k in ks]
    layers = [
        {
            "layer": i,
            "singular_values": ((1 + 0.1 * seed) * values).tolist(),
            "initial_singular_values": values.tolist(),
        }
        for i, values in enumerate(initial, 1)
    ]
    links = dict.fromkeys((link.name for link in MEASURED), None if bad else 2.0)
    return {"study": number, "seed": seed, "initial_weights": "ab", **links, "layers": [] if bad else layers}


def contrast(
    arm: str, reference: str, link: str, verdict: str = "supported", studies: int = 4, seeds: int = 3
) -> Record:
    """Make a contrast of -1 %, or for no verdict one whose runs failed."""
    joint = link != "generalisation"
    effects = [-3.0 + number for number in range(studies)]
    entry = {
        "arm": arm, "reference": reference, "link": link, "verdict": verdict, "margin_percent": 2.0,
        "level": 0.95 if not joint else 1 - 0.05 / 3, "equivalence_level": 0.9 if not joint else 1 - 0.1 / 3,
        "n_studies": studies, "n_pairs": studies * seeds, "studies_needed": 12, "reason": None, "flags": [],
        "effect_percent": -1.0, "equivalence_ci_low": -3.0, "equivalence_ci_high": 1.0, "ci_low": -4.0, "ci_high": 2.0,
        "study_effects": effects, "pair_effects": [[e + 0.5 * seed for seed in range(seeds)] for e in effects],
    }  # fmt: skip
    if verdict == "no verdict":
        entry |= dict.fromkeys(FLAT) | {"study_effects": [], "pair_effects": [], "reason": "a run failed"}
    return entry


def summary(
    arms: Sequence[str] = ARMS, verdicts: Sequence[str] = VERDICTS, trials: int = 4, most: int = 16, known: bool = True,
    **sizes: Any,
) -> Record:  # fmt: skip
    """Make a summary: the first two contrasts are those of the hypothesis, then each further arm against the first.

    Random search is judged after `trials` and after `most` trials; `known` says whether anything is known of it.
    """
    pairs = [(arms[1], arms[0]), (arms[3], arms[2])] if len(arms) > 3 else [(arm, arms[0]) for arm in arms[1:]]
    pairs += [(arm, arms[0]) for arm in arms[4:]]
    wheel = itertools.cycle(verdicts)
    contrasts = [contrast(*pair, link.name, next(wheel), **sizes) for pair in pairs for link in LINKS]
    points = [at_budget(*pair, n, most, known) for pair in pairs for n in range(1, most + 1)]
    return {
        "overall": ["Nothing is established."],
        "sampler": "tpe",
        "arms": [compared(arm, i, trials, most, known) for i, arm in enumerate(arms)],
        "contrasts": contrasts,
        "budget": points,
        "budget_verdicts": [
            judged(point, "supported" if known else "no verdict")
            for point in points
            if point["n_trials"] in (trials, most)
        ],
    }


def compared(arm: str, number: int, trials: int, most: int, known: bool) -> Record:
    """Make an arm whose losses fall with the number of trials, lower by 0.01 for each arm before it."""
    losses = [None if not known else 1 + 1 / n - 0.01 * number for n in range(1, most + 1)]
    return {"arm": arm, "running_best": losses[:trials], "expected_best": losses, "expected_test_loss": losses}


def at_budget(arm: str, reference: str, n: int, most: int, known: bool = True) -> Record:
    """Make an effect that falls from +2 % after one trial to -2 % after the most, and lies within 1 %, or 0.8 %."""
    effect = 2 - 4 * math.log(n) / math.log(most)
    ends = {
        "equivalence_ci_low": -0.8,
        "equivalence_ci_high": 0.8,
        "ci_low": -1.0,
        "ci_high": 1.0,
        "effect_percent": 0.0,
    }
    names = {"arm": arm, "reference": reference, "n_trials": n}
    return {**names, **{key: effect + by if known else None for key, by in ends.items()}}


def judged(point: Record, verdict: str, **changes: Any) -> Record:
    """Make the verdict on a contrast at a budget."""
    label = f"{point['n_trials']} times the published budget, random search"
    reason = "a run that may win failed" if verdict == "no verdict" else None
    rest = {"label": label, "verdict": verdict, "reason": reason, "replicates_needed": 14, "decided_from": 13}
    return {**point, **rest, **changes}


def dose(strengths: Sequence[float] = (0.0, 0.001, 0.01, 0.1, 1.0), known: bool = True, settings: int = 2) -> Record:
    """Make a dose-response that rises by 0.1 a strength; or one without its first mean and all lower ends."""
    values = [1.0 + 0.1 * i for i in range(len(strengths))]
    curve: dict[str, list[float | None]] = {
        "mean": list(values), "ci_low": [v - 0.05 for v in values], "ci_high": [v + 0.05 for v in values],
    }  # fmt: skip
    if not known:
        curve = {"mean": [None, *values[1:]], **dict.fromkeys(("ci_low", "ci_high"), [None] * len(values))}
    names = ("validation_loss", "test_loss", *(link.name for link in MEASURED))
    first, *others = (
        {"lr": 0.05, "weight_decay": 0.3 * i, "strengths": list(strengths), "n_seeds": 5, **dict.fromkeys(names, curve)}
        for i in range(settings)
    )
    return {**first, "others": others}


def replication(epochs: int = 10, runs: int = 3, marked: bool = True) -> Record:
    """Make the three rows, each 0.1 above the one before; `marked` says whether published losses belong to them."""
    rows: list[Record] = []
    for name, loss in (("baseline", 1.198), ("regularized_fresh", 1.396), ("regularized_continued", 1.396)):
        curves = [[2 - 0.05 * e + 0.03 * r + 0.1 * len(rows) for e in range(epochs)] for r in range(runs)]
        made = [{"validation_loss": curve} for curve in curves]
        rows.append({"row": name, "published": loss if marked else None, "runs": made})
    return {"rows": rows}


EVERY: dict[str, Callable[[], "Figure"]] = {
    "budget": lambda: figures.budget(summary()),
    "comparison": lambda: figures.comparison(source(failed=[("baseline", 0, 0)])),
    "search": lambda: figures.search(source(dead=1), summary()),
    "paired": lambda: figures.paired(summary()),
    "links": lambda: figures.links(summary()),
    "spectra": lambda: figures.spectra(source()),
    "dose_response": lambda: figures.dose_response(dose()),
    "replication": lambda: figures.replication(replication()),
}


def write_figures(folder: Path) -> None:
    for name, draw in EVERY.items():
        figures.save(draw(), folder / f"{name}.png")
