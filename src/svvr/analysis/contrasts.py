"""From tables of runs to effects and verdicts: an arm against its reference, in every link."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from svvr.analysis import budget, statistics, tables
from svvr.analysis.budget import Design
from svvr.analysis.statistics import ENDS
from svvr.links import GENERALISATION, LINKS, MEASURED, Link
from svvr.params import Params
from svvr.records import Row, finite_or_none

Counted = dict[tuple[str, str], int]  # (arm, hyperparameter) -> studies
FIGURES = ("n_pairs", "effect_percent", *ENDS, "studies_needed", "study_sd_percent", "sampling_se_percent")


def summarise(
    params: Params,
    trials: pd.DataFrame,
    runs: pd.DataFrame,
    design: pd.DataFrame,
    diagnosed: pd.DataFrame,
    activity: pd.DataFrame,
    test_losses: Mapping[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """Compare the arms; effects are in percent.

    The frames are those of `tables`; test_losses are arm -> (studies, n_test) losses, averaged over a study's runs.
    Returns the tables of metrics/summary.json but `overall`; ValueError where runs are not paired, see `tables.check`.
    """
    tables.check(params, runs)
    listed, boundary = params.contrasts(), on_boundary(params, trials)
    designs = {arm: budget.design(design[design["arm"] == arm]) for arm in params.arms}
    pairs = tables.pairs(tables.quantities(runs, diagnosed), listed)
    variation = tables.pairs(_variation(diagnosed), listed)
    contrasts = []
    for arm, reference in listed:
        of_pair, penalty, cv = (
            frame[(frame["arm"] == arm) & (frame["reference"] == reference)] for frame in (pairs, activity, variation)
        )
        common = _activity(params, arm, penalty, cv)
        common["flags"] = _flags(params, arm, reference, common, boundary, designs)
        for link in LINKS:
            row = compare(params, link, of_pair[of_pair["link"] == link.name])
            if link is GENERALISATION and row["effect_percent"] is not None:
                losses = (test_losses[name].astype(np.float64) for name in (arm, reference))
                row["sampling_se_percent"] = (100 + row["effect_percent"]) * statistics.sampling_error(*losses)
            contrasts.append(row | common)
    return {
        "hypothesis": hypothesis(contrasts, params.compare.contrasts),
        "arms": [_arm(params, arm, trials, runs, boundary, designs[arm]) for arm in params.arms],
        "contrasts": contrasts,
        **budget.compare(params, designs, listed),
    }


def hypothesis(contrasts: Sequence[Mapping[str, Any]], listed: Sequence[tuple[str, str]]) -> str:
    """Return the verdict on the hypothesis by the protocol's rule, from the test loss in the first two listed."""
    found = {(row["arm"], row["reference"], row["link"]): row["verdict"] for row in contrasts}
    verdicts = [found[arm, reference, GENERALISATION.name] for arm, reference in listed[:2]]
    if len(verdicts) < 2 or "no verdict" in verdicts:
        return "no verdict"
    if set(verdicts) == {"better"}:
        return "supported"
    return "not supported" if set(verdicts) <= {"equal", "worse"} else "undecided"


def compare(params: Params, link: Link, pairs: pd.DataFrame) -> Row:
    """Return a contrast in one link: the rule, effects, intervals and verdict; pairs are its rows of `tables.pairs`."""
    rule, n = params.compare, 1 if link is GENERALISATION else len(MEASURED)
    margin = rule.margin if link is GENERALISATION else rule.link_margins[link.name]  # type: ignore[index]
    levels = [1 - (1 - level) / n for level in (rule.equivalence_level, rule.level)]  # simultaneous, by Bonferroni
    row: Row = {
        **{name: pairs[name].iloc[0] for name in ("arm", "reference", "link")},
        "margin_percent": 100 * margin,
        "equivalence_level": levels[0],
        "level": levels[1],
        "n_studies": pairs["study"].nunique(),
        **dict.fromkeys(FIGURES),
        **{"study_effects": [], "pair_effects": [], "verdict": "no verdict", "within_margin": False, "reason": None},
    }
    lost = pairs[pairs["d"].isna()]
    if len(lost):  # before any groupby, which would leave them out
        return row | {"reason": _reason(lost.iloc[0], link)}
    by_study = pairs.groupby("study")["d"]
    effects = by_study.mean().tolist()
    mean = float(np.mean(effects))
    row |= {
        "n_pairs": len(pairs),
        "effect_percent": percent(mean),
        "study_effects": [percent(each) for each in effects],
        "pair_effects": [[percent(each) for each in study] for _, study in by_study],
        "within_margin": statistics.within_margin(mean, margin),
    }
    if len(effects) > 1:
        inner, outer = (statistics.mean_interval(effects, level) for level in levels)
        verdict, sd = statistics.decide(inner, outer, margin), float(np.std(effects, ddof=1))
        row |= {name: percent(end) for name, end in zip(ENDS, (*inner[1:], *outer[1:]), strict=True)}
        row |= {"study_sd_percent": 100 * sd, "verdict": verdict}
        if verdict == "undecided":
            row["studies_needed"] = statistics.needed(mean, sd, statistics.MIN_STUDIES, margin, *levels)
    if len(effects) < statistics.MIN_STUDIES or by_study.size().min() < statistics.MIN_SEEDS:
        reason = "fewer than 3 studies or 2 seeds: a smoke run"
        row |= {"verdict": "no verdict", "reason": reason, "studies_needed": None}
    return row


