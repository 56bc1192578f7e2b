"""From tables of runs to effects and verdicts: an arm against its reference, in every link."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from svvr import tables
from svvr.core.files import finite_or_none
from svvr.judge import budget, integrity, statistics
from svvr.judge.budget import Design
from svvr.judge.integrity import Losses, Records
from svvr.links import GENERALISATION, LINKS, MEASURED, Link

if TYPE_CHECKING:
    from svvr.core.params import Params

ACTIVITY = ("activity_percent", "inactive", "inactive_studies")


def summarise(params: "Params", records: Records, test_losses: Losses, own: pd.DataFrame) -> dict[str, Any]:
    """Weigh the arms against each other.

    Args:
        params: `compare`, the arms' references and knobs, the tuning budget and the selection rule are read.
        records: of kinds tune, train, budget and diagnose, arm -> record.
        test_losses: arm -> (studies, n_test) per-example losses averaged over a study's runs, nats.
        own: differences in the penalty's own figure (arm, reference, study, seed, d) of arms whose penalty is not about
            how even singular values are; the others' is taken from the records.

    Returns:
        Flat figures first, then `arms`, `contrasts`, and `budget` and `budget_verdicts` (see `budget.compare`); effects
        in percent.

    Raises:
        ValueError: where records do not belong together; see `integrity.check`.
    """
    listed = pairs_to_compare(params)
    integrity.check(params, records, test_losses, listed)
    trials, values = tables.trials(records), tables.quantities(records)
    pairs, evenness = (tables.pairs(frame, listed) for frame in (values, tables.evenness(records)))
    ends, designs = on_boundary(params, trials), _designs(params, records, listed)
    contrasts = []
    for arm, reference in listed:
        common: dict[str, Any] = dict.fromkeys(ACTIVITY)
        if params.arms[arm].penalty.name != "none":
            figure = _of(own, arm, reference)
            common = activity(_of(evenness, arm, reference) if figure.empty else figure, params.compare.min_activity)
        common["flags"] = [*_inactive(common, params.tuning.studies), *_flags(params, arm, reference, ends, designs)]
        for link in LINKS:
            of_link = _of(pairs[pairs["link"] == link.name], arm, reference)
            contrast = compare(params, link, arm, reference, of_link, values)
            if link is GENERALISATION:
                contrast["sampling_se_percent"] = _sampling_error(contrast, test_losses)
            contrasts.append(contrast | common)
    return {
        **_flat(contrasts),
        "selection": params.selection,
        "sampler": params.tuning.sampler,
        "arms": _arms(params, records, ends, designs),
        "contrasts": contrasts,
        **budget.compare(params, designs, listed),
    }


def pairs_to_compare(params: "Params") -> list[tuple[str, str]]:
    """Return (arm, reference) of every contrast: those in params, then arms in none of them with their reference."""
    listed = [(arm, reference) for arm, reference in params.compare.contrasts]
    named = {arm for pair in listed for arm in pair}
    others = [(name, arm.reference) for name, arm in params.arms.items() if name not in named and arm.reference]
    return listed + others


def compare(
    params: "Params", link: Link, arm: str, reference: str, pairs: pd.DataFrame, values: pd.DataFrame
) -> dict[str, Any]:
    """Compare two arms in one link.

    Args:
        params: `compare` is read.
        link: whose figures are compared.
        arm: compared with the reference.
        reference: the other arm.
        pairs: those of this contrast and link, as from `tables.pairs`.
        values: of all runs, as from `tables.quantities`, to say which run of a pair is missing.

    Returns:
        The rule, and what it gives: effects, intervals and the verdict.
    """
    rule = _rule(params, arm, reference, link)
    missing = pairs[pairs["d"].isna()]
    if len(missing):  # before any groupby, which would leave them out
        return {**rule, **_unknown(pairs["study"].nunique(), _reason(missing.iloc[0], values, link))}
    by_study = pairs.groupby("study")["d"]
    effects = (-link.better * by_study.mean()).tolist()  # below 0 where it went as the hypothesis has it
    margin, levels = _margin(params, link), (rule["equivalence_level"], rule["level"])
    smoke = len(effects) < statistics.MIN_STUDIES or by_study.size().min() < statistics.MIN_SEEDS
    decision = "no verdict" if smoke else statistics.verdict(effects, margin, *levels)
    d = pairs["d"].to_numpy()
    return {
        **rule,
        "n_studies": len(effects),
        "n_pairs": len(d),
        "effect_percent": percent(float(by_study.mean().mean())),
        **_intervals(by_study.mean().tolist(), *levels),
        "verdict": decision,
        "reason": "fewer than 3 studies or 2 seeds: a smoke run" if smoke else None,
        "studies_needed": statistics.studies_needed(effects, margin, *levels) if decision == "inconclusive" else None,
        "study_sd_percent": 100 * float(np.std(effects, ddof=1)) if len(effects) > 1 else None,
        "study_effects": [percent(each) for each in by_study.mean()],
        "pair_effects": [[percent(each) for each in study] for _, study in by_study],
        "sampling_se_percent": None,
        "given_these_winners": statistics.given_these_winners(-link.better * d, params.seed) if len(d) > 1 else None,
    }


def percent(d: float) -> float:
    """Return a difference of logarithms as a relative difference in percent."""
    return 100 * math.expm1(d)


def activity(pairs: pd.DataFrame, min_activity: float) -> dict[str, Any]:
    """Tell whether the arm lowers its penalty's own figure.

    Args:
        pairs: differences of its logarithm; missing ones are left out.
        min_activity: the relative fall below which a penalty is called inactive.

    Returns:
        `activity_percent`, the mean over studies of the relative change; `inactive`, whether it is a fall by less
        than min_activity; and in how many studies it is.
    """
    changes = pairs.dropna(subset=["d"]).groupby("study")["d"].mean()
    if changes.empty:
        return dict.fromkeys(ACTIVITY)
    bound, mean = math.log1p(-min_activity), float(changes.mean())
    return {
        "activity_percent": percent(mean),
        "inactive": mean > bound,
        "inactive_studies": int((changes > bound).sum()),
    }


def running_best(trials: pd.DataFrame) -> list[float | None]:
    """Return an arm's best validation loss so far, trial by trial, averaged over its studies.

    None as long as a study has no complete trial. The sampler learns, so this is no expectation over other orders.
    """
    ordered = trials.sort_values(["study", "trial"])
    lowest = ordered.groupby("study")["objective"].cummin().groupby(ordered["study"]).ffill()
    by_trial = lowest.groupby(ordered["trial"])
    whole = by_trial.count() == by_trial.size()
    return [finite_or_none(mean) for mean in by_trial.mean().where(whole)]


def on_boundary(params: "Params", trials: pd.DataFrame) -> pd.DataFrame:
    """Return the winners' knobs that lie near the end of their range: a row each, arm, study, knob."""
    winners = trials[trials["winner"]].melt(["arm", "study"], tables.KNOBS, var_name="knob", value_name="value")
    spans = [
        {"arm": arm, "knob": knob, "low": low, "high": high}
        for arm, settings in params.arms.items()
        for knob, (low, high) in settings.ranges(params.tuning.space).items()
    ]
    known = winners.dropna().merge(pd.DataFrame(spans), on=["arm", "knob"])
    place = np.log(known["value"] / known["low"]) / np.log(known["high"] / known["low"])
    share = params.compare.boundary
    return known[(place <= share) | (place >= 1 - share)][["arm", "study", "knob"]]


