"""From the arms' records to effects, verdicts and the sentences that a reader can quote (pure)."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from svvr.core.files import array_hash
from svvr.core.params import Params, near_end
from svvr.judge import statistics
from svvr.judge.statistics import Floats

LINKS = ("generalisation", "conditioning", "smoothness", "gradient_stability")
SIMULTANEOUS = LINKS[1:]  # these share one error rate; generalisation is the question itself
FIGURES = {
    "generalisation": "test loss",
    "conditioning": "condition number (geometric mean over layers)",
    "smoothness": "top Hessian eigenvalue",
    "gradient_stability": "coefficient of variation of the gradient norm",
}
ACTIVITY = ("activity_percent", "inactive", "inactive_studies")
COLUMNS, LINES = 120, 25  # of the verdict table
Record = Mapping[str, Any]
Records = Mapping[str, Record]


def summarise(
    params: Params,
    tune: Records,
    train: Records,
    diagnose: Records,
    test_losses: Mapping[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """Weigh the arms against each other.

    Args:
        params: `compare`, the arms' references and knobs, the tuning budget and the selection rule are read.
        tune: arm -> its tuning record.
        train: arm -> its record of final runs.
        diagnose: arm -> its record of diagnosed runs.
        test_losses: arm -> (studies, n_test) per-example losses averaged over a study's runs, nats.

    Returns:
        Flat figures first, then `overall` (sentences), `arms` and `contrasts`; effects in percent.

    Raises:
        ValueError: where a record is missing, of another arm or unusable, or two arms' runs are not paired.
    """
    check_records(params, tune, train, diagnose)
    pairs = pairs_to_compare(params)
    for arm, reference in pairs:
        check_pairing(arm, reference, train[arm], train[reference])
    for arm, record in train.items():
        _check_test_losses(arm, record, test_losses[arm])
    for arm, record in diagnose.items():
        _check_diagnosed(arm, record, train[arm])
    curves = {arm: best_curve(record) for arm, record in tune.items()}
    contrasts = []
    for arm, reference in pairs:
        check_pairing(arm, reference, diagnose[arm], diagnose[reference])
        common: dict[str, Any] = dict.fromkeys(ACTIVITY)
        if params.arms[arm].penalty.name != "none":
            common = activity(diagnose[arm], diagnose[reference], params.compare.min_activity)
        flags = [*_inactive(common, tune[arm]), *_flags(params, arm, reference, tune, curves)]
        for link in LINKS:
            gathered = train if link == "generalisation" else diagnose
            contrast = compare(params, arm, reference, link, gathered[arm], gathered[reference])
            if link == "generalisation":
                contrast["sampling_se_percent"] = _sampling_error(contrast, test_losses)
            contrast |= {**common, "flags": flags}
            contrast["sentence"] = sentence(contrast, params.tuning.trials)
            contrasts.append(contrast)
    return {
        **_flat(contrasts),
        "selection": params.selection,
        "overall": overall(contrasts, params.compare.contrasts, params.tuning.trials),
        "arms": _arms(params, tune, train, curves),
        "contrasts": contrasts,
    }


def check_records(params: Params, tune: Records, train: Records, diagnose: Records) -> None:
    """Refuse records that are missing or of other settings; each by itself is taken to be what `svvr.schemas` says.

    Raises:
        ValueError: naming the kind of record, the arm, what was got and what was expected.
    """
    for kind, gathered in (("tuning", tune), ("final", train), ("diagnosed", diagnose)):
        absent = [arm for arm in params.arms if arm not in gathered]
        if absent:
            raise ValueError(f"{kind} record of arm {absent[0]}: got none, expected one of each arm")
    for arm, record in tune.items():
        for study in record["studies"]:
            if len(study["trials"]) != params.tuning.trials:
                got = f"{len(study['trials'])} trials in study {study['study']}"
                raise ValueError(f"tuning record of arm {arm}: got {got}, expected {params.tuning.trials}")
    for arm, record in train.items():
        if record["selection"] != params.selection:
            got = f"runs under selection {record['selection']!r}"
            raise ValueError(f"final record of arm {arm}: got {got}, expected {params.selection!r}")
        best = {study["study"]: study["best"] for study in tune[arm]["studies"]}
        for run in record["runs"]:
            off = dict.fromkeys(("lr", "strength", "weight_decay"), 0.0)
            knobs, expected = {knob: run[knob] for knob in off}, off | best.get(run["study"], {})
            if run["study"] in best and knobs != expected:
                got = f"{knobs} at study {run['study']}, seed {run['seed']}"
                raise ValueError(f"final record of arm {arm}: got {got}, expected {expected} as tuned")
    for kind, gathered in (("final", train), ("diagnosed", diagnose)):
        for arm, record in gathered.items():
            studies, tuned = ({e["study"] for e in each} for each in (record["runs"], tune[arm]["studies"]))
            if studies != tuned:
                raise ValueError(f"{kind} record of arm {arm}: got studies {sorted(studies)}, expected {sorted(tuned)}")


def _check_diagnosed(arm: str, record: Record, of_final: Record) -> None:
    final = {(run["study"], run["seed"], run["initial_weights"]) for run in of_final["runs"]}
    for run in record["runs"]:
        if (run["study"], run["seed"], run["initial_weights"]) not in final:
            got = f"study {run['study']}, seed {run['seed']}, initial weights {run['initial_weights'][:12]}"
            raise ValueError(f"diagnosed record of arm {arm}: got {got}, expected one of its final runs")


def _check_test_losses(arm: str, record: Record, losses: npt.NDArray[np.float32]) -> None:
    """Refuse per-example test losses that are not those of an arm's final runs, or do not agree with their means."""
    if array_hash(losses) != record["test_losses"][0]:
        raise ValueError(f"test losses of arm {arm}: got others than the final record's, expected those of its runs")
    by_study: dict[int, list[float]] = {}
    for run in record["runs"]:
        if run["test_loss"] is not None:
            by_study.setdefault(run["study"], []).append(run["test_loss"])
    for study, values in by_study.items():
        got, expected = math.fsum(values) / len(values), float(losses[study].mean(dtype=np.float64))
        if not math.isclose(got, expected, rel_tol=1e-5):
            where = f"final record of arm {arm}, study {study}"
            raise ValueError(f"{where}: got a mean test loss of {got}, expected {expected} of the examples")


