"""The budget curve against brute force, real random searches, and surfaces whose answers are known."""

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from svvr.analysis import budget, statistics
from svvr.analysis.budget import Design
from tests.analysis import made

RNG = np.random.default_rng
Floats = npt.NDArray[np.float64]


def designed(R: int = 2, N: int = 4, S: int = 3, seed: int = 0) -> Design:
    rng = RNG(seed)
    return Design(rng.uniform(1, 2, (R, N, S)), rng.normal(0, 0.1, (R, N, S)))


def by_brute_force(of: Design, n: int) -> tuple[float, float]:
    """Average over every subset of n runs; NaN where a winner has no figure."""
    runs = list(np.ndindex(of.validation.shape))
    losses, bests = [], []
    for subset in itertools.combinations(runs, n):
        r, point, q = min(subset, key=lambda run: np.inf if np.isnan(of.validation[run]) else of.validation[run])
        losses.append(np.mean([of.test[r, point, other] for other in range(of.test.shape[2]) if other != q]))
        bests.append(of.validation[r, point, q])
    return float(np.mean(losses)), float(np.mean(bests))


@pytest.mark.parametrize("failed", [(), (0, 1), (0, 1, 2)])  # seeds of a point of each replicate
@pytest.mark.parametrize("n", range(1, 9))
def test_the_closed_form_is_the_mean_over_all_subsets(n: int, failed: tuple[int, ...]) -> None:
    """A failed run sorts last and spoils small budgets alone; a point's good run that only failed ones judge, all."""
    of = designed(N=2)
    for losses in (of.validation, of.test):
        for q in failed:
            losses[[0, 1], [1, 0], q] = np.nan
    found = [float(each[0]) for each in budget.expected(of, [n])]
    assert found == pytest.approx(by_brute_force(of, n), rel=1e-12, nan_ok=True)
    assert np.isnan(found[0]) == (len(failed) == 2 or n <= 2 * len(failed))
    other = Design(*(losses[:, :, ::-1] for losses in (of.validation, of.test)))
    assert found == pytest.approx([each[0] for each in budget.expected(other, [n])], rel=1e-12, nan_ok=True)


def test_a_failure_too_rare_to_see_spoils_nothing() -> None:
    of = designed(R=8, N=64, S=2)
    of.validation[0, :4], of.test[0, :4] = np.nan, np.nan  # 8 of 1024 runs: below 1e-16 from 8 trials on
    test, validation = budget.expected(of, [5, 20])
    assert np.isnan(test).tolist() == np.isnan(validation).tolist() == [True, False]
    of = designed(R=3, N=64, S=2)
    of.validation[0], of.test[0] = np.nan, np.nan  # a third of all runs; of what the jackknife leaves, half
    effect, error = budget.effects(of, designed(R=3, N=64, S=2, seed=1), [20, 40, 60])
    assert np.isnan(effect).tolist() == np.isnan(error).tolist() == [True, True, False]


def test_real_random_searches_agree() -> None:
    of, n, rng = designed(R=4, N=16, S=2, seed=3), 5, RNG(0)
    validation, test = of.validation.reshape(128), of.test.reshape(64, 2)[:, ::-1].reshape(128)
    found = []
    for _ in range(10_000):
        drawn = rng.choice(128, n, replace=False)
        found.append(test[drawn[np.argmin(validation[drawn])]])
    error = np.std(found) / np.sqrt(len(found))
    assert budget.expected(of, [n])[0][0] == pytest.approx(np.mean(found), abs=4 * error)


def test_the_standard_error_is_the_jackknife_s() -> None:
    arm, reference = designed(R=4, N=8, seed=1), designed(R=4, N=8, seed=2)

    def effect(keep: list[int]) -> float:
        one, other = (Design(each.validation[keep], each.test[keep]) for each in (arm, reference))
        return float(budget.expected(one, [3])[0][0] - budget.expected(other, [3])[0][0])

    parts = np.array([effect([r for r in range(4) if r != left]) for left in range(4)])
    (found,), (error,) = budget.effects(arm, reference, [3])
    assert found == effect([0, 1, 2, 3]) and error == pytest.approx(np.sqrt(3 * parts.var()))
    assert np.array_equal(budget.effects(arm, arm, [1, 5]), np.zeros((2, 2)))


def compare(designs: dict[str, Design], R: int, trials: int = made.N_TRIALS) -> dict[str, Any]:
    params = made.params()
    changes = {
        "budget": params.budget.model_copy(update={"replicates": R}),
        "tuning": params.tuning.model_copy(update={"trials": trials}),
    }
    return budget.compare(params.model_copy(update=changes), designs, [("a", "b")])


