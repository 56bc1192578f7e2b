"""Study effects, intervals and the verdict. An effect d is a difference of logarithms; the study is the unit."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import special

from svvr.core.seeds import derive

Floats = npt.NDArray[np.float64]
MIN_STUDIES, MIN_SEEDS = 3, 2  # fewer are a smoke run
CONFIDENCE = 0.95  # of bands and intervals that decide nothing
MAX_STUDIES_NEEDED = 1000
N_SIGN_FLIPS = 10_000


def mean_interval(values: Sequence[float] | Floats, level: float) -> tuple[float, float, float]:
    """Compute a mean and its Student t interval.

    Args:
        values: (n,) independent values.
        level: confidence in (0, 1).

    Returns:
        Mean, low and high; with a single value all three are that value.

    Raises:
        ValueError: without values, where one is not finite, or for a level outside (0, 1).
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        raise ValueError(f"values of an interval: got {array!r:.80}, expected at least one finite number")
    if not 0 < level < 1:
        raise ValueError(f"level of an interval: got {level}, expected a number between 0 and 1")
    mean = float(array.mean())
    if len(array) == 1:
        return mean, mean, mean
    half = half_width(float(array.std(ddof=1)), len(array), level)
    return mean, mean - half, mean + half


def student_t(level: float, n: int) -> float:
    """Return the number of standard errors that an interval of a mean of n values reaches to either side."""
    return float(special.stdtrit(n - 1, (1 + level) / 2))


def half_width(sd: float, n: int, level: float) -> float:
    """Return half the length of a Student t interval of a mean of n values with standard deviation sd."""
    return student_t(level, n) * sd / math.sqrt(n)


def simultaneous_level(level: float, n: int) -> float:
    """Return the level of each of n intervals that hold together at the given level (Bonferroni)."""
    return 1 - (1 - level) / n


def verdict(study_effects: Sequence[float], margin: float, equivalence_level: float, level: float) -> str:
    """Decide by the rule that was fixed before the runs; lower is better.

    Args:
        study_effects: (studies,) differences of logarithms, arm minus reference.
        margin: relative; effects within ln(1 + margin) count as practically equal.
        equivalence_level: confidence of the interval that must lie inside the margin.
        level: confidence of the interval that must exclude 0.

    Returns:
        In this order `not supported` (practically equal), `supported` (below 0), `opposite` (above 0) or
        `inconclusive`; `no verdict` for fewer than MIN_STUDIES.
    """
    if len(study_effects) < MIN_STUDIES:
        return "no verdict"
    inner, outer = (mean_interval(study_effects, each) for each in (equivalence_level, level))
    return decide(inner, outer, margin)


def decide(inner: tuple[float, float, float], outer: tuple[float, float, float], margin: float) -> str:
    """Apply the rule of `verdict` to a mean with its two intervals (mean, low, high), equivalence's first."""
    bound = math.log1p(margin)
    if -bound < inner[1] and inner[2] < bound:
        return "not supported"
    if outer[2] < 0:
        return "supported"
    if outer[1] > 0:
        return "opposite"
    return "inconclusive"


def studies_needed(study_effects: Sequence[float], margin: float, equivalence_level: float, level: float) -> int | None:
    """Return the smallest number of studies that would decide, were mean and deviation to stay as observed.

    None where MAX_STUDIES_NEEDED would not. The arguments are those of `verdict`.
    """
    mean, sd = float(np.mean(study_effects)), float(np.std(study_effects, ddof=1))
    for n in range(MIN_STUDIES, MAX_STUDIES_NEEDED + 1):
        inner, outer = (half_width(sd, n, each) for each in (equivalence_level, level))
        ends = (mean, mean - inner, mean + inner), (mean, mean - outer, mean + outer)
        if decide(*ends, margin) != "inconclusive":
            return n
    return None


def given_these_winners(pairs: Floats, root: int) -> dict[str, float]:
    """Judge all pairs as if the winners were fixed; this ignores that tuning is random, and never decides.

    Args:
        pairs: (n,) differences of logarithms, n >= 2.
        root: seed of the experiment, from which the sign flips' stream derives.

    Returns:
        `p_better`, the share of pairs in which the arm's figure is the lower one, ties counting half; and the two-sided
        p-values of the paired t test, Wilcoxon's signed-rank test and the sign-flip permutation test.
    """
    from scipy.stats import wilcoxon  # takes half a second to import, which those who draw need not wait

    better = {"p_better": float(((pairs < 0) + 0.5 * (pairs == 0)).mean())}
    if not np.any(pairs):
        return {**better, "paired_t_p": 1.0, "wilcoxon_p": 1.0, "sign_flip_p": 1.0}
    sd = float(pairs.std(ddof=1))
    t = math.inf if sd == 0 else float(pairs.mean()) / (sd / math.sqrt(len(pairs)))
    signs = np.random.default_rng(derive(root, "sign_flip", len(pairs))).choice([-1.0, 1.0], (N_SIGN_FLIPS, len(pairs)))
    extreme = np.abs(signs @ pairs) >= abs(float(pairs.sum())) * (1 - 1e-12)
    return {
        **better,
        "paired_t_p": 2 * float(special.stdtr(len(pairs) - 1, -abs(t))),
        "wilcoxon_p": float(wilcoxon(pairs).pvalue),
        "sign_flip_p": (1 + float(extreme.sum())) / (1 + N_SIGN_FLIPS),  # the observed signs are one of the flips
    }


def sampling_error(arm: Floats, reference: Floats) -> float:
    """Return the standard error that the finite test split gives to the mean over studies of ln(arm / reference).

    By the delta method, paired over examples.

    Args:
        arm: (studies, n_test) per-example losses of the arm, averaged over a study's runs.
        reference: (studies, n_test) the same of the reference.
    """
    relative = (arm / arm.mean(1, keepdims=True) - reference / reference.mean(1, keepdims=True)).mean(0)
    return float(relative.std(ddof=1) / math.sqrt(len(relative)))
