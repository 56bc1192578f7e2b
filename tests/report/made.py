"""Small records of 1 to 16 arms, the same at every call."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from svvr.links import LINKS, MEASURED
from svvr.report import budget, comparison, dose_response, forest, links, paired, replication, search, spectra

NAMES = ("baseline", "regularized", "weight_decay", "weight_decay_regularized", "log_det")
CONTRASTS = ("forest", "budget", "paired", "links")
FIGURES = (*CONTRASTS, "comparison", "spectra", "search", "dose_response", "replication")
STUDIES, SEEDS, TRIALS, POINTS, EPOCHS = 6, 3, 20, 64, 20
LEVELS = {"level": 0.95, "equivalence_level": 0.9}
JOINT = {"level": 1 - 0.05 / 3, "equivalence_level": 1 - 0.1 / 3}


def arms(n: int) -> list[str]:
    """Return n names, one of them as long as names may be."""
    long = "activation_decorrelation_of_the_hidden_layers_with_all_its_words"
    return [*NAMES, long, *(f"variant_{i}" for i in range(n))][:n]


def pairs(n: int) -> list[tuple[str, str]]:
    """Return (arm, reference) as in the shipped params where there are five arms."""
    names = arms(n)
    if n < 4:
        return [(arm, names[0]) for arm in names[1:]]
    return [(names[1], names[0]), (names[3], names[2]), (names[1], names[2]), *((arm, names[0]) for arm in names[4:])]


def effect(middle: float, half: float) -> dict[str, float | None]:
    """Return an effect in per cent with its intervals."""
    ends = {"equivalence_ci_low": -0.8, "equivalence_ci_high": 0.8, "ci_low": -1, "ci_high": 1, "effect_percent": 0}
    return {key: 100 * float(np.expm1(middle + side * half)) for key, side in ends.items()}


def verdict(row: dict[str, Any], margin: float) -> dict[str, Any]:
    """Return a verdict by the sign of the interval alone, and whether the effect lies within the margin."""
    if row["effect_percent"] is None:
        return {"verdict": "no verdict", "within_margin": None}
    word = "better" if row["ci_high"] < 0 else "worse" if row["ci_low"] > 0 else "undecided"
    return {"verdict": word, "within_margin": abs(row["effect_percent"]) < margin}


def records(n: int, failed: bool = False, studies: int = STUDIES) -> dict[str, Any]:
    """Return a summary of n arms; `failed` takes the first contrast's effects away."""
    rng = np.random.default_rng(n)
    contrasts, budget, judged = [], [], []
    for i, (arm, reference) in enumerate(pairs(n)):
        middle = float(rng.normal(0, 0.03)) if i else -0.005
        for link in LINKS:
            scale = 1 if link not in MEASURED else 10
            row: dict[str, Any] = {"arm": arm, "reference": reference, "link": link.name, "margin_percent": 1.0 * scale}
            row |= LEVELS if scale == 1 else JOINT
            effects = rng.normal(middle * scale, 0.01 * scale, (studies, SEEDS))
            row |= effect(float(effects.mean()), (0.004 + 0.02 * (i % 3)) * scale)
            row |= {"n_studies": studies, "n_pairs": studies * SEEDS, "studies_needed": 12, "reason": None, "flags": []}
            row |= {"study_effects": (100 * effects.mean(1)).tolist(), "pair_effects": (100 * effects).tolist()}
            if failed and i == 0:
                row |= dict.fromkeys(effect(0, 0)) | {"study_effects": [], "pair_effects": [], "reason": "a run failed"}
            contrasts.append(row | verdict(row, row["margin_percent"]))
        for n_trials in range(1, POINTS + 1):
            point = {"arm": arm, "reference": reference, "n_trials": n_trials}
            point |= effect(middle + 0.05 / n_trials, 0.004 + n_trials * 3e-4)
            if failed and n_trials < 10:
                point |= dict.fromkeys(effect(0, 0))
            budget.append(point)
            if n_trials in (TRIALS, POINTS):
                judged.append({**point, **verdict(point, 1.0), "reason": None, "replicates_needed": 9})
    entries = [{"arm": arm, "running_best": [1.0] * TRIALS} for arm in arms(n)]
    return {"arms": entries, "contrasts": contrasts, "budget": budget, "budget_verdicts": judged}


