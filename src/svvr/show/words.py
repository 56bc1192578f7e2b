"""Sentences that a reader can quote, and the verdict table: a finished summary in, plain text out."""

import itertools
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from svvr.links import BY_NAME, CHAIN, GENERALISATION, MEASURED

Record = Mapping[str, Any]

COLUMNS = 120  # of the verdict table
LATER = ("arms", "contrasts", "budget", "budget_verdicts")  # what stands below a summary's single figures
CAP = 999  # per cent; what lies further away says no more than that it is far
_PHRASES = {
    "supported": "holds",
    "not supported": "no change beyond the margin",
    "opposite": "the other way",
    "inconclusive": "open",
    "no verdict": "no verdict",
}


def name(arm: str) -> str:
    """Return an arm's or a row's name as it is written in text."""
    return arm.replace("_", " ")


def versus(contrast: Record) -> str:
    """Return the name of a contrast."""
    return f"{name(contrast['arm'])} vs {name(contrast['reference'])}"


def setting(of: Record) -> str:
    """Return the name of a setting of the dose-response."""
    decay = f"weight decay {of['weight_decay']:g}" if of["weight_decay"] else "no weight decay"
    return f"lr {of['lr']:g}, {decay}"


def against(contrast: Record) -> str:
    """Return the name of a contrast within a sentence."""
    return f"{name(contrast['arm'])} against {name(contrast['reference'])}"


def plural(noun: str, n: float) -> str:
    """Return a noun in the form that goes with a number."""
    return noun if n == 1 else {"study": "studies"}.get(noun, noun + "s")


def counted(noun: str, counts: Iterable[int]) -> str:
    """Return a number with its noun: one number where all agree, else the lowest to the highest."""
    found = sorted(set(counts)) or [0]
    number = f"{found[0]}" if len(found) == 1 else f"{found[0]} to {found[-1]}"
    return f"{number} {plural(noun, found[-1])}"


def percent(value: float) -> str:
    """Return a relative difference in per cent with its sign and without its unit, `> +999` from there on."""
    return f"> +{CAP}" if value > CAP else f"{value:+.2f}"


def interval(contrast: Record) -> str | None:
    """Return the ends of a contrast's interval in per cent, None where it has none or there is no verdict on it."""
    if contrast["ci_low"] is None or contrast["verdict"] == "no verdict":
        return None
    return f"{percent(contrast['ci_low'])} to {percent(contrast['ci_high'])}"


def confidence(level: float) -> str:
    """Return a confidence in words."""
    return f"{100 * level:.3g} %"


def needed(contrast: Record, about: str = "about ", more: str = "more than ") -> str:
    """Return how many studies, or replicates of the random design, would decide what is inconclusive; else nothing."""
    if contrast["verdict"] != "inconclusive":
        return ""
    unit = "replicates" if "replicates_needed" in contrast else "studies"
    number = contrast[f"{unit}_needed"]
    return f"{about}{number} {unit}" if number else f"{more}1000 {unit}"


def with_sentences(found: Record, listed: Sequence[tuple[str, str]], trials: int) -> dict[str, Any]:
    """Return a summary with a `sentence` in each contrast, and with `overall` before its arms and contrasts.

    Args:
        found: the comparison, flat figures first, then `arms`, `contrasts`, `budget` and `budget_verdicts`.
        listed: (arm, reference) in params.
        trials: the tuning budget.
    """
    flat = {key: value for key, value in found.items() if key not in LATER}
    contrasts = [{**entry, "sentence": sentence(entry, trials)} for entry in found["contrasts"]]
    rest = {key: found[key] for key in LATER} | {"contrasts": contrasts}
    return {**flat, "overall": overall(found, listed, trials), **rest}


def sentence(contrast: Record, trials: int) -> str:
    """Say a contrast in one sentence.

    Args:
        contrast: an entry of the summary; effects in per cent, None where runs failed.
        trials: the tuning budget.
    """
    link = BY_NAME[contrast["link"]]
    subject = f"{against(contrast)}, {link.words}"
    if contrast["effect_percent"] is None:
        return f"{subject}: no verdict, since {contrast['reason']}."
    ends = interval(contrast)
    between = f"{confidence(contrast['level'])} interval {ends}; " if ends else ""
    counts = f"{counted('study', [contrast['n_studies']])}, {counted('pair', [contrast['n_pairs']])}"
    result = (
        f"{subject}: the {link.figure} changes by {percent(contrast['effect_percent'])} % ({between}{counts}) "
        f"at a budget of {counted('trial', [trials])}: {contrast['verdict']}"
    )
    if contrast["verdict"] == "inconclusive":
        result += f", {needed(contrast)} needed"
    if contrast["verdict"] == "not supported":
        result += f" (practically equal, within {contrast['margin_percent']:g} %)"
    if contrast["reason"]:
        result += f" ({contrast['reason']})"
    return result + "".join(f"; {flag}" for flag in contrast["flags"]) + "."


