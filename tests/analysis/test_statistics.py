"""Intervals and the verdict rule against scipy and simulation."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from svvr.analysis import statistics

MARGIN, LEVELS = 0.01, (0.90, 0.95)


def verdict(effects: Sequence[float]) -> str:
    inner, outer = (statistics.mean_interval(effects, level) for level in LEVELS)
    return statistics.decide(inner, outer, MARGIN)


def spread(mean: float, sd: float, n: int) -> list[float]:
    """Return n effects of exactly this mean and standard deviation."""
    base = np.linspace(-1, 1, n)
    return list(mean + sd * base / base.std(ddof=1))


@pytest.mark.parametrize("n", [2, 3, 24])
@pytest.mark.parametrize("level", [0.5, 0.9, 1 - 0.05 / 3])
def test_the_interval_is_scipy_s(n: int, level: float) -> None:
    values = np.random.default_rng(n).normal(0.3, 2, n)
    expected = (values.mean(), *stats.t.interval(level, n - 1, values.mean(), stats.sem(values)))
    assert statistics.mean_interval(values, level) == pytest.approx(expected, rel=1e-12)
    assert statistics.mean_interval(values[:1], level) == 3 * (values[0],)


@pytest.mark.parametrize("sd", [0, 0.002, 0.01, 0.03])
@pytest.mark.parametrize("n", [3, 24])
def test_the_verdict_on_a_grid(sd: float, n: int) -> None:
    """Equal comes first, even where the interval excludes 0; then better or worse."""
    inner, outer = (stats.t.ppf((1 + level) / 2, n - 1) * sd / math.sqrt(n) for level in LEVELS)
    for mean in np.linspace(-0.1, 0.1, 41):
        expected = "equal" if abs(mean) + inner < math.log(1.01) else "undecided"
        if expected != "equal" and abs(mean) > outer:
            expected = "better" if mean < 0 else "worse"
        assert verdict(spread(mean, sd, n)) == expected


@pytest.mark.parametrize("mean,sd", [(-0.02, 0.03), (0.001, 0.02), (-0.004, 0.01)])
def test_so_many_studies_would_decide_and_one_fewer_would_not(mean: float, sd: float) -> None:
    n = statistics.needed(mean, sd, 3, MARGIN, *LEVELS)
    assert n is not None and n > 3
    assert verdict(spread(mean, sd, n)) != "undecided" and verdict(spread(mean, sd, n - 1)) == "undecided"
    assert statistics.needed(mean, sd, n + 5, MARGIN, *LEVELS) == n + 5
    assert statistics.needed(mean, 1e-6, 3, MARGIN, *LEVELS) == 3
    assert statistics.needed(math.log(1.01), 0.5, 3, MARGIN, *LEVELS) is None


@pytest.mark.parametrize("study_sd", [0.0, 0.012])
def test_error_rates_by_simulation(study_sd: float) -> None:
    """6 studies of 12 pairs, pair sd 1.9 %: 95 % coverage, and equal arms are told apart at most 5 % of the time."""
    n, rng = 4000, np.random.default_rng(int(1000 * study_sd))
    effects = study_sd * rng.standard_normal((n, 6)) + 0.019 * rng.standard_normal((n, 6, 12)).mean(2)
    error = math.sqrt(0.95 * 0.05 / n)
    covered = [low < 0 < high for _, low, high in (statistics.mean_interval(row, 0.95) for row in effects)]
    assert np.mean(covered) == pytest.approx(0.95, abs=4 * error)
    assert 0 < np.mean([verdict(row) in ("better", "worse") for row in effects]) <= 0.05 + 3 * error


def test_the_sampling_error_is_the_bootstrap_s() -> None:
    rng = np.random.default_rng(1)
    reference = rng.gamma(2, 0.5, (3, 2000)) * [[1], [5], [1]]
    arm = 0.9 * reference + rng.gamma(1, 0.1, (3, 2000))
    index = rng.integers(0, 2000, (500, 2000))
    bootstrap = np.log(arm[:, index].mean(2) / reference[:, index].mean(2)).mean(0).std()
    assert statistics.sampling_error(arm, reference) == pytest.approx(bootstrap, rel=0.1)
