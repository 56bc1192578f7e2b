"""The budget curve against brute force, real random searches, and made-up surfaces whose answers are known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from svvr.judge import budget
from svvr.judge.budget import Design
from svvr.search import design
from tests.judge.made import PARAMS

RNG = np.random.default_rng


def made(R: int = 2, N: int = 4, S: int = 3, seed: int = 0) -> Design:
    rng = RNG(seed)
    return Design(rng.uniform(1, 2, (R, N, S)), rng.normal(0, 0.1, (R, N, S)))


def by_brute_force(of: Design, n: int) -> tuple[float, float]:
    """Average over every subset of n points and every seed that may choose."""
    S = of.validation.shape[2]
    validation, test = of.validation.reshape(-1, S), of.test.reshape(-1, S)
    losses, bests = [], []
    for q, subset in itertools.product(range(S), itertools.combinations(range(len(test)), n)):
        best = min(subset, key=lambda i: np.inf if np.isnan(validation[i, q]) else validation[i, q])
        losses.append(np.mean([test[best, other] for other in range(S) if other != q]))
        bests.append(validation[best, q])
    return float(np.mean(losses)), float(np.mean(bests))


@pytest.mark.parametrize("n", range(1, 9))
def test_the_closed_form_is_the_mean_over_all_subsets(n: int) -> None:
    of = made()
    test, validation = budget.expected(of, [n])
    assert (test[0], validation[0]) == pytest.approx(by_brute_force(of, n), rel=1e-12)


@pytest.mark.parametrize("n", range(1, 9))
def test_a_failed_point_sorts_last_and_spoils_only_what_it_may_win(n: int) -> None:
    of = made()
    of.validation[0, 1] = of.test[0, 1] = np.nan  # every run of two points
    of.validation[1, 2] = of.test[1, 2] = np.nan
    test, validation = budget.expected(of, [n])
    if n <= 2:  # both may be all that is drawn
        assert np.isnan(test[0]) and np.isnan(validation[0])
    else:
        assert (test[0], validation[0]) == pytest.approx(by_brute_force(of, n), rel=1e-12)


def test_a_failure_that_is_as_good_as_impossible_is_ignored() -> None:
    of = made(R=4, N=64)
    of.validation[:, :4] = of.test[:, :4] = np.nan  # 16 of 256 points: all 12 drawn ones once in 1e17 searches
    test, validation = budget.expected(of, [3, 12])
    assert np.isnan(test[0]) and np.isnan(validation[0]) and np.isfinite([test[1], validation[1]]).all()


def test_a_winner_whose_other_runs_failed_has_no_result() -> None:
    of = made()
    best = divmod(int(np.argmin(of.validation[:, :, 0])), 4)
    of.validation[*best, 1] = of.test[*best, 1] = np.nan
    test, _ = budget.expected(of, [1, 8])
    assert np.isnan(test).all()


@pytest.mark.parametrize("M,n", [(8, 1), (8, 3), (512, 20), (512, 64), (5, 5)])
def test_the_probabilities_are_those_of_drawing_without_replacement(M: int, n: int) -> None:
    found = budget.win_probabilities(M, n)
    assert found.sum() == pytest.approx(1, rel=1e-12)
    for i in range(0, M, max(M // 7, 1)):  # none of the i better ones is drawn, but this one is
        exact = stats.hypergeom.pmf(0, M, i, n) * n / (M - i)
        assert found[i] == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_real_random_searches_agree() -> None:
    of, n, rng = made(R=4, N=16, S=2, seed=3), 5, RNG(0)
    validation, test = of.validation.reshape(64, 2), of.test.reshape(64, 2)
    found = []
    for _ in range(20_000):
        drawn, q = rng.choice(64, n, replace=False), rng.integers(2)
        found.append(test[drawn[np.argmin(validation[drawn, q])], 1 - q])
    error = np.std(found) / np.sqrt(len(found))
    assert budget.expected(of, [n])[0][0] == pytest.approx(np.mean(found), abs=4 * error)


def test_the_expected_validation_loss_falls_with_the_budget() -> None:
    _, validation = budget.expected(made(R=4, N=16), range(1, 65))
    assert (np.diff(validation) < 0).all()


def test_an_arm_against_itself_is_exactly_0() -> None:
    of = made(R=4, N=8)
    effect, error = budget.effects(of, of, [1, 5, 8])
    assert (effect == 0).all() and (error == 0).all()


def test_the_standard_error_is_the_jackknife_s() -> None:
    arm, reference, n = made(R=4, N=8, seed=1), made(R=4, N=8, seed=2), [3]

    def effect(keep: list[int]) -> float:
        one, other = (Design(each.validation[keep], each.test[keep]) for each in (arm, reference))
        return float(budget.expected(one, n)[0][0] - budget.expected(other, n)[0][0])

    parts = [effect([r for r in range(4) if r != left]) for left in range(4)]
    found = budget.effects(arm, reference, n)
    assert found[0][0] == effect([0, 1, 2, 3])
    assert found[1][0] == pytest.approx(np.sqrt(3 / 4 * np.sum((np.array(parts) - np.mean(parts)) ** 2)))


def test_runs_are_arranged_whatever_their_order() -> None:
    rows = [
        {"replicate": r, "point": p, "seed_index": s, "validation_loss": 1 + r + p / 10 + s / 100, "test_loss": 2.0}
        for r, p, s in itertools.product(range(2), range(3), range(2))
    ]
    of = budget.design(pd.DataFrame(rows).sample(frac=1, random_state=0))
    assert of.validation.shape == (2, 3, 2) and of.validation[1, 2, 1] == pytest.approx(2.21)
    np.testing.assert_allclose(of.test, np.log(2))
    for spoiled in (rows[:-1], [*rows, rows[0]]):
        with pytest.raises(ValueError, match=r"design: got 1[13] runs, expected each of 2 x 3 x 2 once"):
            budget.design(pd.DataFrame(spoiled))


def two_arms(R: int, shift: float, slope: float, alike: bool) -> tuple[Design, Design]:
    """Make an arm whose log test losses are higher by shift, and by slope the better the point."""
    reference = made(R=R, N=PARAMS.budget.points, S=2, seed=2)
    arm = reference if alike else made(R=R, N=PARAMS.budget.points, S=2, seed=1)
    if alike:
        arm.validation[..., 1] = arm.validation[..., 0]  # so that a point is as good whichever seed chooses
    return Design(arm.validation, arm.test + shift + slope * (2 - arm.validation)), reference


@pytest.mark.parametrize(
    "shift,slope,alike,verdicts",
    [
        (-0.3, 0.0, False, ["supported", "supported"]),
        (0.3, 0.0, False, ["opposite", "opposite"]),
        (0.0, 0.0, False, ["inconclusive", "inconclusive"]),
        (0.03, 0.0, False, ["inconclusive", "inconclusive"]),
        (0.001, 0.0, True, ["not supported", "not supported"]),
        (0.1, -0.12, True, ["supported", "supported"]),  # and the other way at a small budget
    ],
)
def test_intervals_and_verdicts_by_hand(shift: float, slope: float, alike: bool, verdicts: list[str]) -> None:
    n, rule = PARAMS.budget.points, PARAMS.compare
    arm, reference = two_arms(4, shift, slope, alike)
    found = budget.compare(PARAMS, {"a": arm, "b": reference}, [("a", "b")])
    effect, error = budget.effects(arm, reference, range(1, n + 1))

    def halves(replicates: int) -> list[np.ndarray]:
        """Return half the intervals at another number of replicates, were the spread to stay as it is."""
        scaled = error * 2 / np.sqrt(replicates)
        return [stats.t.ppf((1 + each) / 2, replicates - 1) * scaled for each in (rule.equivalence_level, rule.level)]

    inner, outer = halves(4)
    ends = {"effect_percent": effect, "equivalence_ci_low": effect - inner, "equivalence_ci_high": effect + inner}
    for name, values in (ends | {"ci_low": effect - outer, "ci_high": effect + outer}).items():
        assert [row[name] for row in found["budget"]] == pytest.approx(100 * np.expm1(values))
    signs = np.sign(effect) * (np.abs(effect) > outer)
    same = [bool(signs[-1]) and (signs[k:] == signs[-1]).all() for k in range(n)]
    assert slope == 0 or (signs[0] == 1 and same.index(True) > 2)
    for row, verdict in zip(found["budget_verdicts"], verdicts, strict=True):
        k = row["n_trials"] - 1
        assert row == found["budget"][k] | {name: row[name] for name in row.keys() - found["budget"][k].keys()}
        assert row["verdict"] == verdict and row["reason"] is None
        assert row["decided_from"] == (1 + same.index(True) if any(same) else None)
        decided = [
            abs(effect[k]) > halves(r)[1][k] or abs(effect[k]) + halves(r)[0][k] < np.log1p(rule.margin)
            for r in range(5, 1001)
        ]
        needed = 5 + decided.index(True) if any(decided) and verdict == "inconclusive" else None
        assert row["replicates_needed"] == needed


@pytest.mark.parametrize(
    "R,failed,reason",
    [(2, slice(0), "fewer than 3 replicates: a smoke run"), (3, slice(2), "a run that may win failed")],
)
def test_no_verdict_and_why(R: int, failed: slice, reason: str) -> None:
    arm, reference = two_arms(R, -0.3, 0.0, False)
    for losses in (arm.validation, arm.test):
        losses[failed] = np.nan  # of so many replicates
    found = budget.compare(PARAMS, {"a": arm, "b": reference}, [("a", "b")])["budget_verdicts"]
    assert [(row["verdict"], row["reason"]) for row in found] == 2 * [("no verdict", reason)]
    assert (found[0]["effect_percent"] is None) == (R == 3)


@pytest.mark.parametrize(
    "points,expected",
    [
        (10, []),
        (20, [(20, "published budget, random search")]),
        (60, [(20, "published budget, random search"), (60, "three times the published budget")]),
        (100, [(20, "published budget, random search"), (100, "5 times the published budget")]),
    ],
)
def test_budgets_beyond_the_design_are_left_out(points: int, expected: list[tuple[int, str]]) -> None:
    settings = PARAMS.model_copy(
        update={
            "budget": PARAMS.budget.model_copy(update={"points": points}),
            "tuning": PARAMS.tuning.model_copy(update={"trials": 20}),
        }
    )
    assert budget.budgets(settings) == expected


def surface(kind: str, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the log losses of two arms at points (..., 3): one tunes lr alone, the other one or two knobs more."""
    lr, decay, strength = np.moveaxis(points, -1, 0)
    plain = 0.1 + 1.5 * (lr - 0.55) ** 2 + np.maximum(2 * (lr - 0.85), 0)
    gains = {
        "penalty": 0.3 * (strength - 0.6) ** 2 - 0.02,
        "weight decay": 0.8 * (decay - 0.8) ** 2 - 0.06 + 0.2 * (lr - 0.5) * (decay - 0.5),
        "nothing": 0 * strength,
    }
    return plain, plain + gains[kind]