def _of(frame: pd.DataFrame, arm: str, reference: str) -> pd.DataFrame:
    return frame[(frame["arm"] == arm) & (frame["reference"] == reference)]


def _reason(pair: "pd.Series[Any]", values: pd.DataFrame, link: Link) -> str:
    """Say which runs of a pair are without a figure."""
    same = (values["link"] == link.name) & (values["study"] == pair["study"]) & (values["seed"] == pair["seed"])
    lost = values[same & values["value"].isna()]["arm"].tolist()
    names = " and ".join(_words(arm) for arm in (pair["arm"], pair["reference"]) if arm in lost)
    what = "failed" if link is GENERALISATION else "could not be measured"
    return f"study {pair['study']}, seed {pair['seed']}: the run of {names} {what}"


def _rule(params: "Params", arm: str, reference: str, link: Link) -> dict[str, Any]:
    """Return what a contrast in a link is judged by."""
    levels = params.compare.equivalence_level, params.compare.level
    if link in MEASURED:
        levels = (
            statistics.simultaneous_level(levels[0], len(MEASURED)),
            statistics.simultaneous_level(levels[1], len(MEASURED)),
        )
    return {
        "arm": arm,
        "reference": reference,
        "link": link.name,
        "margin_percent": 100 * _margin(params, link),
        "equivalence_level": levels[0],
        "level": levels[1],
    }


def _margin(params: "Params", link: Link) -> float:
    return params.compare.margin if link is GENERALISATION else float(getattr(params.compare.link_margins, link.name))


