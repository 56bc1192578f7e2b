"""Verdicts as text: sentences and tables from a finished summary."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from svvr.links import BY_NAME, GENERALISATION
from svvr.params import Params

Record = Mapping[str, Any]
WIDTH = 120  # columns of `table`
CAP = 999  # per cent; of a larger effect the text only says that it is larger
SAMPLERS = {"tpe": "TPE", "random": "random search"}
DECIDED = ("better", "worse")
REFERENCES = {"adam": "Adam", "adamw": "AdamW"}  # of the league
CONCLUSIONS = {each: f"the hypothesis is {each}" for each in ("supported", "not supported", "undecided")}
CONCLUSIONS |= {"no verdict": "there is no verdict on the hypothesis"}


def answer(summary: Record, params: Params) -> str:
    """Return what `make repro` ends with: the question, then at most three lines a contrast."""
    rows, decisive = test_loss(summary), _decisive(summary, params)
    if not rows:
        return "Nothing to compare: no arm has a reference."
    asked = ", and ".join(f"{row['arm']} better than {row['reference']}" for row in decisive)
    why = "" if len(decisive) == 2 else ", which takes the first two contrasts of compare.contrasts"
    lines = [f"{asked and f'Is {asked}? '}{CONCLUSIONS[summary['hypothesis']].capitalize()}{why}."]
    for row in rows:
        found = f". Test loss {effect(row, f'{_level(row)} interval ')}; {_count(row['n_studies'], 'study')}"
        if needs := needed(row, row["n_studies"]):
            found += f"; {needs} would decide if mean and spread stayed"
        lines += ["", f"{_name(row)}: {verdict(row)}{_because(row) or found}."]
        at_random = [_at_random(entry) for entry in matching(summary["budget_verdicts"], row)]
        lines += [f"  Random search: {'; '.join(at_random)}."] if at_random else []
        lines.append(f"  Links: {_links(_measured(summary, row))}.")
    flagged = sum(bool(row["flags"]) for row in rows)
    flags = f" and the flags on {_count(flagged, 'contrast')}" if flagged else ""
    return "\n".join([*lines, "", f"Details{flags}: make verdicts"])


def table(summary: Record) -> str:
    """Return every effect, interval, verdict and flag in lines of at most WIDTH columns, a block a contrast."""
    lines: list[str] = []
    for row in test_loss(summary):
        at_random = matching(summary["budget_verdicts"], row)
        entries = [("generalisation (test loss)", row)]
        entries += [(f"random search, {_count(entry['n_trials'], 'trial')}", entry) for entry in at_random]
        entries += [(BY_NAME[c["link"]].words, c) for c in _measured(summary, row)]
        lines += textwrap.wrap(_name(row), WIDTH)
        for label, entry in entries:
            cells = effect(entry), verdict(entry), needed(entry)
            lines.append("  {:<29}{:<31}{:<28}{}".format(label, *cells).rstrip())
        reasons = [f"{label}: no verdict, {entry['reason']}" for label, entry in entries if entry["reason"]]
        lines += [*_wrapped([*reasons, *row["flags"]], "  * "), ""]
    levels: dict[str, dict[str, None]] = {}
    for c in summary["contrasts"]:
        levels.setdefault(_level(c), {})[BY_NAME[c["link"]].words] = None
    notes = [f"{level} intervals: {', '.join(links)}." for level, links in levels.items()]
    return "\n".join([*lines, *_wrapped([*notes, *summary["overall"]])])


def overall(summary: Record, params: Params) -> list[str]:
    """Return what came out: the hypothesis with its contrasts, and their effects against the budget."""
    decisive = _decisive(summary, params)
    search = f"{_count(params.tuning.trials, 'trial')} ({SAMPLERS[params.tuning.sampler]})"
    studies = _count(params.tuning.studies, "study")
    conclusion = f"At a budget of {search}, in {studies}, {CONCLUSIONS[summary['hypothesis']]}"
    if len(decisive) < 2:
        conclusion += ", which takes two contrasts"
    clauses = "; ".join(map(_clause, decisive))
    return [f"{conclusion}.{clauses and f' {clauses}.'}", *by_budget(summary, params)]


def by_budget(summary: Record, params: Params) -> list[str]:
    """Return how each contrast of the hypothesis depends on the number of trials, where the design says it."""
    return [*filter(None, (_against_budget(summary, row, params) for row in _decisive(summary, params)))]


def published(repeated: pd.DataFrame) -> str:
    """Return where the published regularized run started, from the ranges of analysis.replication.summarise."""
    if repeated["published"].isna().all():
        return "The replication has other settings or data than the published experiment."
    rows = repeated.set_index("row")
    loss, low, high = (rows[name].to_dict() for name in ("published", "last_min", "last_max"))
    claim, kinds = loss["regularized_fresh"], ("regularized_continued", "regularized_fresh")
    continued, fresh = (low[kind] <= claim <= high[kind] for kind in kinds)
    said = "may have started from either" if continued else "lies in neither range"
    if continued != fresh:
        said = f"{'did not start' if continued else 'started'} from the baseline's initial weights"
        said += " but was continued from the trained baseline" if continued else ""
    found = " and ".join(f"{low[kind]:.2f} to {high[kind]:.2f} ({kind[12:]} runs)" for kind in kinds)
    return f"The published regularized run, validation loss {claim:.3f}, {said}: its settings give {found}."


def works(summary: Record) -> str:
    """Return which arms are better than which reference, and by how much."""
    rows, found = test_loss(summary), []
    for reference in dict.fromkeys(row["reference"] for row in rows):
        better = [row for row in rows if row["reference"] == reference and row["verdict"] == "better"]
        names = [f"{row['arm']} {effect(row)}{verdict(row).removeprefix('better')}" for row in better]
        found.append(f"Better than {reference}: {'; '.join(names) or 'none'}.")
    return " ".join(found)


def contrast_table(summary: Record) -> pd.DataFrame:
    """Return a row a contrast: its name, the change of test loss and the verdict."""
    rows = test_loss(summary)
    change = f"change of test loss ({_level(rows[0])} interval)" if rows else "change of test loss"
    cells = []
    for row in rows:
        needs = needed(row, row["n_studies"])
        note = _because(row) or (needs and f" ({needs})")
        cells.append((_name(row), effect(row), f"{verdict(row)}{note}"))
    return pd.DataFrame(cells, columns=["contrast", change, "verdict"])


def brief(summary: Record) -> dict[str, str]:
    """Return the change of test loss (%) and the verdict as DVC's tables show it: "-0.72 better" of "regu-base"."""
    rows = test_loss(summary)
    keys = [f"{_short(row['arm'])}-{_short(row['reference'])}" for row in rows]
    return {
        key if keys.count(key) == 1 else _name(row): f"{_percent(row['effect_percent'])} {row['verdict']}"
        for row, key in zip(rows, keys, strict=True)
    }