def percent(effect: float) -> float:
    """Return a log ratio as a relative difference in percent."""
    return 100 * math.expm1(effect)


def _reason(pair: "pd.Series[Any]", link: Link) -> str:
    values = {pair["arm"]: pair["value"], pair["reference"]: pair["value_reference"]}
    names = " and ".join(arm.replace("_", " ") for arm, value in values.items() if math.isnan(value))
    what = "failed" if link is GENERALISATION else "could not be measured"
    return f"study {pair['study']}, seed {pair['seed']}: the run of {names} {what}"


def running_best(trials: pd.DataFrame) -> list[float | None]:
    """Return an arm's lowest validation loss by trial, the mean over studies; None until each has a complete trial."""
    ordered = trials.sort_values(["study", "trial"])
    lowest = ordered.groupby("study")["validation_loss"].cummin().groupby(ordered["study"]).ffill()
    by_trial = lowest.groupby(ordered["trial"])
    whole = by_trial.count() == by_trial.size()
    return [finite_or_none(mean) for mean in by_trial.mean().where(whole)]


def on_boundary(params: Params, trials: pd.DataFrame) -> Counted:
    """Count the winners near an end of their range: (arm, hyperparameter) -> studies."""
    found: Counted = {}
    share = params.compare.boundary
    for arm, settings in params.arms.items():
        won = trials[(trials["arm"] == arm) & trials["winner"]]
        for name, (low, high) in settings.ranges(params.tuning.space).items():
            place = np.log(won[name] / low) / math.log(high / low)
            if n := int(((place <= share) | (place >= 1 - share)).sum()):
                found[arm, name] = n
    return found


def _variation(diagnosed: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over layers of ln(coefficient of variation of the singular values), as from `quantities`."""
    values = [float(np.mean(np.log(each))) if each else math.nan for each in diagnosed["coefficient_of_variation"]]
    return diagnosed[["arm", *tables.RUN]].assign(link="variation", value=values)


def _activity(params: Params, arm: str, penalty: pd.DataFrame, variation: pd.DataFrame) -> Row:
    """Return how an arm's penalty and its singular values' variation compare, as means over studies of log ratios."""
    row: Row = dict.fromkeys(("activity_percent", "inactive", "inactive_studies", "cv_percent"))
    reference, bound = penalty["value_reference"], math.log1p(-params.compare.min_activity)
    change = (penalty["value"] - reference) / reference.abs().where(reference != 0)  # a penalty may be negative
    d = np.log1p(change.astype("float64").clip(lower=1e-9 - 1))
    studies = penalty.assign(d=d).dropna().groupby("study")["d"].mean()
    if len(studies):
        row["activity_percent"], row["inactive"] = percent(studies.mean()), bool(studies.mean() > bound)
        row["inactive_studies"] = int((studies > bound).sum())
    ratios = variation.dropna().groupby("study")["d"].mean()
    if len(ratios) and params.arms[arm].penalty.name != "none":
        row["cv_percent"] = percent(ratios.mean())
    return row


def _flags(
    params: Params, arm: str, reference: str, activity: Row, boundary: Counted, designs: Mapping[str, Design]
) -> list[str]:
    flags, of_studies = [], f"of {params.tuning.studies} studies"
    if activity["inactive_studies"]:
        on_average = "on average and " if activity["inactive"] else ""
        flags.append(f"penalty inactive {on_average}in {activity['inactive_studies']} {of_studies}")
    half, whole = params.budget.points // 2, params.budget.points
    moved = float(np.diff(budget.effects(designs[arm], designs[reference], [half, whole])[0])[0])
    if abs(moved) > math.log1p(params.compare.margin):  # not where it is NaN
        change = f"the effect still moves by {percent(moved):+.1f} %"
        flags.append(f"budget-limited: {change} between {half} and {whole} trials of random search")
    for (name, hyperparameter), n in boundary.items():
        if name in (arm, reference):
            flags.append(f"{name}: {hyperparameter} on the boundary in {n} {of_studies}".replace("_", " "))
    ranges = [params.arms[name].ranges(params.tuning.space)["lr"] for name in (arm, reference)]
    return flags if ranges[0] == ranges[1] else [*flags, "learning-rate ranges differ"]


def _arm(params: Params, arm: str, trials: pd.DataFrame, runs: pd.DataFrame, boundary: Counted, design: Design) -> Row:
    trials, runs = trials[trials["arm"] == arm], runs[(runs["arm"] == arm) & (runs["state"] == "complete")]
    tuned = ["study", *params.arms[arm].ranges(params.tuning.space)]
    test, validation = budget.expected(design, range(1, params.budget.points + 1))
    means = {name: fmean(runs[name]) if len(runs) else None for name in (*tables.LOSSES, "test_accuracy")}
    return {
        "arm": arm,
        "n_studies": trials["study"].nunique(),
        "n_trials": len(trials),
        "winners": trials.loc[trials["winner"], tuned].to_dict("records"),
        "on_boundary": sorted(name for owner, name in boundary if owner == arm),
        "running_best": running_best(trials),
        "expected_best": [finite_or_none(each) for each in validation],
        "expected_test_loss": [finite_or_none(each) for each in np.exp(test)],
        **means,
    }