def two_arms(R: int, shift: float, gain: float, alike: bool) -> dict[str, Design]:
    """Return an arm whose log test losses are higher by shift, and by gain the better the point, and its reference."""
    reference, arm = (designed(R=R, N=made.POINTS, S=2, seed=2 if alike else seed) for seed in (2, 1))
    if alike:  # so that a point is as good whichever seed selects
        for of in (reference, arm):
            of.validation[..., 1] = of.validation[..., 0]
    return {"a": Design(arm.validation, arm.test + shift + gain * (2 - arm.validation)), "b": reference}


@pytest.mark.parametrize(
    "shift,gain,alike,verdict",
    [
        (-0.3, 0.0, False, "better"), (0.3, 0.0, False, "worse"), (0.0, 0.0, False, "undecided"),
        (0.001, 0.0, True, "equal"), (0.1, -0.14, True, "better"),  # the last one worse at a small budget
    ],
)  # fmt: skip
def test_intervals_and_verdicts_by_hand(shift: float, gain: float, alike: bool, verdict: str) -> None:
    designs = two_arms(4, shift, gain, alike)
    found = compare(designs, 4)
    effect, error = budget.effects(designs["a"], designs["b"], range(1, made.POINTS + 1))
    inner, outer = (stats.t.ppf((1 + level) / 2, 3) * error for level in (0.9, 0.95))
    ends = {"effect_percent": effect, "equivalence_ci_low": effect - inner, "equivalence_ci_high": effect + inner}
    for name, values in (ends | {"ci_low": effect - outer, "ci_high": effect + outer}).items():
        assert [row[name] for row in found["budget"]] == pytest.approx(100 * np.expm1(values))
    signs = np.sign(effect) * (np.abs(effect) > outer)
    same = [bool(signs[-1]) and (signs[k:] == signs[-1]).all() for k in range(made.POINTS)]
    assert gain == 0 or (signs[0] == 1 and same.index(True) > 1)
    for n, row in zip((made.N_TRIALS, made.POINTS), found["budget_verdicts"], strict=True):
        assert row.items() >= found["budget"][n - 1].items() and row["reason"] is None
        assert row["n_trials"] == n and row["label"] == f"random search, {n} trials"
        assert row["decided_from"] == (1 + same.index(True) if any(same) else None)
        assert row["within_margin"] == (abs(effect[n - 1]) < np.log(1.01))
        needed = statistics.needed(effect[n - 1], 2 * error[n - 1], 5, 0.01, 0.9, 0.95)
        assert row["replicates_needed"] == (needed if row["verdict"] == "undecided" else None)
    assert row["verdict"] == verdict


@pytest.mark.parametrize("R,failed,reason", [(2, 0, "fewer than 3 replicates"), (3, 2, "a run that may win failed")])
def test_no_verdict_and_why(R: int, failed: int, reason: str) -> None:
    designs = two_arms(R, -0.3, 0.0, False)
    for losses in (designs["a"].validation, designs["a"].test):
        losses[:failed] = np.nan
    rows = compare(designs, R)["budget_verdicts"]
    assert [row["verdict"] for row in rows] == 2 * ["no verdict"]
    assert all(row["reason"].startswith(reason) and (row["effect_percent"] is None) == (R == 3) for row in rows)
    assert compare(designs, R, trials=made.POINTS + 1)["budget_verdicts"] == []  # tuning's is beyond the design


def searched(points: Floats, rng: np.random.Generator) -> tuple[Design, Design]:
    """Train two arms at points (R, N, 2) on two seeds that share a part of their noise, as those of paired runs do."""
    plain = 0.1 + 1.5 * (points[..., 0] - 0.55) ** 2 + np.maximum(2 * (points[..., 0] - 0.85), 0)
    shared, designs = rng.normal(0, 0.008, (len(points), 1, 2)), []
    for loss in (plain + 0.3 * (points[..., 1] - 0.6) ** 2 - 0.02, plain):
        test = loss[..., None] + shared + rng.normal(0, 0.014, (*loss.shape, 2))
        designs.append(Design(np.exp(test + rng.normal(0, 0.015, test.shape)), test))
    return designs[0], designs[1]


@pytest.mark.slow
def test_intervals_cover_the_known_answer() -> None:
    """95 % intervals of 8 Sobol designs of 64 points at 5, 20 and 64 trials."""
    budgets, rng, n = [5, 20, 64], RNG(1), 200
    large = [[budget.expected(of, budgets)[0] for of in searched(rng.random((64, 64, 2)), rng)] for _ in range(60)]
    truth, hits = np.mean([arm - reference for arm, reference in large], axis=0), np.zeros(3)
    for _ in range(n):
        points = np.stack([stats.qmc.Sobol(2, rng=int(rng.integers(2**31))).random(64) for _ in range(8)])
        effect, error = budget.effects(*searched(points, rng), budgets)
        hits += np.abs(effect - truth) <= stats.t.ppf(0.975, 7) * error
    assert (np.abs(hits / n - 0.95) < 0.01 + 2 * np.sqrt(0.95 * 0.05 / n)).all(), hits / n