def _short(arm: str) -> str:
    return "".join(word[0] for word in arm.split("_") if word) if "_" in arm else arm[:4]


def verdict(entry: Record) -> str:
    """Return a verdict in words, which say where a decided effect lies within the margin."""
    decided = entry["verdict"] in DECIDED
    return f"{entry['verdict']}{', within the margin' if decided and entry['within_margin'] else ''}"


def effect(entry: Record, before: str = "") -> str:
    """Return an effect with its interval, in per cent; no interval stands beside "no verdict"."""
    if entry["effect_percent"] is None:
        return "unknown"
    if entry["ci_low"] is None or entry["verdict"] == "no verdict":
        return f"{_percent(entry['effect_percent'])}%"
    return f"{_percent(entry['effect_percent'])}% ({before}{_percent(entry['ci_low'])} to {_percent(entry['ci_high'])})"


def needed(entry: Record, done: int = 0) -> str:
    """Return how many studies or replicates, beyond those done, would decide what is undecided; else nothing."""
    if entry.get("verdict") != "undecided":
        return ""
    noun, key = ("replicate", "replicates_needed") if "replicates_needed" in entry else ("study", "studies_needed")
    if not (total := entry[key]):
        return f"more than {_count(1000, noun)}"
    return f"about {_count(total - done, noun, 'more ' if done else '')}"


def _clause(row: Record) -> str:
    found = _because(row) or f", test loss {effect(row, f'{_level(row)} interval ')}"
    return f"{_name(row)}: {verdict(row)}{found}"


def _at_random(entry: Record) -> str:
    after = f"after {_count(entry['n_trials'], 'trial')}"
    if entry["reason"]:
        return f"no verdict {after}{_because(entry)}"
    return f"{effect(entry)} {after}, {verdict(entry)}"


