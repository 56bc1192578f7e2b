"""Optuna studies of an arm: ask, evaluate anywhere, tell in the order asked."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna

from svvr.core.files import finite_or_none
from svvr.core.params import near_end
from svvr.core.seeds import derive, tuning_seeds

Ranges = Mapping[str, tuple[float, float]]
Losses = Mapping[str, float]  # a run's loss under each selection rule, NaN where it diverged
# From the parameters and seeds of trials to the losses of each of their seeds.
Evaluate = Callable[[Sequence[tuple[dict[str, float], Sequence[int]]]], Sequence[Sequence[Losses]]]
BOUNDARY = 0.05  # the share of a log range at its ends within which a winner is flagged in the record


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
    arm: str,
    ranges: Ranges,
    evaluate: Evaluate,
    *,
    studies: int,
    trials: int,
    seeds_per_trial: int,
    batch: int,
    sampler_name: str,
    startup_trials: int,
    selection: str,
) -> list[dict[str, Any]]:
    """Run an arm's independent studies in lockstep.

    Args:
        arm: its name; sampler seeds derive from it and the study.
        ranges: knob -> (low, high) of its log-uniform range.
        evaluate: trains trials; it is called with one round of all studies at a time.
        studies: number of studies.
        trials: trials a study.
        seeds_per_trial: runs a trial.
        batch: trials that a study asks for at once.
        sampler_name: tpe or random.
        startup_trials: random trials before TPE takes over.
        selection: the rule whose losses make the objective.

    Returns:
        For each study its `study`, `best` (knob -> value), `objective`, `on_boundary` and all `trials`.

    Raises:
        ValueError: where every trial of a study failed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        knob: optuna.distributions.FloatDistribution(low, high, log=True) for knob, (low, high) in ranges.items()
    }
    searches = [
        optuna.create_study(sampler=sampler(sampler_name, derive("sampler", arm, study), startup_trials))
        for study in range(studies)
    ]
    seeds = [tuning_seeds(study, seeds_per_trial) for study in range(studies)]
    records: list[list[dict[str, Any]]] = [[] for _ in range(studies)]
    for start in range(0, trials, batch):
        asked = [
            (study, searches[study].ask(space)) for study in range(studies) for _ in range(min(batch, trials - start))
        ]
        found = evaluate([(trial.params, seeds[study]) for study, trial in asked])
        for (study, trial), losses in zip(asked, found, strict=True):
            record = trial_record(trial.number, trial.params, seeds[study], losses, selection)
            records[study].append(record)
            failed = record["state"] == "failed"
            state = optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE
            searches[study].tell(trial, None if failed else record["objective"], state=state)
    return [{"study": study, **winner(arm, study, records[study], ranges)} for study in range(studies)]


def trial_record(
    number: int, params: dict[str, float], seeds: Sequence[int], losses: Sequence[Losses], selection: str
) -> dict[str, Any]:
    """Describe a trial; it fails where any of its runs diverged.

    Args:
        number: from 0.
        params: knob -> value.
        seeds: of its runs.
        losses: of its runs, nats, under each selection rule.
        selection: the rule that counts; `losses` of the record are those under it.
    """
    by_rule = {rule: [finite_or_none(each[rule]) for each in losses] for rule in losses[0]}
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


def winner(arm: str, study: int, trials: Sequence[Mapping[str, Any]], ranges: Ranges) -> dict[str, Any]:
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
    return {
        "best": best["params"],
        "objective": best["objective"],
        "on_boundary": [knob for knob, value in best["params"].items() if near_end(value, *ranges[knob], BOUNDARY)],
        "trials": list(trials),
    }


def summary(studies: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return the flat figures of an arm's studies; the objectives are those of winners, hence optimistic."""
    trials = [trial for study in studies for trial in study["trials"]]
    return {
        "n_studies": len(studies),
        "n_trials": len(trials),
        "n_failed": sum(trial["state"] == "failed" for trial in trials),
        "objective_mean_used_for_tuning": math.fsum(study["objective"] for study in studies) / len(studies),
    }