def _intervals(effects: Sequence[float], inner: float, outer: float) -> dict[str, float | None]:
    """Return both intervals in percent; one study has none."""
    ends: dict[str, float | None] = {}
    for name, level in (("equivalence_ci", inner), ("ci", outer)):
        _, low, high = statistics.mean_interval(effects, level)
        several = len(effects) > 1
        ends |= {f"{name}_low": percent(low) if several else None, f"{name}_high": percent(high) if several else None}
    return ends


def _unknown(n_studies: int, reason: str) -> dict[str, Any]:
    """Return the figures of a contrast that cannot be judged."""
    figures = ("n_pairs", "effect_percent", "equivalence_ci_low", "equivalence_ci_high", "ci_low", "ci_high")
    return {
        "n_studies": n_studies,
        **dict.fromkeys((*figures, "studies_needed", "study_sd_percent", "sampling_se_percent", "given_these_winners")),
        "study_effects": [],
        "pair_effects": [],
        "verdict": "no verdict",
        "reason": reason,
    }


def _sampling_error(contrast: Mapping[str, Any], test_losses: Losses) -> float | None:
    """Return the test-sampling standard error of an effect in percent, None where there is no effect."""
    if contrast["effect_percent"] is None:
        return None
    one, two = (test_losses[contrast[role]].astype(np.float64) for role in ("arm", "reference"))
    return float((100 + contrast["effect_percent"]) * statistics.sampling_error(one, two))


def _inactive(common: Mapping[str, Any], n_studies: int) -> list[str]:
    if not common["inactive_studies"]:
        return []
    where = f"in {common['inactive_studies']} of {n_studies} studies"
    return [f"penalty inactive {'on average and ' if common['inactive'] else ''}{where}"]


def _designs(params: "Params", records: Records, listed: Sequence[tuple[str, str]]) -> dict[str, Design]:
    frame = tables.design(records)
    integrity.check_design(params, frame, listed)
    return {str(arm): budget.design(runs) for arm, runs in frame.groupby("arm", sort=False)}


def _flags(params: "Params", arm: str, reference: str, ends: pd.DataFrame, designs: Mapping[str, Design]) -> list[str]:
    flags = []
    moved, points = budget.late_gain(params, designs[arm], designs[reference]), params.budget.points
    if moved is not None and abs(moved) > math.log1p(params.compare.margin):
        between = f"between {points // 2} and {points} trials of random search"
        flags.append(f"budget-limited: the effect still moves by {percent(moved):+.1f} % {between}")
    for each in (arm, reference):
        counts = ends[ends["arm"] == each].groupby("knob", sort=False).size()
        flags += [
            f"{_words(each)}: {_words(str(knob))} on the boundary in {n} of {params.tuning.studies} studies"
            for knob, n in counts.items()
        ]
    return flags


def _words(name: str) -> str:
    return name.replace("_", " ")


def answers(contrasts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the answer to each question, `ARM_vs_REFERENCE` -> effect on test loss in percent, interval, verdict."""
    figures = ("effect_percent", "ci_low", "ci_high", "verdict")
    return {
        f"{contrast['arm']}_vs_{contrast['reference']}": {key: contrast[key] for key in figures}
        for contrast in contrasts
        if contrast["link"] == GENERALISATION.name
    }


def _flat(contrasts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for number, (name, answer) in enumerate(answers(contrasts).items()):
        flat[f"{name}_percent"] = answer["effect_percent"]
        if number == 0:
            flat |= {f"{name}_ci_low": answer["ci_low"], f"{name}_ci_high": answer["ci_high"]}
        flat[f"{name}_verdict"] = answer["verdict"]
    return flat


def _arms(
    params: "Params", records: Records, ends: pd.DataFrame, designs: Mapping[str, Design]
) -> list[dict[str, Any]]:
    trials = tables.trials(records)
    return [
        {
            "arm": arm,
            "penalty": tuned["penalty"],
            "n_studies": tuned["n_studies"],
            "n_trials": tuned["n_trials"],
            "winners": [{"study": study["study"], **study["best"]} for study in tuned["studies"]],
            "on_boundary": sorted(ends.loc[ends["arm"] == arm, "knob"].unique().tolist()),
            "running_best": running_best(trials[trials["arm"] == arm]),
            **budget.curves(params, designs[arm]),
            **{name: records["train"][arm][name] for name in ("validation_loss", "test_loss", "test_accuracy")},
        }
        for arm, tuned in records["tune"].items()
    ]