def trials(n: int, failed: bool = False) -> pd.DataFrame:
    """Return the trials of n arms, a study's lowest loss its winner; `failed` fails the highest learning rates."""
    rng, rows = np.random.default_rng(n), []
    for arm, study in itertools.product(arms(n), range(STUDIES)):
        lr = 10 ** rng.uniform(-4, -1, TRIALS)
        loss = 1 + 0.4 * np.log10(lr / 2e-3) ** 2 + rng.normal(0, 0.02, TRIALS) + 100.0 * (lr > 0.07)
        if failed:
            loss[lr > 0.05] = np.nan
        rows += [
            {
                "arm": arm,
                "study": study,
                "trial": i,
                "lr": lr[i],
                "validation_loss": loss[i],
                "winner": i == np.nanargmin(loss),
            }
            for i in range(TRIALS)
        ]
    return pd.DataFrame(rows)


def curves(n: int, failed: bool = False, studies: int = STUDIES) -> pd.DataFrame:
    """Return learning curves of n arms; `failed` fails one run of the first arm and all of the last one."""
    epochs, frames = np.arange(1, EPOCHS + 1), []
    for (i, arm), study, seed in itertools.product(enumerate(arms(n)), range(studies), range(SEEDS)):
        noise = np.random.default_rng([i, study, seed]).normal(0, 0.01, EPOCHS)
        loss = 1 + np.exp(-epochs / (4 + 0.3 * i)) + 0.01 * i + 0.02 * study + noise
        frames.append(
            pd.DataFrame({"arm": arm, "study": study, "seed": seed, "epoch": epochs, "validation_loss": loss})
        )
    frame = pd.concat(frames, ignore_index=True)
    lost = (frame["arm"] == arms(n)[-1]) | ((frame["arm"] == "baseline") & (frame["study"] == 0) & (frame["seed"] == 0))
    return frame.assign(validation_loss=frame["validation_loss"].mask(lost)) if failed else frame


def values(n: int, failed: bool = False) -> pd.DataFrame:
    """Return singular values of three layers; `failed` takes the last arm away."""
    frames = []
    for (i, arm), study, (layer, k) in itertools.product(enumerate(arms(n)), range(4), enumerate((12, 20, 6), 1)):
        index = np.arange(1, k + 1)
        initial = 2 * (1 - index / (k + 1)) * (1 + 0.02 * study)
        values = {"index": index, "trained": initial ** (1 - 0.06 * i) * 1.5, "initial": initial}
        frames.append(pd.DataFrame({"arm": arm, "study": study, "seed": 0, "layer": layer, **values}))
    frame = pd.concat(frames, ignore_index=True)
    return frame[frame["arm"] != arms(n)[-1]] if failed else frame


def dose(strengths: Sequence[float] = (0, 0.01, 0.1, 1, 3), settings: int = 2, failed: bool = False) -> pd.DataFrame:
    """Return dose-response curves; `failed` takes the means at the last strength away."""
    quantities = ("validation_loss", "test_loss", *(link.name for link in MEASURED))
    rows = [
        {"penalty": "l2", "lr": 0.002 * (i + 1), "weight_decay": 0.4 * i, "quantity": quantity, "strength": strength,
         "mean": 1 + 0.1 * i + 0.05 * j, "ci_low": 0.97 + 0.1 * i + 0.05 * j, "ci_high": 1.03 + 0.1 * i + 0.05 * j}
        for i in range(settings) for quantity in quantities for j, strength in enumerate(strengths)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    frame.loc[failed & (frame["strength"] == strengths[-1]), ["mean", "ci_low", "ci_high"]] = np.nan
    return frame


def replicate(runs: int = 4, epochs: int = EPOCHS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the runs of the three rows, and the rows with their published losses."""
    published = {"baseline": 1.198, "regularized_fresh": 1.396, "regularized_continued": 1.396}
    rows = []
    for (i, row), seed in itertools.product(enumerate(published), range(runs)):
        losses = 1.1 + i / 9 + seed / 50 + 1 / np.arange(1, epochs + 1)
        rows.append({"row": row, "seed": seed, "validation_loss_curve": losses.tolist()})
    return pd.DataFrame(rows), pd.DataFrame({"row": list(published), "published": list(published.values())})


def figure(name: str, n: int, failed: bool = False, summary: dict[str, Any] | None = None) -> Figure:
    """Draw a figure of n arms."""
    record = summary or records(n, failed)
    drawn: dict[str, Callable[[], Figure]] = {
        "comparison": lambda: comparison.draw(curves(n, failed), record),
        "spectra": lambda: spectra.draw(values(n, failed), record),
        "search": lambda: search.draw(trials(n, failed)),
        "dose_response": lambda: dose_response.draw(dose(failed=failed)),
        "replication": lambda: replication.draw(*replicate()),
    }
    of_summary = {"forest": forest.draw, "budget": budget.draw, "paired": paired.draw, "links": links.draw}
    return drawn[name]() if name in drawn else of_summary[name](record)
