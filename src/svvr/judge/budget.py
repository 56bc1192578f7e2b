"""What random search gives at each budget, exact over one pooled random design that all arms share.

Each of R replicates is a design of N points, every point trained on S seeds. Of n trials drawn from the M = R N points
without replacement the one with the lowest validation loss wins. The i-th best point (from 0) wins with probability
C(M - 1 - i, n - 1) / C(M, n), so the expectation over all searches is a weighted sum: nothing is resampled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svvr.core.files import finite_or_none
from svvr.judge import statistics

if TYPE_CHECKING:
    from svvr.core.params import Params

Floats = npt.NDArray[np.float64]
NEGLIGIBLE = 1e-12  # a probability at which no finite loss could be seen in the result


@dataclass(frozen=True)
class Design:
    """An arm's runs of the design; NaN where a run failed.

    Attributes:
        validation: (R, N, S) validation losses in nats: replicate, point, seed.
        test: (R, N, S) logarithms of the test losses.
    """

    validation: Floats
    test: Floats

    def without(self, replicate: int) -> "Design":
        """Return the design without one of its replicates."""
        return Design(np.delete(self.validation, replicate, 0), np.delete(self.test, replicate, 0))


def design(runs: pd.DataFrame) -> Design:
    """Arrange an arm's runs.

    Args:
        runs: of one arm, as from `tables.design`.

    Raises:
        ValueError: where a run is missing or stands twice.
    """
    axes = ["replicate", "point", "seed_index"]
    shape = tuple(int(runs[axis].nunique()) for axis in axes)
    if runs.duplicated(axes).any() or len(runs) != np.prod(shape):
        raise ValueError(f"design: got {len(runs)} runs, expected each of {' x '.join(map(str, shape))} once")
    ordered = runs.sort_values(axes)
    validation, test = (ordered[name].to_numpy(np.float64).reshape(shape) for name in ("validation_loss", "test_loss"))
    return Design(validation, np.log(test))


def win_probabilities(n_points: int, n_trials: int) -> Floats:
    """Return the probability (n_points,) that the i-th best of all points is the best of n trials."""
    i = np.arange(1, n_points)
    ratios = np.maximum(n_points - i + 1 - n_trials, 0) / (n_points - i)  # of one probability to the one before
    return n_trials / n_points * np.cumprod(np.concatenate([[1.0], ratios]))


def expected(of: Design, n_trials: Sequence[int]) -> tuple[Floats, Floats]:
    """Return what random search is expected to give at each budget.

    For each seed the points are ordered by its validation losses, and the winner is told by its other seeds, since
    its own would flatter it; then the mean over seeds is taken. A failed run sorts last: it wins only where all drawn
    ones failed, which is ignored where it is as good as impossible.

    Args:
        of: an arm's runs, S >= 2 seeds.
        n_trials: budgets, each from 1 to M.

    Returns:
        The expected log test loss of the winner and its expected validation loss (nats), (budgets,) each; NaN where
        a point that may win lacks its figure because a run failed.
    """
    R, N, S = of.validation.shape
    validation, test = of.validation.reshape(R * N, S), of.test.reshape(R * N, S)
    weights = np.array([win_probabilities(R * N, n) for n in n_trials])
    sums = np.zeros((2, len(n_trials)))
    for q in range(S):
        order = np.argsort(validation[:, q], kind="stable")  # NaN last
        others = np.delete(test, q, axis=1).mean(1)
        for row, values in enumerate((others[order], validation[order, q])):
            lost = np.isnan(values)
            sums[row] += weights @ np.where(lost, 0, values)
            sums[row, (weights[:, lost] > NEGLIGIBLE).any(1)] = np.nan
    return sums[0] / S, sums[1] / S


def effects(arm: Design, reference: Design, n_trials: Sequence[int]) -> tuple[Floats, Floats]:
    """Return the effect at each budget, arm minus reference in log test loss, and its standard error.

    The standard error is the jackknife's over replicates, which are independent of each other.

    Returns:
        (budgets,) each; NaN where either side has none.

    Source: Efron & Stein 1981, The jackknife estimate of variance.
    """

    def effect(one: Design, other: Design) -> Floats:
        return expected(one, n_trials)[0] - expected(other, n_trials)[0]

    R = len(arm.validation)
    left_out = np.array([effect(arm.without(r), reference.without(r)) for r in range(R)])
    deviations = left_out - left_out.mean(0)
    return effect(arm, reference), np.sqrt((R - 1) / R * (deviations**2).sum(0))


def compare(params: "Params", designs: Mapping[str, Design], contrasts: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Compare arms at every budget from 1 trial to the points of a replicate.

    Args:
        params: `compare`, `tuning.trials` and `budget.points` are read.
        designs: arm -> its runs.
        contrasts: (arm, reference).

    Returns:
        `budget`: a row a contrast and budget, the effect and its intervals in percent (None where runs failed).
        `budget_verdicts`: the verdict rule at the tuning budget and at the largest one, with the smallest budget from
        which on the effect's sign is decided, and the number of replicates that would decide where it is not.
    """
    n_trials = range(1, params.budget.points + 1)
    rows, verdicts = [], []
    for arm, reference in contrasts:
        curve = _curve(params, designs[arm], designs[reference], n_trials)
        names = {"arm": arm, "reference": reference}
        rows += [{**names, "n_trials": n, **point} for n, point in zip(n_trials, curve, strict=True)]
        decided = _decided_from(curve)
        for n, label in budgets(params):
            found = _verdict(params, designs[arm], designs[reference], n)
            verdicts.append({**names, "n_trials": n, "label": label, **curve[n - 1], **found, "decided_from": decided})
    return {"budget": rows, "budget_verdicts": verdicts}


