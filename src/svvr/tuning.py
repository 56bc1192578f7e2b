"""Where hyperparameters come from: Optuna studies, and one random design that all arms share."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd

from svvr.params import SHARED, Params, Tuning
from svvr.records import Row
from svvr.seeds import budget_seeds, derive, tuning_seeds
from svvr.training.run import Run, Score, score_row


def tune(params: Params, arm: str, evaluate: Callable[[Sequence[Run]], Sequence[Score]]) -> list[Row]:
    """Run an arm's independent studies in lockstep: ask all of them, evaluate a round of all, tell in the order asked.

    Returns the rows of metrics/tune, study by study. A trial fails if one of its seeds does; ValueError where all
    trials of a study failed. A study's sampler is seeded by root seed, arm and study.
    """
    settings = params.tuning
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in params.arms[arm].ranges(settings.space).items()
    }
    numbers, states = range(settings.studies), optuna.trial.TrialState
    studies = [_study(settings, derive(params.seed, "sampler", arm, number)) for number in numbers]
    seeds = [tuning_seeds(params.seed, number, settings.seeds_per_trial) for number in numbers]
    rows: list[Row] = []
    for start in range(0, settings.trials, settings.batch):
        n = min(settings.batch, settings.trials - start)
        asked = [(number, studies[number].ask(space)) for number in numbers for _ in range(n)]
        runs = [Run.of_arm(params, arm, trial.params, seed) for number, trial in asked for seed in seeds[number]]
        found = zip(runs, evaluate(runs), strict=True)
        for number, trial in asked:
            own = [_row(number, trial.number, *next(found)) for _ in seeds[number]]
            losses = [row["validation_loss"] for row in own]
            if None in losses:
                studies[number].tell(trial, state=states.FAIL)
            else:
                studies[number].tell(trial, math.fsum(losses) / len(losses))
            rows += own
    for number, study in enumerate(studies):
        if not study.get_trials(states=(states.COMPLETE,)):
            got = f"all {settings.trials} trials failed"
            raise ValueError(f"arm {arm}, study {number}: {got}, expected at least one to converge")
    best = [study.best_trial.number for study in studies]  # the first of equals
    rows.sort(key=lambda row: row["study"])
    return [row | {"winner": row["trial"] == best[row["study"]]} for row in rows]


def _study(settings: Tuning, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if settings.sampler == "random":
        return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.startup_trials))


def _row(study: int, trial: int, run: Run, score: Score) -> Row:
    row = {"study": study, "trial": trial} | score_row(run, score) | vars(score)
    del row["test_loss"]  # tuning has no test split
    return row


def no_better_than_chance(rows: Sequence[Row], classes: int) -> bool:
    """Tell whether no study's winner has a mean validation loss below ln(classes) nats, that of a guess."""
    winners = pd.DataFrame(rows).query("winner").astype({"validation_loss": "float64"})
    return bool((winners.groupby("study")["validation_loss"].mean() >= math.log(classes)).all())


def design(params: Params, arm: str) -> list[tuple[Row, Run]]:
    """Return an arm's runs of the random design, each with its `replicate` and `point`, both numbered from 0.

    A coordinate of a point becomes a hyperparameter, log-uniform in the arm's range; all arms share lr, weight_decay
    and strength's, and a penalty's own hyperparameters (by name) take the further ones.
    """
    settings, ranges = params.budget, params.arms[arm].ranges(params.tuning.space)
    names = (*SHARED, *sorted(set(ranges) - set(SHARED)))
    found: list[tuple[Row, Run]] = []
    for replicate in range(settings.replicates):
        for number, point in enumerate(points(params.seed, replicate, settings.points, len(names))):
            at = dict(zip(names, point, strict=True))
            hyperparameters = {name: float(low * (high / low) ** at[name]) for name, (low, high) in ranges.items()}
            seeds = budget_seeds(params.seed, replicate, settings.seeds)
            runs = [Run.of_arm(params, arm, hyperparameters, seed) for seed in seeds]
            found += [({"replicate": replicate, "point": number}, run) for run in runs]
    return found


def points(root: int, replicate: int, n: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Return a replicate's points (n, dimensions >= 3) in [0, 1): a scrambled Sobol design (Sobol' 1967, Owen 1998)."""
    # scrambling acts on each dimension alone, so the first three need not change where a penalty adds more
    shared = _sobol(len(SHARED), n, derive(root, "design", replicate))
    further = _sobol(dimensions, n, derive(root, "design", replicate, "hyperparameters"))[:, len(SHARED) :]
    return np.hstack([shared, further])


def _sobol(dimensions: int, n: int, seed: int) -> npt.NDArray[np.float64]:
    from scipy.stats import qmc  # takes a second to import, which studies need not wait for

    engine = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    exponent = (n - 1).bit_length()  # a power of two keeps the balance; the first n of it are spread nearly so
    found: npt.NDArray[np.float64] = engine.random_base2(exponent)[:n]
    return found