def _sampling_error(contrast: Record, test_losses: Mapping[str, npt.NDArray[np.float32]]) -> float | None:
    """Return the test-sampling standard error of an effect in percent, None where there is no effect."""
    if contrast["effect_percent"] is None:
        return None
    one, two = (test_losses[contrast[role]].astype(np.float64) for role in ("arm", "reference"))
    return float((100 + contrast["effect_percent"]) * statistics.sampling_error(one, two))


def pairs_to_compare(params: Params) -> list[tuple[str, str]]:
    """Return (arm, reference) of every contrast: those in params, then arms in none of them with their reference."""
    listed = [(arm, reference) for arm, reference in params.compare.contrasts]
    named = {arm for pair in listed for arm in pair}
    others = [(name, arm.reference) for name, arm in params.arms.items() if name not in named and arm.reference]
    return listed + others


def check_pairing(arm: str, reference: str, of_arm: Record, of_reference: Record) -> None:
    """Refuse runs that are not paired: the same seeds in the same studies, from the same initial weights.

    Raises:
        ValueError: naming arms, study and seed, and where they differ the hashes of the initial weights.
    """
    subject = f"runs of {arm} and {reference} are not paired"
    keys = [[(run["study"], run["seed"]) for run in record["runs"]] for record in (of_arm, of_reference)]
    if odd := sorted(set(keys[0]) ^ set(keys[1])):
        (study, seed), owner = odd[0], arm if odd[0] in keys[0] else reference
        raise ValueError(f"{subject}: study {study}, seed {seed} is in {owner} alone, expected equal seeds")
    for one, two in zip(of_arm["runs"], of_reference["runs"], strict=True):
        if (one["study"], one["seed"]) != (two["study"], two["seed"]):
            where = f"study {one['study']}, seed {one['seed']} stands where {reference} has"
            raise ValueError(f"{subject}: {where} study {two['study']}, seed {two['seed']}, expected one order")
        if one["initial_weights"] != two["initial_weights"]:
            raise ValueError(
                f"{subject}: study {one['study']}, seed {one['seed']}: initial weights "
                f"{one['initial_weights'][:12]} and {two['initial_weights'][:12]} differ, expected the same ones"
            )


def figure_of(run: Record, link: str) -> float | None:
    """Return a run's logarithmic figure for a link, None where the run failed."""
    if link == "generalisation":
        return None if run["test_loss"] is None else math.log(run["test_loss"])
    value: float | None = run[link]
    return value