def searched(kind: str, points: np.ndarray, rng: np.random.Generator) -> list[Design]:
    """Train both arms at points (R, N, 3) on two seeds: their noise is shared in part, as that of paired runs is."""
    designs = []
    seeds = rng.normal(0, 0.008, (len(points), 1, 2))
    for loss in surface(kind, points):
        noise = seeds + rng.normal(0, 0.014, (*loss.shape, 2))
        validation = np.exp(loss[..., None] + noise + rng.normal(0, 0.015, noise.shape))
        designs.append(Design(validation, loss[..., None] + noise))
    return designs


@pytest.mark.slow
@pytest.mark.no_cover  # many rounds through lines that other tests meet too
@pytest.mark.parametrize("kind", ["penalty", "weight decay", "nothing"])
def test_intervals_cover_the_known_answer(kind: str) -> None:
    """95 % intervals of 8 replicates of 64 points, as shipped, at 5, 20 and 64 trials: 93 to 97 % of them hold it."""
    budgets, rng, n = [5, 20, 64], RNG(1), 500
    large = [searched(kind, rng.random((64, 64, 3)), rng) for _ in range(100)]
    truth = np.mean([budget.expected(b, budgets)[0] - budget.expected(a, budgets)[0] for a, b in large], axis=0)
    hits = np.zeros(3)
    for _ in range(n):
        points = np.stack([design.points(64, int(rng.integers(2**53))) for _ in range(8)])
        reference, arm = searched(kind, points, rng)
        effect, error = budget.effects(arm, reference, budgets)
        hits += np.abs(effect - truth) <= stats.t.ppf(0.975, 7) * error
    sampling = 2 * np.sqrt(0.95 * 0.05 / n)
    assert (hits / n > 0.93 - sampling / 2).all() and (hits / n < 0.97 + sampling / 2).all(), hits / n