def overall(found: Record, listed: Sequence[tuple[str, str]], trials: int) -> list[str]:
    """Say what came out: the verdict at the tuning budget, how it depends on the budget, and what remains open.

    Args:
        found: the comparison, with `contrasts`, `budget` and `budget_verdicts`.
        listed: (arm, reference) in params; the first two decide, never an arm's declared reference.
        trials: the tuning budget.

    Returns:
        The verdict on the hypothesis with the links of the first contrast; for the first two contrasts the effect of
        random search against the budget; what is undecided, with what would decide it. Nothing without a contrast.
    """
    if not listed:
        return []
    by_budget = (_by_budget(found, pair, trials) for pair in listed[:2])
    return [_tuned(found, listed, trials), *filter(None, by_budget), *_open(found, listed)]


def _tuned(summary: Record, listed: Sequence[tuple[str, str]], trials: int) -> str:
    """Say whether the hypothesis is supported by what the studies found, and which links of the first contrast hold."""
    found = {(c["arm"], c["reference"], c["link"]): c for c in summary["contrasts"]}
    decisive = [found[arm, reference, GENERALISATION.name] for arm, reference in listed[:2]]
    verdicts = [c["verdict"] for c in decisive]
    names = " and ".join(f"{against(c)} ({c['verdict']})" for c in decisive)
    if len(decisive) < 2:
        conclusion = f"there is no verdict on the hypothesis as a whole, which takes two contrasts: {names}"
    elif "no verdict" in verdicts:
        conclusion = f"there is no verdict on the hypothesis: {names}"
    elif all(each == "supported" for each in verdicts):
        conclusion = f"the hypothesis is supported: {names}"
    else:
        conclusion = f"the hypothesis as a whole is not established: {names}; it takes both to be supported"
    studies = counted("study", (c["n_studies"] for c in decisive))
    chain = [found[*listed[0], link.name] for link in CHAIN]
    search = {"tpe": "TPE", "random": "random search"}[summary["sampler"]]
    return f"At a budget of {counted('trial', [trials])} ({search}), in {studies}, {conclusion}. {_chain(chain)}"