def compare(
    params: Params, arm: str, reference: str, link: str, of_arm: Record, of_reference: Record
) -> dict[str, Any]:
    """Compare two arms in one link."""
    result = _rule(params, arm, reference, link)
    margin, inner, outer = _margin(params, link), result["equivalence_level"], result["level"]
    by_study, failed = _differences(link, of_arm, of_reference)
    if failed:
        return {**result, **_unknown(len({run["study"] for run in of_arm["runs"]}), failed)}
    effects = [math.fsum(study) / len(study) for study in by_study]
    pairs: Floats = np.array([d for study in by_study for d in study])
    intervals = {
        name: statistics.mean_interval(effects, each) for name, each in (("equivalence_ci", inner), ("ci", outer))
    }
    smoke = len(effects) < statistics.MIN_STUDIES or min(map(len, by_study)) < statistics.MIN_SEEDS
    decision = "no verdict" if smoke else statistics.verdict(effects, margin, inner, outer)
    needed = None
    if decision == "inconclusive":
        needed = statistics.studies_needed(
            float(np.mean(effects)), float(np.std(effects, ddof=1)), margin, inner, outer
        )
    given_these_winners = None
    if len(pairs) > 1:
        given_these_winners = {"p_better": statistics.p_better(pairs), **statistics.given_these_winners(pairs)}
    return {
        **result,
        "n_studies": len(effects),
        "n_pairs": len(pairs),
        "effect_percent": percent(intervals["ci"][0]),
        **{
            f"{name}_{end}": percent(v[i]) if len(effects) > 1 else None  # one study has no interval
            for name, v in intervals.items()
            for i, end in ((1, "low"), (2, "high"))
        },
        "verdict": decision,
        "reason": "fewer than 3 studies or 2 seeds: a smoke run" if smoke else None,
        "studies_needed": needed,
        "study_sd_percent": 100 * float(np.std(effects, ddof=1)) if len(effects) > 1 else None,
        "study_effects": [percent(d) for d in effects],
        "pair_effects": [[percent(d) for d in study] for study in by_study],
        "sampling_se_percent": None,
        "given_these_winners": given_these_winners,
    }


def _rule(params: Params, arm: str, reference: str, link: str) -> dict[str, Any]:
    """Return what a contrast in a link is judged by."""
    rule = params.compare
    inner, outer = rule.equivalence_level, rule.level
    if link in SIMULTANEOUS:
        inner, outer = (statistics.simultaneous_level(each, len(SIMULTANEOUS)) for each in (inner, outer))
    return {
        "arm": arm,
        "reference": reference,
        "link": link,
        "margin_percent": 100 * _margin(params, link),
        "equivalence_level": inner,
        "level": outer,
    }


def _margin(params: Params, link: str) -> float:
    rule = params.compare
    return float(getattr(rule.link_margins, link)) if link in SIMULTANEOUS else rule.margin


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


def percent(d: float) -> float:
    """Return a difference of logarithms as a relative difference in percent."""
    return 100 * math.expm1(d)


def _differences(link: str, of_arm: Record, of_reference: Record) -> tuple[list[list[float]], str | None]:
    """Return the differences of every pair, grouped by study, or the first failed run in words."""
    by_study: dict[int, list[float]] = {}
    for one, two in zip(of_arm["runs"], of_reference["runs"], strict=True):
        study = by_study.setdefault(one["study"], [])
        values = [figure_of(run, link) for run in (one, two)]
        if values[0] is None or values[1] is None:
            failed = " and ".join(
                record["arm"] for record, value in zip((of_arm, of_reference), values, strict=True) if value is None
            )
            what = "failed" if link == "generalisation" else "could not be measured"
            return [], f"study {one['study']}, seed {one['seed']}: the run of {_words(failed)} {what}"
        study.append(values[0] - values[1])
    return list(by_study.values()), None


def activity(of_arm: Record, of_reference: Record, min_activity: float) -> dict[str, Any]:
    """Tell whether the arm lowers the coefficient of variation of its singular values.

    Returns:
        `activity_percent`, the mean over studies of the relative change; `inactive`, whether it is a fall by less
        than min_activity; and in how many studies it is.
    """
    by_study: dict[int, list[float]] = {}
    for one, two in zip(of_arm["runs"], of_reference["runs"], strict=True):
        if one["conditioning"] is not None and two["conditioning"] is not None:
            logs = [
                np.mean([math.log(layer["coefficient_of_variation"]) for layer in run["layers"]]) for run in (one, two)
            ]
            by_study.setdefault(one["study"], []).append(float(logs[0] - logs[1]))
    changes = [math.fsum(study) / len(study) for study in by_study.values()]
    if not changes:
        return dict.fromkeys(ACTIVITY)
    bound, mean = math.log1p(-min_activity), math.fsum(changes) / len(changes)
    inactive = sum(change > bound for change in changes)
    return {"activity_percent": percent(mean), "inactive": mean > bound, "inactive_studies": inactive}


