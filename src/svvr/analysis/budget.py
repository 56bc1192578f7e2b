"""What random search gives at each budget, exact over one pooled random design that all arms share.

Each of R replicates is a design of N points, every point trained on S seeds. A trial is a run, one of P = R N S. The
best of n drawn without replacement is the i-th best run (from 0) with probability C(P - 1 - i, n - 1) / C(P, n), so
the expectation over all searches is a weighted sum: nothing is resampled, and no numbering of the seeds matters.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svvr.analysis import statistics
from svvr.params import Params
from svvr.records import Row, finite_or_none

Floats = npt.NDArray[np.float64]
Ends = tuple[Any, Any, Any]  # effect, low, high: numbers or arrays
EPS = float(np.finfo(np.float64).eps)  # a probability below it does not show in the result


@dataclass(frozen=True)
class Design:
    """An arm's runs: validation losses (R, N, S) in nats and log test losses (R, N, S), NaN where a run failed."""

    validation: Floats
    test: Floats


def design(runs: pd.DataFrame) -> Design:
    """Arrange the runs of one arm, a frame as from `tables.design`."""
    axes = ["replicate", "point"]  # a point's seeds stay in the order of the record
    ordered, shape = runs.sort_values(axes, kind="stable"), (*runs[axes].nunique(), -1)
    validation, test = (ordered[name].to_numpy().reshape(shape) for name in ("validation_loss", "test_loss"))
    return Design(validation, np.log(test))


def win_probabilities(n_runs: int, n_trials: int) -> Floats:
    """Return the probability (n_runs,) that the i-th best of all runs is the best of n trials."""
    i = np.arange(1, n_runs)
    ratios = np.maximum(n_runs - i + 1 - n_trials, 0) / (n_runs - i)  # of one probability to the one before
    return n_trials / n_runs * np.cumprod(np.concatenate([[1.0], ratios]))


def expected(of: Design, n_trials: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the winner's expected log test loss and validation loss (nats) at each budget, (budgets,) each.

    Runs are ordered by validation loss, failed ones last. The winner is scored on its point's other seeds, since its
    own would flatter it. NaN where a run that may win has no figure.
    """
    S = of.validation.shape[-1]
    validation, test = of.validation.ravel(), of.test.reshape(-1, S)
    others = np.stack([np.delete(test, q, axis=1).mean(1) for q in range(S)], axis=1).ravel()
    order = np.argsort(validation, kind="stable")  # NaN last
    weights = np.array([win_probabilities(len(order), n) for n in n_trials])
    found = []
    for values in (others[order], validation[order]):
        lost = np.isnan(values)
        sums = weights @ np.where(lost, 0, values)
        found.append(np.where(weights[:, lost].sum(1) > EPS, np.nan, sums))
    return found[0], found[1]


def effects(arm: Design, reference: Design, n_trials: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the log ratio of test losses at each budget and its delete-one-replicate jackknife error.

    Both are NaN where either is unknown. Source: Efron & Stein 1981, The jackknife estimate of variance.
    """

    def effect(keep: npt.NDArray[np.intp]) -> Floats:
        one, other = (Design(each.validation[keep], each.test[keep]) for each in (arm, reference))
        return expected(one, n_trials)[0] - expected(other, n_trials)[0]

    every = np.arange(len(arm.validation))
    left_out = np.array([effect(np.delete(every, r)) for r in every])
    error = np.sqrt((len(every) - 1) / len(every) * ((left_out - left_out.mean(0)) ** 2).sum(0))
    return np.where(np.isnan(error), np.nan, effect(every)), error


def compare(
    params: Params, designs: Mapping[str, Design], contrasts: Sequence[tuple[str, str]]
) -> dict[str, list[Row]]:
    """Compare arms at every budget up to the points of a replicate: effects and intervals in percent, None if unknown.

    Returns the rows `budget`, and `budget_verdicts` at the budget of tuning and at the largest; `decided_from` is the
    smallest budget from which on the sign is decided.
    """
    rows, verdicts, points = [], [], params.budget.points
    judged = sorted({params.tuning.trials, points}) if params.tuning.trials <= points else []
    for arm, reference in contrasts:
        names: Row = {"arm": arm, "reference": reference}
        effect, error = effects(designs[arm], designs[reference], range(1, points + 1))
        curve = [names | {"n_trials": n} | point for n, point in enumerate(percents(params, effect, error), 1)]
        for n in judged:
            found = verdict(params, effect[n - 1], error[n - 1]) | {"decided_from": _decided_from(curve)}
            verdicts.append(curve[n - 1] | {"label": f"random search, {n} trials"} | found)
        rows += curve
    return {"budget": rows, "budget_verdicts": verdicts}


def _intervals(params: Params, effect: Any, error: Any) -> tuple[Ends, Ends]:
    levels = params.compare.equivalence_level, params.compare.level
    halves = [statistics.student_t(level, params.budget.replicates) * error for level in levels]
    inner, outer = ((effect, effect - half, effect + half) for half in halves)
    return inner, outer


def percents(params: Params, effect: Floats, error: Floats) -> list[Row]:
    """Return effects with both intervals in per cent, None where unknown, from log ratios and errors (n,)."""
    inner, outer = _intervals(params, effect, error)
    columns = dict(zip(("effect_percent", *statistics.ENDS), (*inner, *outer[1:]), strict=True))
    frame = {name: [finite_or_none(100 * each) for each in np.expm1(values)] for name, values in columns.items()}
    return [dict(zip(frame, row, strict=True)) for row in zip(*frame.values(), strict=True)]


def verdict(params: Params, effect: float, error: float) -> Row:
    """Return the verdict on a log ratio, or why there is none, and how many replicates would decide."""
    R, rule = params.budget.replicates, params.compare
    row: Row = {"verdict": "no verdict", "within_margin": statistics.within_margin(effect, rule.margin)}
    row |= {"reason": None, "replicates_needed": None}
    if np.isnan(effect) or R < statistics.MIN_STUDIES:
        reason = "a run that may win failed" if np.isnan(effect) else "fewer than 3 replicates: a smoke run"
        return row | {"reason": reason}
    row["verdict"] = statistics.decide(*_intervals(params, effect, error), rule.margin)
    if row["verdict"] == "undecided":
        levels = rule.equivalence_level, rule.level
        row["replicates_needed"] = statistics.needed(effect, error * math.sqrt(R), R + 1, rule.margin, *levels)
    return row


def _decided_from(curve: Sequence[Row]) -> int | None:
    """Return the smallest budget from which on the interval excludes 0 on one side; None if the last does not."""
    signs = [0 if row["ci_low"] is None else (row["ci_low"] > 0) - (row["ci_high"] < 0) for row in curve]
    if not signs[-1]:
        return None
    return 1 + max((row["n_trials"] for row, sign in zip(curve, signs, strict=True) if sign != signs[-1]), default=0)
