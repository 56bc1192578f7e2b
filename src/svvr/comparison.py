"""From the arms' records to effects, verdicts and the sentences that a reader can quote (pure)."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from svvr import statistics
from svvr.params import Params
from svvr.statistics import Floats

LINKS = ("generalisation", "conditioning", "smoothness", "gradient_stability")
SIMULTANEOUS = LINKS[1:]  # these share one error rate; generalisation is the question itself
FIGURES = {
    "generalisation": "test loss",
    "conditioning": "condition number (geometric mean over layers)",
    "smoothness": "top Hessian eigenvalue",
    "gradient_stability": "coefficient of variation of the gradient norm",
}
COLUMNS, LINES = 110, 25  # of the verdict table
Record = Mapping[str, Any]
Records = Mapping[str, Record]


def summarise(
    params: Params,
    tune: Records,
    train: Records,
    diagnose: Records | None,
    test_losses: Mapping[str, npt.NDArray[np.float32]],
) -> dict[str, Any]:
    """Weigh the arms against each other.

    Args:
        params: `compare`, the arms' references and knobs, the tuning budget and the selection rule are read.
        tune: arm -> its tuning record.
        train: arm -> its record of final runs.
        diagnose: arm -> its record of diagnosed runs; None, or without an arm, where they were not measured.
        test_losses: arm -> (studies, n_test) per-example losses averaged over a study's runs, nats.

    Returns:
        Flat figures first, then `overall` (sentences), `arms` and `contrasts`; effects in percent.

    Raises:
        ValueError: where a record is missing, of another arm or unusable, or two arms' runs are not paired.
    """
    diagnose = diagnose or {}
    check_records(params, tune, train, diagnose)
    pairs = pairs_to_compare(params)
    for arm, reference in pairs:
        check_pairing(arm, reference, train[arm], train[reference])
    for arm, record in diagnose.items():
        _check_diagnosed(arm, record, train[arm])
    curves = {arm: best_curve(record) for arm, record in tune.items()}
    contrasts = []
    for arm, reference in pairs:
        common = {"activity_percent": None, "inactive": False, "inactive_studies": 0}
        if diagnosed := arm in diagnose and reference in diagnose:
            check_pairing(arm, reference, diagnose[arm], diagnose[reference])
            common = activity(diagnose[arm], diagnose[reference], params.compare.min_activity)
        inactive = ["penalty inactive"] if common["inactive"] and params.arms[arm].penalty.name != "none" else []
        flags = [*inactive, *_flags(params, arm, reference, tune, curves)]
        for link in LINKS:
            if link == "generalisation":
                contrast = compare(params, arm, reference, link, train[arm], train[reference])
                contrast["sampling_se_percent"] = _sampling_error(contrast, test_losses)
            elif diagnosed:
                contrast = compare(params, arm, reference, link, diagnose[arm], diagnose[reference])
            else:
                contrast = {**_rule(params, arm, reference, link), **_unknown(0, "its runs were not diagnosed")}
            contrast |= {**common, "flags": flags}
            contrast["sentence"] = sentence(contrast, params.tuning.trials)
            contrasts.append(contrast)
    return {
        **_flat(contrasts),
        "overall": overall(contrasts, params.compare.contrasts, params.tuning.trials),
        "arms": _arms(tune, train, curves),
        "contrasts": contrasts,
    }


def check_records(params: Params, tune: Records, train: Records, diagnose: Records) -> None:
    """Refuse records that are missing or of other settings; each by itself is taken to be what `svvr.schemas` says.

    Raises:
        ValueError: naming the kind of record, the arm, what was got and what was expected.
    """
    for kind, gathered in (("tuning", tune), ("final", train)):
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


def _sampling_error(contrast: Record, test_losses: Mapping[str, npt.NDArray[np.float32]]) -> float | None:
    """Return the test-sampling standard error of an effect in percent, None where there is no effect."""
    if contrast["effect_percent"] is None:
        return None
    arrays = [test_losses[contrast[role]] for role in ("arm", "reference")]
    for role, array in zip(("arm", "reference"), arrays, strict=True):
        expected = (contrast["n_studies"], arrays[0].shape[-1])
        if array.shape != expected or not np.isfinite(array).all():
            got = f"shape {array.shape}, {np.count_nonzero(~np.isfinite(array))} not finite"
            raise ValueError(f"test losses of arm {contrast[role]}: got {got}, expected shape {expected}, all finite")
    error = statistics.sampling_error(*(array.mean(0, dtype=np.float64) for array in arrays))
    return float((100 + contrast["effect_percent"]) * error)


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
    intervals = {name: statistics.mean_interval(effects, each) for name, each in (("ci90", inner), ("ci95", outer))}
    smoke = len(effects) < statistics.MIN_STUDIES or min(map(len, by_study)) < statistics.MIN_SEEDS
    decision = "no verdict" if smoke else statistics.verdict(effects, margin, inner, outer)
    needed = None
    if decision == "inconclusive":
        needed = statistics.studies_needed(
            float(np.mean(effects)), float(np.std(effects, ddof=1)), margin, inner, outer
        )
    return {
        **result,
        "n_studies": len(effects),
        "n_pairs": len(pairs),
        "effect_percent": percent(intervals["ci95"][0]),
        **{
            f"{name}_{end}": percent(v[i]) if len(effects) > 1 else None  # one study has no interval
            for name, v in intervals.items()
            for i, end in ((1, "low"), (2, "high"))
        },
        "p_better": statistics.p_better(pairs),
        "verdict": decision,
        "reason": "fewer than 3 studies or 2 seeds: a smoke run" if smoke else None,
        "studies_needed": needed,
        "study_effects": [percent(d) for d in effects],
        "pair_effects": [[percent(d) for d in study] for study in by_study],
        "sampling_se_percent": None,
        "given_these_winners": statistics.given_these_winners(pairs) if len(pairs) > 1 else None,
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
    figures = ("n_pairs", "effect_percent", "ci90_low", "ci90_high", "ci95_low", "ci95_high", "p_better")
    return {
        "n_studies": n_studies,
        **dict.fromkeys((*figures, "studies_needed", "sampling_se_percent", "given_these_winners")),
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
            return [], f"study {one['study']}, seed {one['seed']}: the run of {_words(failed)} failed"
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
        return {"activity_percent": None, "inactive": False, "inactive_studies": 0}
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


def budget_limited(curve: Sequence[float] | None, margin: float) -> bool:
    """Tell whether the second half of the trials still lowered the expected best loss by more than the margin."""
    if curve is None or len(curve) < 2:
        return False
    return math.log(curve[len(curve) // 2 - 1] / curve[-1]) > math.log1p(margin)


def _flags(
    params: Params, arm: str, reference: str, tune: Records, curves: Mapping[str, list[float] | None]
) -> list[str]:
    more_knobs = len(params.arms[arm].tune) > len(params.arms[reference].tune)
    flags = ["budget-limited"] if more_knobs and budget_limited(curves[arm], params.compare.margin) else []
    for each in (arm, reference):
        counts: dict[str, int] = {}
        for study in tune[each]["studies"]:
            for knob in study["on_boundary"]:
                counts[knob] = counts.get(knob, 0) + 1
        n = len(tune[each]["studies"])
        flags += [f"{each}: {knob} on the boundary in {count} of {n} studies" for knob, count in counts.items()]
    return flags


def sentence(contrast: Record, trials: int) -> str:
    """Say a contrast in one sentence."""
    subject = f"{_words(contrast['arm'])} against {_words(contrast['reference'])}, {contrast['link'].replace('_', ' ')}"
    if contrast["effect_percent"] is None:
        return f"{subject}: no verdict, since {contrast['reason']}."
    interval = "no interval from one study"
    if contrast["ci95_low"] is not None:
        ends = f"{contrast['ci95_low']:+.2f} to {contrast['ci95_high']:+.2f}"
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
    """Say what the links of the first contrast hold, and whether the hypothesis is supported.

    Args:
        contrasts: entries of the summary.
        listed: (arm, reference) in params; the first two decide, never an arm's declared reference.
        trials: the tuning budget.
    """
    if not listed:
        return []
    found = {(c["arm"], c["reference"], c["link"]): c for c in contrasts}
    decisive = [found[arm, reference, "generalisation"] for arm, reference in listed[:2]]
    chain = [found[*listed[0], link] for link in (*SIMULTANEOUS, "generalisation")]
    links = ", ".join(f"{c['link'].replace('_', ' ')} {c['verdict']}" for c in chain)
    verdicts = [c["verdict"] for c in decisive]
    names = " and ".join(f"{_words(c['arm'])} against {_words(c['reference'])} ({c['verdict']})" for c in decisive)
    budget = f"at a budget of {trials} trials"
    if len(decisive) < 2:
        conclusion = f"No verdict on the hypothesis as a whole, which takes two contrasts, {budget}: {names}."
    elif "no verdict" in verdicts:
        conclusion = f"No verdict on the hypothesis {budget}: {names}."
    elif all(each == "supported" for each in verdicts):
        conclusion = f"The hypothesis is supported {budget}: {names}."
    else:
        conclusion = f"The hypothesis as a whole is not established {budget}: {names}; it takes both to be supported."
    return [conclusion, f"Link by link, {_words(listed[0][0])} against {_words(listed[0][1])}: {links}."]


def _flat(contrasts: Sequence[Record]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for number, contrast in enumerate(c for c in contrasts if c["link"] == "generalisation"):
        name = f"{contrast['arm']}_vs_{contrast['reference']}"
        flat[f"{name}_percent"] = contrast["effect_percent"]
        if number == 0:
            flat |= {f"{name}_ci95_low": contrast["ci95_low"], f"{name}_ci95_high": contrast["ci95_high"]}
        flat[f"{name}_verdict"] = contrast["verdict"]
    return dict(list(flat.items())[:12])


def _arms(tune: Records, train: Records, curves: Mapping[str, list[float] | None]) -> list[dict[str, Any]]:
    return [
        {
            "arm": arm,
            "penalty": record["penalty"],
            "n_studies": record["n_studies"],
            "n_trials": record["n_trials"],
            "winners": [{"study": study["study"], **study["best"]} for study in record["studies"]],
            "on_boundary": sorted({knob for study in record["studies"] for knob in study["on_boundary"]}),
            "expected_best": curves[arm],
            **{name: train[arm][name] for name in ("validation_loss", "test_loss", "test_accuracy")},
        }
        for arm, record in tune.items()
    ]


def verdict_table(summary: Record) -> str:
    """Return the verdicts as plain text: a line a contrast and link, then flags and the overall sentences.

    At most LINES lines of COLUMNS characters; the first rows and notes are kept where there are more.
    """
    rows = [("contrast", "link", "effect", "interval", "verdict"), *_rows(summary["contrasts"])]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    widths[0] = min(widths[0], COLUMNS - sum(widths[1:]) - 2 * 4)
    table = [
        "  ".join(cell[:width].ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    flagged = [
        f"{_words(c['arm'])} vs {_words(c['reference'])}: {'; '.join(c['flags'])}."
        for c in summary["contrasts"]
        if c["link"] == "generalisation" and c["flags"]
    ]
    notes = [line for note in [*summary["overall"], *flagged] for line in textwrap.wrap(note, COLUMNS)]
    notes = _shorten(notes, LINES - min(len(table), LINES // 2 + 1))
    return "\n".join([*_shorten(table, LINES - len(notes)), *notes])


def _shorten(lines: list[str], n: int) -> list[str]:
    return lines if len(lines) <= n else [*lines[: n - 1], f"... and {len(lines) - n + 1} more lines in the summary"]


def _rows(contrasts: Sequence[Record]) -> Iterator[tuple[str, str, str, str, str]]:
    for c in contrasts:
        yield (
            f"{_words(c['arm'])} vs {_words(c['reference'])}",
            c["link"].replace("_", " "),
            f"{c['effect_percent']:+.2f} %" if c["effect_percent"] is not None else "-",
            f"{c['ci95_low']:+.2f} to {c['ci95_high']:+.2f}" if c["ci95_low"] is not None else "-",
            c["verdict"],
        )