def best_curve(record: Record) -> list[float] | None:
    """Return an arm's expected best validation loss against the number of trials, averaged over its studies."""
    curves = [
        statistics.expected_best([trial["objective"] for trial in study["trials"]]) for study in record["studies"]
    ]
    columns = [[value for value in column if value is not None] for column in zip(*curves, strict=True)]
    return [math.fsum(column) / len(column) for column in columns] if all(columns) else None


def late_gain(curve: Sequence[float] | None) -> float:
    """Return by how much (as a logarithm) the second half of the trials lowered the expected best loss."""
    if curve is None or len(curve) < 2:
        return 0.0
    return math.log(curve[len(curve) // 2 - 1] / curve[-1])


def _inactive(common: Record, tuned: Record) -> list[str]:
    if not common["inactive_studies"]:
        return []
    where = f"in {common['inactive_studies']} of {len(tuned['studies'])} studies"
    return [f"penalty inactive {'on average and ' if common['inactive'] else ''}{where}"]


def _flags(
    params: Params, arm: str, reference: str, tune: Records, curves: Mapping[str, list[float] | None]
) -> list[str]:
    flags = []
    for richer, other in ((arm, reference), (reference, arm)):
        gain = late_gain(curves[richer])
        if len(params.arms[richer].tune) > len(params.arms[other].tune) and gain > math.log1p(params.compare.margin):
            lowered = f"the last half of the trials lowered the expected best loss of {_words(richer)}"
            flags.append(f"budget-limited: {lowered} by {-percent(-gain):.1f} %")
    for each in (arm, reference):
        ends = _on_boundary(params, each, tune[each])
        n = len(tune[each]["studies"])
        flags += [
            f"{_words(each)}: {_words(knob)} on the boundary in {ends.count(knob)} of {n} studies"
            for knob in dict.fromkeys(ends)
        ]
    return flags


def _on_boundary(params: Params, arm: str, record: Record) -> list[str]:
    """Return the knobs of every study's winner that lie near the end of their range."""
    ranges = params.arms[arm].ranges(params.tuning.space)
    return [
        knob
        for study in record["studies"]
        for knob, value in study["best"].items()
        if knob in ranges and near_end(value, *ranges[knob], params.compare.boundary)
    ]


def sentence(contrast: Record, trials: int) -> str:
    """Say a contrast in one sentence."""
    subject = f"{_words(contrast['arm'])} against {_words(contrast['reference'])}, {contrast['link'].replace('_', ' ')}"
    if contrast["effect_percent"] is None:
        return f"{subject}: no verdict, since {contrast['reason']}."
    interval = "no interval from one study"
    if contrast["ci_low"] is not None:
        ends = f"{contrast['ci_low']:+.2f} to {contrast['ci_high']:+.2f}"
        interval = f"{100 * contrast['level']:.3g} % interval {ends}; {contrast['n_studies']} studies"
    result = (
        f"{subject}: the {FIGURES[contrast['link']]} changes by {contrast['effect_percent']:+.2f} % "
        f"({interval}, {contrast['n_pairs']} pairs) at a budget of {trials} trials: {contrast['verdict']}"
    )
    if contrast["verdict"] == "inconclusive":
        needed = contrast["studies_needed"]
        result += f", about {needed} studies needed" if needed else ", more than 1000 studies needed"
    if contrast["verdict"] == "not supported":
        result += f" (practically equal, within {contrast['margin_percent']:g} %)"
    if contrast["reason"]:
        result += f" ({contrast['reason']})"
    return result + "".join(f"; {flag}" for flag in contrast["flags"]) + "."


def _words(arm: str) -> str:
    return arm.replace("_", " ")


def overall(contrasts: Sequence[Record], listed: Sequence[tuple[str, str]], trials: int) -> list[str]:
    """Say in a sentence whether the hypothesis is supported, and which links of the first contrast hold.

    Args:
        contrasts: entries of the summary.
        listed: (arm, reference) in params; the first two decide, never an arm's declared reference.
        trials: the tuning budget.

    Returns:
        One sentence; none without a contrast.
    """
    if not listed:
        return []
    found = {(c["arm"], c["reference"], c["link"]): c for c in contrasts}
    decisive = [found[arm, reference, "generalisation"] for arm, reference in listed[:2]]
    verdicts = [c["verdict"] for c in decisive]
    names = " and ".join(f"{_words(c['arm'])} against {_words(c['reference'])} ({c['verdict']})" for c in decisive)
    if len(decisive) < 2:
        conclusion = f"there is no verdict on the hypothesis as a whole, which takes two contrasts: {names}"
    elif "no verdict" in verdicts:
        conclusion = f"there is no verdict on the hypothesis: {names}"
    elif all(each == "supported" for each in verdicts):
        conclusion = f"the hypothesis is supported: {names}"
    else:
        conclusion = f"the hypothesis as a whole is not established: {names}; it takes both to be supported"
    chain = [found[*listed[0], link] for link in (*SIMULTANEOUS, "generalisation")]
    return [f"At a budget of {trials} trials {conclusion}. {_chain(chain)}"]


def _chain(links: Sequence[Record]) -> str:
    """Say which of the links of one contrast hold, and which do not."""
    phrases = {
        "supported": "holds",
        "not supported": "no change beyond the margin",
        "opposite": "the other way",
        "inconclusive": "open",
        "no verdict": "no verdict",
    }
    by_phrase: dict[str, list[str]] = {phrase: [] for phrase in phrases.values()}
    for c in links:
        by_phrase[phrases[c["verdict"]]].append(_words(c["link"]))
    parts = [f"{phrase}: {', '.join(names)}" for phrase, names in by_phrase.items() if names]
    return f"Links, {_words(links[0]['arm'])} against {_words(links[0]['reference'])}: {'; '.join(parts)}."


def _flat(contrasts: Sequence[Record]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for number, contrast in enumerate(c for c in contrasts if c["link"] == "generalisation"):
        name = f"{contrast['arm']}_vs_{contrast['reference']}"
        flat[f"{name}_percent"] = contrast["effect_percent"]
        if number == 0:
            flat |= {f"{name}_ci_low": contrast["ci_low"], f"{name}_ci_high": contrast["ci_high"]}
        flat[f"{name}_verdict"] = contrast["verdict"]
    return flat


def _arms(
    params: Params, tune: Records, train: Records, curves: Mapping[str, list[float] | None]
) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "penalty": record["penalty"],
            "n_studies": record["n_studies"],
            "n_trials": record["n_trials"],
            "winners": [{"study": study["study"], **study["best"]} for study in record["studies"]],
            "on_boundary": sorted(set(_on_boundary(params, arm, record))),
            "expected_best": curves[arm],
            **{name: train[arm][name] for name in ("validation_loss", "test_loss", "test_accuracy")},
        }
        for arm, record in tune.items()
    ]


def verdict_table(summary: Record) -> str:
    """Return the verdicts as plain text: a line a contrast and link, then levels, the overall sentence and flags.

    At most LINES lines of COLUMNS characters; the first rows and notes are kept where there are more.
    """
    contrasts = summary["contrasts"]
    rows = [("contrast", "link", "effect", "interval", "verdict", "needs"), *_rows(contrasts)]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    widths[0] = min(widths[0], COLUMNS - sum(widths[1:]) - 2 * 5)
    table = [
        "  ".join(cell[:width].ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    flagged = [
        f"{_words(c['arm'])} vs {_words(c['reference'])}: {'; '.join(c['flags'])}."
        for c in contrasts
        if c["link"] == "generalisation" and c["flags"]
    ]
    notes = [
        line for note in [*_levels(contrasts), *summary["overall"], *flagged] for line in textwrap.wrap(note, COLUMNS)
    ]
    notes = _shorten(notes, LINES - min(len(table), LINES // 2 + 1))
    return "\n".join([*_shorten(table, LINES - len(notes)), *notes])


def _levels(contrasts: Sequence[Record]) -> list[str]:
    """Say at which confidence the intervals stand."""
    levels = {_words(c["link"]): f"{100 * c['level']:.3g} %" for c in contrasts}
    by_level: dict[str, list[str]] = {}
    for link, level in levels.items():
        by_level.setdefault(level, []).append(link)
    words = "; ".join(f"{level} for {', '.join(links)}" for level, links in by_level.items())
    return [f"Intervals: {words}."] if words else []


def _shorten(lines: list[str], n: int) -> list[str]:
    return lines if len(lines) <= n else [*lines[: n - 1], f"... and {len(lines) - n + 1} more lines in the summary"]


def _rows(contrasts: Sequence[Record]) -> Iterator[tuple[str, ...]]:
    for c in contrasts:
        needed = f"~{c['studies_needed']} studies" if c["studies_needed"] else ">1000 studies"
        yield (
            f"{_words(c['arm'])} vs {_words(c['reference'])}",
            c["link"].replace("_", " "),
            f"{c['effect_percent']:+.2f} %" if c["effect_percent"] is not None else "-",
            f"{c['ci_low']:+.2f} to {c['ci_high']:+.2f}" if c["ci_low"] is not None else "-",
            c["verdict"],
            needed if c["verdict"] == "inconclusive" else "",
        )
