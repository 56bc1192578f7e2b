"""Statistics against scipy, enumeration and simulation."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from svvr.judge import statistics

RULE = {"margin": 0.01, "equivalence_level": 0.90, "level": 0.95}


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=20), st.floats(0.5, 0.99))
def test_the_interval_is_scipy_s(values: list[float], level: float) -> None:
    mean, low, high = statistics.mean_interval(values, level)
    assert mean == pytest.approx(np.mean(values), abs=1e-12)
    if np.std(values) > 1e-9:
        expected = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
        assert (low, high) == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("value,n", [(0.5, 1), (2.0, 3)])
def test_the_interval_of_one_value_or_equal_ones_is_that_value(value: float, n: int) -> None:
    assert statistics.mean_interval(n * [value], 0.9) == (value, value, value)


@pytest.mark.parametrize(
    "values,level,message",
    [
        ([], 0.9, "values of an interval"),
        ([math.nan, 1.0], 0.9, "values of an interval"),
        ([[1.0]], 0.9, "values of an interval"),
        ([1.0], 1, "level of an interval: got 1"),
        ([1.0], 0, "level of an interval: got 0"),
    ],
)
def test_what_has_no_interval_is_refused(values: Any, level: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        statistics.mean_interval(values, level)


@pytest.mark.parametrize(
    "effects,expected",
    [
        ([-0.02, -0.021, -0.019, -0.02], "supported"),
        ([0.02, 0.021, 0.019, 0.02], "opposite"),
        ([-0.001, 0.001, 0.0005, -0.0005], "not supported"),
        ([-0.005, -0.0051, -0.0049, -0.005], "not supported"),  # within the margin comes first, though below 0
        ([-0.05, 0.04, 0.01, -0.02], "inconclusive"),
        ([-0.02, -0.02], "no verdict"),
        ([0.0, 0.0, 0.0], "not supported"),
    ],
)
def test_the_verdicts(effects: list[float], expected: str) -> None:
    assert statistics.verdict(effects, **RULE) == expected


@given(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=8))
def test_the_verdict_mirrors(effects: list[float]) -> None:
    mirror = {"supported": "opposite", "opposite": "supported"}
    verdict = statistics.verdict(effects, **RULE)
    assert statistics.verdict([-d for d in effects], **RULE) == mirror.get(verdict, verdict)


def spread(mean: float, sd: float, n: int) -> list[float]:
    """Return n effects of exactly this mean and standard deviation."""
    base = np.linspace(-1, 1, n)
    return list(mean + sd * base / base.std(ddof=1))


@pytest.mark.parametrize("mean,sd", [(-0.02, 0.03), (0.001, 0.02), (-0.004, 0.01)])
def test_studies_needed_would_decide_and_one_fewer_would_not(mean: float, sd: float) -> None:
    n = statistics.studies_needed(spread(mean, sd, 5), **RULE)
    assert n is not None and n > 3
    assert statistics.verdict(spread(mean, sd, n), **RULE) != "inconclusive"
    assert statistics.verdict(spread(mean, sd, n - 1), **RULE) == "inconclusive"


def test_studies_needed_are_no_fewer_than_a_verdict_takes_and_no_more_than_anyone_runs() -> None:
    assert statistics.studies_needed(spread(-0.02, 1e-6, 4), **RULE) == statistics.MIN_STUDIES
    assert statistics.studies_needed(spread(math.log(1.01), 0.5, 4), **RULE) is None


@pytest.mark.parametrize("study_sd", [0.0, 0.004, 0.012])
def test_error_rates_by_simulation(study_sd: float) -> None:
    """6 studies of 12 pairs, pair sd 1.9 %: 95 % coverage; A/A says supported or opposite at most 5 % of the time."""
    n = 6000
    rng = np.random.default_rng(int(1000 * study_sd))
    effects = study_sd * rng.standard_normal((n, 6)) + 0.019 * rng.standard_normal((n, 6, 12)).mean(2)
    intervals = np.array([statistics.mean_interval(row, 0.95)[1:] for row in effects])
    coverage = ((intervals[:, 0] < 0) & (intervals[:, 1] > 0)).mean()
    assert coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / n))
    verdicts = [statistics.verdict(list(row), **RULE) for row in effects]
    wrong = sum(verdict in ("supported", "opposite") for verdict in verdicts) / n
    assert 0 < wrong <= 0.05 + 3 * math.sqrt(0.95 * 0.05 / n)
    assert "inconclusive" in verdicts or study_sd == 0


def test_tests_given_these_winners_are_scipy_s() -> None:
    pairs = np.random.default_rng(0).normal(0.3, 1, 40)
    p = statistics.given_these_winners(pairs, 2)
    assert p["paired_t_p"] == pytest.approx(stats.ttest_1samp(pairs, 0).pvalue)
    assert p["wilcoxon_p"] == pytest.approx(stats.wilcoxon(pairs).pvalue)
    assert p["sign_flip_p"] == pytest.approx(p["paired_t_p"], abs=0.02)
    assert p == statistics.given_these_winners(pairs, 2)
    other = statistics.given_these_winners(pairs, 3)  # another root seed draws other sign flips, and nothing else
    assert {name for name in p if p[name] != other[name]} == {"sign_flip_p"}
    assert p["p_better"] == (pairs < 0).mean()
    assert statistics.given_these_winners(np.ones(8), 2)["paired_t_p"] == 0
    ties = statistics.given_these_winners(np.zeros(5), 2)
    assert ties.pop("p_better") == 0.5 and set(ties.values()) == {1.0}
    assert statistics.given_these_winners(np.array([-1.0, -2.0, 0.0, 1.0]), 2)["p_better"] == 0.625  # a tie counts half


def test_sign_flips_by_enumeration() -> None:
    pairs = np.array([0.3, 0.5, -0.1, 0.4, 0.2, 0.6])
    flips = np.array(list(itertools.product([-1, 1], repeat=6))) @ pairs
    exact = (np.abs(flips) >= pairs.sum() - 1e-12).mean()
    assert statistics.given_these_winners(pairs, 2)["sign_flip_p"] == pytest.approx(exact, abs=0.01)


def test_the_sampling_error_is_the_bootstrap_s() -> None:
    rng = np.random.default_rng(1)
    reference = rng.gamma(2, 0.5, (3, 2000)) * [[1], [5], [1]]
    arm = 0.9 * reference + rng.gamma(1, 0.1, (3, 2000))
    index = rng.integers(0, 2000, (1000, 2000))
    bootstrap = np.log(arm[:, index].mean(2) / reference[:, index].mean(2)).mean(0).std()
    assert statistics.sampling_error(arm, reference) == pytest.approx(bootstrap, rel=0.1)


def test_simultaneous_levels_are_bonferroni_s() -> None:
    assert statistics.simultaneous_level(0.95, 3) == pytest.approx(1 - 0.05 / 3)
    assert statistics.simultaneous_level(0.9, 1) == pytest.approx(0.9)
