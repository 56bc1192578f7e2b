"""Optuna studies of an arm: ask, evaluate anywhere, tell in the order asked."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna

from svvr.core.seeds import derive, tuning_seeds

if TYPE_CHECKING:
    from svvr.core.params import Tuning

Ranges = Mapping[str, tuple[float, float]]
Losses = Mapping[str, float | None]  # a run's loss in nats under each selection rule, None where it diverged
Asked = Sequence[tuple[dict[str, float], int]]  # knobs and seed of each run
Evaluate = Callable[[Asked], Sequence[Losses]]


def sampler(name: str, seed: int, startup_trials: int) -> optuna.samplers.BaseSampler:
    """Make an Optuna sampler.

    Raises:
        ValueError: for a name other than tpe or random.
    """
    seed %= 2**32  # what numpy's legacy generator takes
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup_trials)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    raise ValueError(f"tuning.sampler: got {name!r}, expected tpe or random")


def tune(
    root: int, arm: str, ranges: Ranges, settings: "Tuning", selection: str, evaluate: Evaluate
) -> list[dict[str, Any]]:
    """Run an arm's independent studies in lockstep.

    Args:
        root: seed of the experiment.
        arm: its name; sampler seeds derive from root, arm and study.
        ranges: knob -> (low, high) of its log-uniform range.
        settings: the budget and the sampler.
        selection: the rule whose losses make the objective.
        evaluate: trains runs; it is called with one round of all studies at a time.

    Returns:
        For each study its `study`, `best` (knob -> value), `objective` and all `trials`.

    Raises:
        ValueError: where every trial of a study failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        knob: optuna.distributions.FloatDistribution(low, high, log=True) for knob, (low, high) in ranges.items()
    }
    searches = [
        optuna.create_study(
            sampler=sampler(settings.sampler, derive(root, "sampler", arm, study), settings.startup_trials)
        )
        for study in range(settings.studies)
    ]
    seeds = [tuning_seeds(root, study, settings.seeds_per_trial) for study in range(settings.studies)]
    records: list[list[dict[str, Any]]] = [[] for _ in searches]
    for start in range(0, settings.trials, settings.batch):
        n = min(settings.batch, settings.trials - start)
        asked = [(study, search.ask(space)) for study, search in enumerate(searches) for _ in range(n)]
        losses = iter(evaluate([(trial.params, seed) for study, trial in asked for seed in seeds[study]]))
        for study, trial in asked:
            record = trial_record(
                trial.number, trial.params, seeds[study], [next(losses) for _ in seeds[study]], selection
            )
            records[study].append(record)
            failed = record["state"] == "failed"
            state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
            searches[study].tell(trial, record["objective"], state=state)
    return [{"study": study, **winner(arm, study, trials)} for study, trials in enumerate(records)]


def trial_record(
    number: int, params: dict[str, float], seeds: Sequence[int], losses: Sequence[Losses], selection: str
) -> dict[str, Any]:
    """Describe a trial; it fails where any of its runs diverged.

    Args:
        number: from 0.
        params: knob -> value.
        seeds: of its runs.
        losses: of its runs.
        selection: the rule that counts; `losses` of the record are those under it.
    """
    by_rule = {rule: [each[rule] for each in losses] for rule in losses[0]}
    counted = [loss for loss in by_rule[selection] if loss is not None]
    objective = math.fsum(counted) / len(counted) if len(counted) == len(losses) else None
    return {
        "number": number,
        "params": params,
        "state": "failed" if objective is None else "complete",
        "objective": objective,
        "seeds": list(seeds),
        "losses": by_rule[selection],
        "losses_by_rule": by_rule,
    }


def no_better_than_chance(studies: Sequence[Mapping[str, Any]], classes: int) -> bool:
    """Tell whether the winner of every study has the loss of a guess, ln(classes) nats, or a higher one."""
    return all(study["objective"] >= math.log(classes) for study in studies)


def winner(arm: str, study: int, trials: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Pick the complete trial of the lowest objective, the first of equals.

    Raises:
        ValueError: where no trial is complete.
    """
    complete = [trial for trial in trials if trial["state"] == "complete"]
    if not complete:
        raise ValueError(
            f"arm {arm}, study {study}: all {len(trials)} trials failed, expected at least one to converge"
        )
    best = min(complete, key=lambda trial: float(trial["objective"]))
    return {"best": best["params"], "objective": best["objective"], "trials": list(trials)}