def budgets(params: "Params") -> list[tuple[int, str]]:
    """Return the budgets at which a verdict is given, each with its label; those beyond the design are left out."""
    trials, points = params.tuning.trials, params.budget.points
    times = {2: "twice", 3: "three times", 4: "four times"}.get(round(points / trials), f"{points / trials:.2g} times")
    largest = [(points, f"{times} the published budget")] if points > trials else []
    return [*([(trials, "published budget, random search")] if trials <= points else []), *largest]


def curves(params: "Params", of: Design) -> dict[str, list[float | None]]:
    """Return what an arm is expected to reach at each budget: `expected_best` (validation) and `expected_test_loss`."""
    test, validation = expected(of, range(1, params.budget.points + 1))
    return {
        "expected_best": [finite_or_none(each) for each in validation],
        "expected_test_loss": [finite_or_none(each) for each in np.exp(test)],
    }


def late_gain(params: "Params", arm: Design, reference: Design) -> float | None:
    """Return by how much the effect moves (as a logarithm) over the second half of the budget; None if unknown."""
    half, whole = effects(arm, reference, [params.budget.points // 2, params.budget.points])[0]
    return finite_or_none(whole - half)


def _curve(params: "Params", arm: Design, reference: Design, n_trials: Sequence[int]) -> list[dict[str, float | None]]:
    effect, error = effects(arm, reference, n_trials)
    ends: dict[str, Floats] = {"effect_percent": effect}
    for name, level in (("equivalence_ci", params.compare.equivalence_level), ("ci", params.compare.level)):
        half = statistics.student_t(level, len(arm.validation)) * error
        ends |= {f"{name}_low": effect - half, f"{name}_high": effect + half}
    columns = {name: [finite_or_none(100 * each) for each in np.expm1(values)] for name, values in ends.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _verdict(params: "Params", arm: Design, reference: Design, n: int) -> dict[str, Any]:
    """Apply the verdict rule at a budget of n trials."""
    (effect,), (error,) = effects(arm, reference, [n])
    R, rule = len(arm.validation), params.compare
    if np.isnan(effect) or R < statistics.MIN_STUDIES:
        reason = "a run that may win failed" if np.isnan(effect) else "fewer than 3 replicates: a smoke run"
        return {"verdict": "no verdict", "reason": reason, "replicates_needed": None}

    def decide(replicates: int) -> str:
        # at another number of replicates, were effect and spread to stay as observed
        scaled = error * np.sqrt(R / replicates)
        halves = [statistics.student_t(level, replicates) * scaled for level in (rule.equivalence_level, rule.level)]
        inner, outer = ((effect, effect - half, effect + half) for half in halves)
        return statistics.decide(inner, outer, rule.margin)

    needed = None
    if (decision := decide(R)) == "inconclusive":
        more = range(R + 1, statistics.MAX_STUDIES_NEEDED + 1)
        needed = next((replicates for replicates in more if decide(replicates) != "inconclusive"), None)
    return {"verdict": decision, "reason": None, "replicates_needed": needed}


def _decided_from(curve: Sequence[Mapping[str, float | None]]) -> int | None:
    """Return the smallest budget from which on the interval excludes 0 on one side; None if the last does not."""
    signs = [
        0 if point["ci_low"] is None or point["ci_high"] is None else (point["ci_low"] > 0) - (point["ci_high"] < 0)
        for point in curve
    ]
    if not signs[-1]:
        return None
    return 1 + max((i + 1 for i, sign in enumerate(signs) if sign != signs[-1]), default=0)