def _by_budget(found: Record, pair: tuple[str, str], trials: int) -> str:
    """Say how a contrast's effect depends on the number of trials of random search; empty where it is not judged."""
    points, judged = (_of(found[key], pair) for key in ("budget", "budget_verdicts"))
    if not judged:
        return ""
    first = max(1, trials // 4)
    early = [p for p in points if p["n_trials"] == first < judged[0]["n_trials"] and p["effect_percent"] is not None]
    changes = [f"{percent(p['effect_percent'])} %" for p in early] + [_change(entry) for entry in judged]
    counts = [str(entry["n_trials"]) for entry in (*early, *judged)]
    counts[0] += f" {plural('trial', int(counts[0]))}"
    verdicts = [""] * len(early) + [f" ({entry['label'].split(',')[0]}: {entry['verdict']})" for entry in judged]
    parts = [f"{change} after {n}{verdict}" for n, change, verdict in zip(counts, changes, verdicts, strict=True)]
    result = f"By random search, {against(judged[0])} changes the {GENERALISATION.figure} by {_listed(parts)}."
    reasons = dict.fromkeys(entry["reason"] for entry in judged if entry["reason"])
    if reasons:
        return f"{result} No verdict: {'; '.join(reasons)}."
    (level,) = {c["level"] for c in _of(found["contrasts"], pair) if c["link"] == GENERALISATION.name}
    return f"{result} The {confidence(level)} interval {_sides(points)}."


def _change(entry: Record) -> str:
    """Return an effect with its interval, in per cent."""
    if entry["effect_percent"] is None:
        return "an unknown amount"
    ends = interval(entry)
    return f"{percent(entry['effect_percent'])} %" + (f" ({ends})" if ends else "")


def _listed(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def _sides(points: Sequence[Record]) -> str:
    """Say at which numbers of trials the interval lies on one side of 0."""
    last, parts = points[-1]["n_trials"], []
    for sign, group in itertools.groupby(points, _sign):
        numbers = [point["n_trials"] for point in group]
        low, high = numbers[0], numbers[-1]
        where = f"from {low} to {high} trials" if low < high else f"at {counted('trial', [low])}"
        if high == last:
            where = f"from {counted('trial', [low])} on" if low > 1 else "at every number of trials"
        elif low == 1:
            where = f"up to {counted('trial', [high])}"
        parts += [f"{'below' if sign < 0 else 'above'} 0 {where}"] if sign else []
    return f"lies {_listed(parts)}" if parts else "includes 0 at every number of trials"


def _sign(point: Record) -> int:
    if point["ci_low"] is None:
        return 0
    return int(point["ci_low"] > 0) - int(point["ci_high"] < 0)


def _open(found: Record, listed: Sequence[tuple[str, str]]) -> list[str]:
    """Say what is inconclusive and what would decide it, or that nothing is, where all has a verdict."""
    parts, verdicts = [], set()
    for pair in listed:
        tuned = [c for c in _of(found["contrasts"], pair) if c["link"] == GENERALISATION.name]
        places = [(c, f"in {counted('study', [c['n_studies']])}") for c in tuned]
        at_random = _of(found["budget_verdicts"], pair)
        places += [(entry, f"after {counted('trial', [entry['n_trials']])} of random search") for entry in at_random]
        undecided = [f"{where} ({needed(entry)} would decide)" for entry, where in places if needed(entry)]
        parts += [f"{against(tuned[0])} {_listed(undecided)}"] if undecided else []
        verdicts |= {entry["verdict"] for entry, _ in places}
    if parts:
        return [f"Open: {'; '.join(parts)}."]
    return [] if "no verdict" in verdicts else ["Nothing remains open at these budgets."]


def _of(entries: Sequence[Record], pair: tuple[str, str]) -> list[Record]:
    return [entry for entry in entries if (entry["arm"], entry["reference"]) == tuple(pair)]


def _chain(contrasts: Sequence[Record]) -> str:
    """Say which of the links of one contrast hold, and which do not."""
    parts = []
    for verdict, phrase in _PHRASES.items():
        links = [BY_NAME[c["link"]].words for c in contrasts if c["verdict"] == verdict]
        parts += [f"{phrase}: {', '.join(links)}"] if links else []
    return f"Links, {against(contrasts[0])}: {'; '.join(parts)}."


def verdict_table(summary: Record) -> str:
    """Return the verdicts as plain text of at most COLUMNS characters a line; none is left out.

    First a row for generalisation of every contrast, then one for each budget at which random search is judged, then
    one for each of its other links; then at which confidence the intervals stand, the overall sentences, and the flags.
    A new arm, one that comes after those of the first two contrasts, stands above them, the newest first; otherwise the
    order is that of the summary.
    """
    newness = _newness(summary)
    contrasts = sorted(summary["contrasts"], key=newness)
    question = [c for c in contrasts if c["link"] == GENERALISATION.name]
    chain = [c for c in contrasts if c["link"] != GENERALISATION.name]
    by_budget = sorted(summary["budget_verdicts"], key=newness)
    rows = [("contrast", "link", "effect", "interval", "verdict", "needs"), *map(_row, [*question, *by_budget, *chain])]
    flagged = [f"{versus(c)}: {'; '.join(c['flags'])}." for c in question if c["flags"]]
    notes = [*_levels(contrasts), *summary["overall"], *flagged]
    if by_budget:
        notes.insert(0, "Random search, n: generalisation of the best of n random trials.")
    return "\n".join([*_layout(rows), *(line for note in notes for line in textwrap.wrap(note, COLUMNS))])


def _newness(summary: Record) -> Callable[[Record], int]:
    """Return a sort key for contrasts that puts those of new arms first."""
    position = {entry["arm"]: i for i, entry in enumerate(summary["arms"])}
    settled: dict[tuple[str, str], int] = {}
    for c in summary["contrasts"]:
        if len(settled) < 2:
            settled[c["arm"], c["reference"]] = max(position[c["arm"]], position[c["reference"]])
    last = max(settled.values(), default=0)
    return lambda contrast: -max(position[contrast["arm"]], last)


def _row(c: Record) -> tuple[str, ...]:
    return (
        versus(c),
        BY_NAME[c["link"]].words if "link" in c else f"random search, {c['n_trials']}",
        f"{percent(c['effect_percent'])} %" if c["effect_percent"] is not None else "-",
        interval(c) or "-",
        c["verdict"],
        needed(c, "~", ">"),
    )


def _layout(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield the rows as lines with aligned columns; a long name goes on below its row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    widths[0] = min(widths[0], COLUMNS - sum(widths[1:]) - 2 * (len(widths) - 1))
    for first, *others in rows:
        start, *rest = textwrap.wrap(first, widths[0], subsequent_indent="  ")
        cells = zip((start, *others), widths, strict=True)
        yield "  ".join(cell.ljust(width) for cell, width in cells).rstrip()
        yield from rest


def _levels(contrasts: Sequence[Record]) -> list[str]:
    """Say at which confidence the intervals stand."""
    level = {c["link"]: confidence(c["level"]) for c in contrasts}
    by_level: dict[str, list[str]] = {}
    for link in (GENERALISATION, *MEASURED):
        if link.name in level:
            by_level.setdefault(level[link.name], []).append(link.words)
    words = "; ".join(f"{each} for {', '.join(links)}" for each, links in by_level.items())
    return [f"Intervals: {words}."] if words else []