def _against_budget(summary: Record, row: Record, params: Params) -> str:
    """Say how a contrast depends on the number of trials; empty where the design is too small for a verdict."""
    entries = matching(summary["budget_verdicts"], row)
    if not entries:
        return ""
    first = max(1, params.tuning.trials // 4)
    early = [
        f"{_percent(point['effect_percent'])}% after {_count(first, 'trial')}"
        for point in matching(summary["budget"], row)
        if point["n_trials"] == first < entries[0]["n_trials"] and point["effect_percent"] is not None
    ]
    said = "; ".join([*early, *(_at_random(entry) for entry in entries)])
    start = entries[-1].get("decided_from")
    turn = f" The interval excludes 0 from {_count(start, 'trial')} on." if start else ""
    return f"Random search, {_name(row)}: {said}.{turn}"


def _links(links: list[Record]) -> str:
    """Return the measured links by verdict, e.g. "conditioning, smoothness: better; gradient stability: equal"."""
    by_verdict: dict[str, list[str]] = {}
    for link in links:
        by_verdict.setdefault(verdict(link), []).append(BY_NAME[link["link"]].words)
    return "; ".join(f"{', '.join(names)}: {word}" for word, names in by_verdict.items())


def at_equal_conditioning(found: pd.DataFrame) -> str:
    """Return what the paths of the dose-response say of loss at equal conditioning, a frame of the analysis."""
    if found.empty:
        return "The paths share no condition number: they do not say whether equal conditioning gives equal loss."
    form, columns, said = "{:.3f} ({:.3f} to {:.3f}) with {}", ["mean", "ci_low", "ci_high", "setting"], []
    for (place, conditioning), rows in found.groupby(["place", "conditioning"], sort=False):
        losses = " and ".join(form.format(*row) for row in rows[columns].to_numpy())
        apart = rows["ci_low"].max() > rows["ci_high"].min()
        end = "equal conditioning does not give equal loss" if apart else "the intervals overlap"
        said.append(f"At ln κ = {conditioning:.2f}, {place} all paths reach, the test loss is {losses}: {end}.")
    return " ".join(said)


def competitor(row: Record) -> str:
    """Return the name of a row of the league."""
    name = {False: "Adam", True: "AdamW"}[row["decay"]] if row["penalty"] == "none" else row["penalty"]
    return f"{name} with decay" if row["decay"] and row["penalty"] != "none" else str(name)


def league(rows: Sequence[Record], level: float) -> list[str]:
    """Return what the league says: of all results against each reference, and who is better than AdamW most often."""
    if not rows:
        return ["The league has not been run: `make survey`."]
    found, judged = [], [row for row in rows if row["adamw_p_holm"] is not None]
    for key, name in REFERENCES.items():
        pairs = [(row[f"{key}_verdict"], row[f"{key}_p_holm"]) for row in rows if row[f"{key}_p_holm"] is not None]
        every = " and ".join(f"{sum(verdict == each for verdict, _ in pairs)} {each}" for each in DECIDED)
        kept = " and ".join(str(sum(verdict == each and p < 1 - level for verdict, p in pairs)) for each in DECIDED)
        chance = f"chance alone: at most about {(1 - level) * len(pairs):.0f}"
        found.append(f"Against {name}: {every} of {len(pairs)} ({chance}); after Holm's correction {kept}.")
    tried = Counter(competitor(row) for row in judged)
    wins = Counter(competitor(row) for row in judged if row["adamw_verdict"] == "better").most_common()
    best = [f"{name} (in {n} of {_count(tried[name], 'regime')})" for name, n in wins if n == wins[0][1]]
    return [*found, f"Better than AdamW most often: {', '.join(best) or 'nothing'}."]


def test_loss(summary: Record) -> list[Record]:
    """Return the contrasts in test loss."""
    return [row for row in summary["contrasts"] if row["link"] == GENERALISATION.name]


def _decisive(summary: Record, params: Params) -> list[Record]:
    listed = params.compare.contrasts[:2]
    return [row for row in test_loss(summary) if (row["arm"], row["reference"]) in listed]


def _measured(summary: Record, row: Record) -> list[Record]:
    return [c for c in matching(summary["contrasts"], row) if c["link"] != GENERALISATION.name]


def matching(entries: list[Record], row: Record) -> list[Record]:
    """Return the entries of a row's arm and reference."""
    return [entry for entry in entries if (entry["arm"], entry["reference"]) == (row["arm"], row["reference"])]


def _name(row: Record) -> str:
    return f"{row['arm']} vs {row['reference']}"


def _percent(value: float | None) -> str:
    if value is None:
        return "?"
    return f"> +{CAP}" if value > CAP else f"{value:+.2f}"


def _because(entry: Record) -> str:
    return f" ({entry['reason']})" if entry["reason"] else ""


def _level(row: Record) -> str:
    return f"{100 * row['level']:.3g}%"


def _count(n: int, noun: str, kind: str = "") -> str:
    return f"{n} {kind}{noun if n == 1 else {'study': 'studies'}.get(noun, noun + 's')}"


def _wrapped(texts: list[str], start: str = "") -> Iterator[str]:
    for text in texts:
        yield from textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=" " * len(start))
