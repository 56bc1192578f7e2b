"""Sentences that a reader can quote, and the verdict table: a finished summary in, plain text out."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from svvr.links import BY_NAME, CHAIN, GENERALISATION, MEASURED

Record = Mapping[str, Any]

COLUMNS = 120  # of the verdict table
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
    """Return how many studies would decide an inconclusive contrast; empty for another."""
    if contrast["verdict"] != "inconclusive":
        return ""
    studies = contrast["studies_needed"]
    return f"{about}{studies} studies" if studies else f"{more}1000 studies"


def with_sentences(found: Record, listed: Sequence[tuple[str, str]], trials: int) -> dict[str, Any]:
    """Return a summary with a `sentence` in each contrast, and with `overall` before its arms and contrasts.

    Args:
        found: the comparison, flat figures first, then `arms` and `contrasts`.
        listed: (arm, reference) in params.
        trials: the tuning budget.
    """
    flat = {key: value for key, value in found.items() if key not in ("arms", "contrasts")}
    contrasts = [{**entry, "sentence": sentence(entry, trials)} for entry in found["contrasts"]]
    return {**flat, "overall": overall(contrasts, listed, trials), "arms": found["arms"], "contrasts": contrasts}


def sentence(contrast: Record, trials: int) -> str:
    """Say a contrast in one sentence.

    Args:
        contrast: an entry of the summary; effects in per cent, None where runs failed.
        trials: the tuning budget.
    """
    link = BY_NAME[contrast["link"]]
    subject = f"{name(contrast['arm'])} against {name(contrast['reference'])}, {link.words}"
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
    decisive = [found[arm, reference, GENERALISATION.name] for arm, reference in listed[:2]]
    verdicts = [c["verdict"] for c in decisive]
    names = " and ".join(f"{name(c['arm'])} against {name(c['reference'])} ({c['verdict']})" for c in decisive)
    if len(decisive) < 2:
        conclusion = f"there is no verdict on the hypothesis as a whole, which takes two contrasts: {names}"
    elif "no verdict" in verdicts:
        conclusion = f"there is no verdict on the hypothesis: {names}"
    elif all(each == "supported" for each in verdicts):
        conclusion = f"the hypothesis is supported: {names}"
    else:
        conclusion = f"the hypothesis as a whole is not established: {names}; it takes both to be supported"
    chain = [found[*listed[0], link.name] for link in CHAIN]
    return [f"At a budget of {counted('trial', [trials])} {conclusion}. {_chain(chain)}"]


def _chain(contrasts: Sequence[Record]) -> str:
    """Say which of the links of one contrast hold, and which do not."""
    parts = []
    for verdict, phrase in _PHRASES.items():
        links = [BY_NAME[c["link"]].words for c in contrasts if c["verdict"] == verdict]
        parts += [f"{phrase}: {', '.join(links)}"] if links else []
    first = contrasts[0]
    return f"Links, {name(first['arm'])} against {name(first['reference'])}: {'; '.join(parts)}."


def verdict_table(summary: Record) -> str:
    """Return the verdicts as plain text of at most COLUMNS characters a line; none is left out.

    First a row for generalisation of every contrast, then one for each of its other links; then at which confidence
    the intervals stand, the overall sentences, and the flags. A new arm, one that comes after those of the first two
    contrasts, stands above them, the newest first; otherwise the order is that of the summary.
    """
    contrasts = sorted(summary["contrasts"], key=_newness(summary))
    question = [c for c in contrasts if c["link"] == GENERALISATION.name]
    chain = [c for c in contrasts if c["link"] != GENERALISATION.name]
    rows = [("contrast", "link", "effect", "interval", "verdict", "needs"), *map(_row, [*question, *chain])]
    flagged = [f"{versus(c)}: {'; '.join(c['flags'])}." for c in question if c["flags"]]
    notes = [*_levels(contrasts), *summary["overall"], *flagged]
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
        BY_NAME[c["link"]].words,
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
