"""Intervals and the verdict. An effect is a log ratio, arm to reference; the study is the independent unit."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float, float]  # mean, low, high
MIN_STUDIES, MIN_SEEDS = 3, 2  # fewer are a smoke run
CONFIDENCE = 0.95  # of bands and intervals that decide nothing
MAX_NEEDED = 1000
ENDS = ("equivalence_ci_low", "equivalence_ci_high", "ci_low", "ci_high")  # columns of both intervals


def mean_interval(values: Sequence[float] | Floats, level: float) -> Interval:
    """Return mean, low and high of the Student t interval of n independent values; all three are the value if n = 1."""
    array, n = np.asarray(values, dtype=np.float64), len(values)
    mean = float(array.mean())
    half = student_t(level, n) * float(array.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return mean, mean - half, mean + half


def student_t(level: float, n: int) -> float:
    """Return the half-width of a Student t interval of the mean of n values, in standard errors."""
    return float(special.stdtrit(n - 1, (1 + level) / 2))


def within_margin(effect: float, margin: float) -> bool:
    """Return whether a log ratio lies within the relative margin: |effect| < ln(1 + margin)."""
    return bool(abs(effect) < math.log1p(margin))


def decide(inner: Interval, outer: Interval, margin: float) -> str:
    """Return the protocol's verdict on a log ratio: inner is its interval at the equivalence level, outer the other."""
    if within_margin(inner[1], margin) and within_margin(inner[2], margin):
        return "equal"
    if outer[2] < 0:
        return "better"
    if outer[1] > 0:
        return "worse"
    return "undecided"


def needed(mean: float, sd: float, first: int, margin: float, equivalence_level: float, level: float) -> int | None:
    """Return the number of studies, from first on, that would decide at this mean and spread; None above MAX_NEEDED."""
    for n in range(first, MAX_NEEDED + 1):
        inner, outer = (student_t(each, n) * sd / math.sqrt(n) for each in (equivalence_level, level))
        if decide((mean, mean - inner, mean + inner), (mean, mean - outer, mean + outer), margin) != "undecided":
            return n
    return None


def p_value(effect: float, error: float, n: int) -> float:
    """Return Student's two-sided p of a mean of n values with this standard error; 1 without an effect or error."""
    return float(2 * special.stdtr(n - 1, -abs(effect / error))) if error > 0 and math.isfinite(effect) else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm 1979)."""
    order = np.argsort(p_values, kind="stable")
    found = np.empty(len(p_values))
    found[order] = np.maximum.accumulate(np.arange(len(p_values), 0, -1) * np.asarray(p_values)[order])
    return [float(p) for p in np.minimum(found, 1)]


def sampling_error(arm: Floats, reference: Floats) -> float:
    """Return the standard error of the mean over studies of ln(arm / reference) due to the finite test split.

    By the delta method, paired over examples. Both are (studies, n_test) losses, averaged over a study's runs.
    """
    relative = (arm / arm.mean(1, keepdims=True) - reference / reference.mean(1, keepdims=True)).mean(0)
    return float(relative.std(ddof=1) / math.sqrt(len(relative)))
