"""Where hyperparameters come from: Optuna studies, and one random design that all arms share."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import optuna

from svvr.params import SHARED, Params, Tuning
from svvr.records import Row
from svvr.seeds import budget_seeds, derive, tuning_seeds

Asked = Sequence[tuple[dict[str, float], int]]  # hyperparameters and seed of each run


class Score(Protocol):
    """The validation loss of a run in nats, at its last and its best epoch; None if the run failed."""

    @property
    def validation_loss_last(self) -> float | None: ...

    @property
    def validation_loss_best(self) -> float | None: ...


def tune(params: Params, arm: str, evaluate: Callable[[Asked], Sequence[Score]]) -> list[Row]:
    """Run an arm's independent studies in lockstep: ask all of them, evaluate, tell in the order asked.

    Args:
        params: budget, sampler, ranges and selection rule are read.
        arm: its name; a study's sampler is seeded by root seed, arm and study.
        evaluate: trains one round of runs, of all studies at once.

    Returns:
        The rows of metrics/tune, study by study. A trial fails if one of its seeds does.

    Raises:
        ValueError: where all trials of a study failed.
    """
    settings = params.tuning
    space: dict[str, optuna.distributions.BaseDistribution] = {
        name: optuna.distributions.FloatDistribution(low, high, log=True)
        for name, (low, high) in params.arms[arm].ranges(settings.space).items()
    }
    numbers = range(settings.studies)
    studies = [_study(settings, derive(params.seed, "sampler", arm, number)) for number in numbers]
    seeds = [tuning_seeds(params.seed, number, settings.seeds_per_trial) for number in numbers]
    trials: list[list[list[Row]]] = [[] for _ in numbers]  # by study, trial and seed
    for start in range(0, settings.trials, settings.batch):
        n = min(settings.batch, settings.trials - start)
        asked = [(number, studies[number].ask(space)) for number in numbers for _ in range(n)]
        scores = iter(evaluate([(trial.params, seed) for number, trial in asked for seed in seeds[number]]))
        for number, trial in asked:
            head = {"study": number, "trial": trial.number}
            rows = [_row(head, seed, trial.params, next(scores), params.selection) for seed in seeds[number]]
            _tell(studies[number], trial, _objective(rows))
            trials[number].append(rows)
    return [row for number in numbers for row in _with_winner(arm, number, trials[number])]


def _study(settings: Tuning, seed: int) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if settings.sampler == "random":
        return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, n_startup_trials=settings.startup_trials))


def _tell(study: optuna.Study, trial: optuna.Trial, objective: float | None) -> None:
    states = optuna.trial.TrialState
    study.tell(trial, objective, state=states.FAIL if objective is None else states.COMPLETE)


def _row(head: Row, seed: int, hyperparameters: dict[str, float], score: Score, selection: str) -> Row:
    by_rule = {"last_epoch": score.validation_loss_last, "best_epoch": score.validation_loss_best}
    return {
        **head,
        "seed": seed,
        **{"lr": 0.0, "strength": 0.0, "weight_decay": 0.0},  # 0 where the arm lacks one
        **hyperparameters,
        "state": "failed" if by_rule[selection] is None else "complete",
        "validation_loss": by_rule[selection],
        "validation_loss_last": score.validation_loss_last,
        "validation_loss_best": score.validation_loss_best,
    }


def _objective(rows: Sequence[Row]) -> float | None:
    """Return the mean validation loss over a trial's seeds, None if one of them failed."""
    losses = [row["validation_loss"] for row in rows]
    return None if None in losses else math.fsum(losses) / len(losses)


def _with_winner(arm: str, study: int, trials: Sequence[Sequence[Row]]) -> list[Row]:
    """Mark the complete trial of the lowest objective, the first of equals."""
    objectives = [math.inf if (found := _objective(rows)) is None else found for rows in trials]
    best = int(np.argmin(objectives))
    if objectives[best] == math.inf:
        raise ValueError(
            f"arm {arm}, study {study}: all {len(trials)} trials failed, expected at least one to converge"
        )
    return [{**row, "winner": number == best} for number, rows in enumerate(trials) for row in rows]


def no_better_than_chance(rows: Sequence[Row], classes: int) -> bool:
    """Tell whether no study's winner has a mean validation loss below ln(classes) nats, that of a guess."""
    losses: dict[int, list[float]] = {}
    for row in rows:
        if row["winner"]:
            losses.setdefault(row["study"], []).append(row["validation_loss"])
    return all(math.fsum(each) / len(each) >= math.log(classes) for each in losses.values())


class Draw(NamedTuple):
    """A run of the random design: a point of a replicate, both numbered from 0, on one of the replicate's seeds."""

    replicate: int
    point: int
    seed: int
    hyperparameters: dict[str, float]


def design(params: Params, arm: str) -> list[Draw]:
    """Return an arm's runs of the random design: every point of every replicate, on the replicate's seeds.

    A coordinate of a point becomes a hyperparameter, log-uniform in the arm's range; all arms share lr, weight_decay
    and strength's, and a penalty's own hyperparameters (by name) take the further ones.
    """
    settings, ranges = params.budget, params.arms[arm].ranges(params.tuning.space)
    names = (*SHARED, *sorted(set(ranges) - set(SHARED)))
    draws = []
    for replicate in range(settings.replicates):
        for number, point in enumerate(points(params.seed, replicate, settings.points, len(names))):
            coordinates = dict(zip(names, point, strict=True))
            hyperparameters = {
                name: float(low * (high / low) ** coordinates[name]) for name, (low, high) in ranges.items()
            }
            seeds = budget_seeds(params.seed, replicate, settings.seeds)
            draws += [Draw(replicate, number, seed, hyperparameters) for seed in seeds]
    return draws


def points(root: int, replicate: int, n: int, dimensions: int) -> npt.NDArray[np.float64]:
    """Return a replicate's n points (n, dimensions >= 3) in [0, 1): a scrambled Sobol design (Sobol' 1967, Owen 1998).

    Scrambling acts on each dimension alone, so the first three need not change where a penalty adds more: those come
    from a wider engine with a stream of its own.
    """
    shared = _sobol(len(SHARED), n, derive(root, "design", replicate))
    further = _sobol(dimensions, n, derive(root, "design", replicate, "hyperparameters"))[:, len(SHARED) :]
    return np.hstack([shared, further])


def _sobol(dimensions: int, n: int, seed: int) -> npt.NDArray[np.float64]:
    from scipy.stats import qmc  # takes a second to import, which studies need not wait for

    engine = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng(seed))
    exponent = (n - 1).bit_length()  # a power of two keeps the balance; the first n of it are spread nearly so
    found: npt.NDArray[np.float64] = engine.random_base2(exponent)[:n]
    return found
