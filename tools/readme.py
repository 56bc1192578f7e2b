"""Write the numbers in README.md and docs/ from the recorded results.

A block begins with `<!-- result:NAME -->` and ends with `<!-- /result -->`, each on a line of its own; between them
stands what the function NAME below returns. So a new block is a function with `@marker` and two lines in a document.
`python -m tools.readme` writes; `--check` writes nothing and names what is out of date.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from svvr import tables
from svvr.core import files
from svvr.links import BY_NAME, CHAIN, GENERALISATION, MEASURED
from svvr.show import words

Record: TypeAlias = Mapping[str, Any]
Sources: TypeAlias = Mapping[str, Any]  # path below the root -> a JSON file's record, or another file's text
Row: TypeAlias = dict[str, str]  # column -> cell
SUMMARY, DOSE, REPLICATION = (f"metrics/{name}.json" for name in ("summary", "dose_response", "replicate"))
BENCHMARK, ACCELERATOR = "benchmarks/result.txt", "benchmarks/accelerator.txt"
# A row of it that compares: its name, milliseconds of the other side and of ours, their ratio
TIMED = re.compile(r"(.+?) {2,}([\d.]+) +([\d.]+) +([\d.]+)  [\d.]+ to")
BLOCK = re.compile(r"(<!-- result:(\w+) -->\n)(.*?)(<!-- /result -->)", re.DOTALL)
MARKERS: dict[str, Callable[[Sources], str]] = {}
PHRASES = {  # what a verdict says of an arm and its reference
    "supported": "{arm} has a {better} {figure} than {reference}.",
    "not supported": "In {figure}, {arm} and {reference} are practically equal.",
    "opposite": "{arm} has a {worse} {figure} than {reference}.",
    "inconclusive": "Whether {arm} and {reference} differ in {figure} is open.",
    "no verdict": "There is no verdict on {arm} against {reference} in {figure}.",
}


class Files(dict[str, Any]):
    """Files below a folder by their path, read when they are first asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> Any:
        path = self._root / name
        self[name] = files.read_json(path) if path.suffix == ".json" else path.read_text()
        return self[name]


def fill(text: str, sources: Sources) -> str:
    """Return a document with every block as the results have it.

    Raises:
        ValueError: for a block that no function writes, or one without an end.
    """
    return BLOCK.sub(lambda block: block[1] + _content(block[2], sources) + block[4], _whole(text))


def stale(text: str, sources: Sources) -> list[str]:
    """Return the names of a document's blocks that are out of date; see `fill`."""
    return [name for _, name, found, _ in BLOCK.findall(_whole(text)) if found != _content(name, sources)]


def _whole(text: str) -> str:
    for part in text.split("<!-- result:")[1:]:
        if "\n<!-- /result -->\n" not in part:
            raise ValueError(f"result:{part.split(' ')[0]}: got a block without an end, expected <!-- /result -->")
    return text


def _content(name: str, sources: Sources) -> str:
    if name not in MARKERS:
        raise ValueError(f"result:{name}: got a block that nothing writes, expected one of {', '.join(MARKERS)}")
    return MARKERS[name](sources) + "\n"


def marker(write: Callable[[Sources], str]) -> Callable[[Sources], str]:
    """Let a function write the blocks of its name."""
    MARKERS[write.__name__] = write
    return write


# Verdicts


@marker
def answer(sources: Sources) -> str:
    """Say the verdict on the hypothesis, then that of every contrast, in sentences without numbers."""
    found = _of_link(sources, GENERALISATION.name)
    return _lines(f"**{headline([c['verdict'] for c in found[:2]])}**", *(phrase(c) for c in found))


def headline(decisive: Sequence[str]) -> str:
    """Say the verdict on the hypothesis, given those of the two contrasts that decide."""
    if len(decisive) < 2 or "no verdict" in decisive:
        return "No verdict on the hypothesis."
    if set(decisive) == {"supported"}:
        return "The hypothesis is supported."
    if set(decisive) <= {"not supported", "opposite"}:
        return "The hypothesis is not supported."
    return "The hypothesis is not established."


def phrase(contrast: Record) -> str:
    """Say a contrast's verdict in a sentence without numbers."""
    link = BY_NAME[contrast["link"]]
    arm, reference = (f"`{contrast[role]}`" for role in ("arm", "reference"))
    better, worse = ("lower", "higher") if link.better < 0 else ("higher", "lower")
    return PHRASES[contrast["verdict"]].format(
        arm=arm, reference=reference, figure=link.figure, better=better, worse=worse
    )


def effect(contrast: Record) -> str:
    """Return a contrast's effect with its interval, in percent."""
    if contrast["effect_percent"] is None:
        return "none"
    return f"{words.percent(contrast['effect_percent'])} % ({words.interval(contrast) or 'no interval'})"


def verdict(contrast: Record) -> str:
    """Return a contrast's verdict, with what it lacks where it does not decide."""
    note = contrast["reason"] or (words.needed(contrast) and f"{words.needed(contrast)} needed")
    return f"{contrast['verdict']} ({note})" if note else str(contrast["verdict"])


@marker
def contrasts(sources: Sources) -> str:
    """Show the change of test loss and the verdict of each contrast, what they rest on, and their flags."""
    found = _of_link(sources, GENERALISATION.name)
    column = f"change of test loss ({_level(found)} interval)"
    rows = [{"contrast": _name(c), column: effect(c), "verdict": verdict(c)} for c in found]
    flags = [f"- {_name(c)}: {flag}" for c in found for flag in c["flags"]]
    return _lines(_basis(sources), "", table(rows), *(["", "Flags:", "", *flags] if flags else []))


def _basis(sources: Sources) -> str:
    trials, runs = tables.trials(_arms(sources)), tables.runs(_arms(sources))
    n_trials, n_runs = (frame.groupby(["arm", "study"]).size() for frame in (trials, runs))
    n_studies = trials.groupby("arm")["study"].nunique()
    return (
        f"For each arm: {words.counted('study', n_studies)} of {words.counted('trial', n_trials)}, "
        f"and {words.counted('final run', n_runs)} a study."
    )


@marker
def links(sources: Sources) -> str:
    """Show the chain of the hypothesis in the first contrast."""
    return table(
        {
            "link": BY_NAME[c["link"]].words,
            "figure": BY_NAME[c["link"]].figure,
            "change (interval)": f"{effect(c)} at {_level([c])}",
            "margin": f"{c['margin_percent']:g} %",
            "verdict": verdict(c),
        }
        for link in CHAIN
        for c in _of_link(sources, link.name)[:1]
    )


@marker
def rule(sources: Sources) -> str:
    """Say the rule of verdicts with the levels and the margin that were used."""
    first = _of_link(sources, GENERALISATION.name)[:1]
    margin = "".join(f" of {c['margin_percent']:g} %" for c in first)
    return _lines(
        f"1. `not supported`: the {_level(first, 'equivalence_level')} interval lies within the margin{margin}: "
        "practically equal.",
        f"2. `supported`: the {_level(first)} interval lies below 0: the arm is better.",
        "3. `opposite`: it lies above 0: the arm is worse.",
        "4. `inconclusive`: anything else.",
    )


@marker
def effects(sources: Sources) -> str:
    """Show every contrast in every link."""
    return table(
        {
            "contrast": _name(c),
            "link": BY_NAME[c["link"]].words,
            "effect (interval)": f"{effect(c)} at {_level([c])}",
            "interval for equality": f"{_ends(c, 'equivalence_ci')} at {_level([c], 'equivalence_level')}",
            "margin": f"{c['margin_percent']:g} %",
            "SD of d over studies": _number(c["study_sd_percent"], ".2f"),
            "pairs": _number(c["n_pairs"], "d"),
            "verdict": verdict(c),
        }
        for c in sources[SUMMARY]["contrasts"]
    )


@marker
def studies(sources: Sources) -> str:
    """Show the change of test loss study by study."""
    found = [c for c in _of_link(sources, GENERALISATION.name) if c["study_effects"]]
    by_study = zip(*(c["study_effects"] for c in found), strict=True)
    names = [_name(c) for c in found]
    return table(
        {"study": str(study), **{name: f"{words.percent(d)} %" for name, d in zip(names, values, strict=True)}}
        for study, values in enumerate(by_study)
    )


@marker
def certainty(sources: Sources) -> str:
    """Show what else is known of each contrast; none of it decides."""
    tests = {"p_better": "better pairs", "paired_t_p": "paired t p", "wilcoxon_p": "Wilcoxon p"}
    tests |= {"sign_flip_p": "sign-flip p"}
    return table(
        {
            "contrast": _name(c),
            "standard error from the test split": _number(c["sampling_se_percent"], ".2f", " %"),
            "change of the singular values' variation": _number(c["activity_percent"], "+.1f", " %"),
            **{name: _number((c["given_these_winners"] or {}).get(key), ".2g") for key, name in tests.items()},
        }
        for c in _of_link(sources, GENERALISATION.name)
    )


# The budget


@marker
def budget(sources: Sources) -> str:
    """Say how the effect depends on the number of trials, and what remains open."""
    return _lines(*sources[SUMMARY]["overall"][1:]) or "None."


@marker
def budget_table(sources: Sources) -> str:
    """Show every contrast's effect at some numbers of trials of random search."""
    summary = sources[SUMMARY]
    points = {(p["arm"], p["reference"], p["n_trials"]): p for p in summary["budget"]}
    numbers = _numbers(max((p["n_trials"] for p in summary["budget"]), default=0))
    return table(
        {"contrast": _name(c), **{f"n = {n}": _change(points[c["arm"], c["reference"], n]) for n in numbers}}
        for c in _of_link(sources, GENERALISATION.name)
        if numbers
    )


def _change(point: Record) -> str:
    if point["effect_percent"] is None:
        return "none"
    return f"{words.percent(point['effect_percent'])} % ({_ends(point, 'ci')})"


@marker
def budget_verdicts(sources: Sources) -> str:
    """Show the verdict on every contrast at the budgets that are judged."""
    return table(
        {
            "contrast": _name(entry),
            "budget": f"{words.counted('trial', [entry['n_trials']])} ({entry['label'].split(',')[0]})",
            "effect (interval)": effect(entry),
            "interval for equality": _ends(entry, "equivalence_ci"),
            "verdict": verdict(entry),
            "sign decided from": _number(entry["decided_from"], "d", " trials on"),
        }
        for entry in sources[SUMMARY]["budget_verdicts"]
    )


# Arms


@marker
def arms(sources: Sources) -> str:
    """Show each arm's trials, final runs and their means."""
    trials, runs = tables.trials(_arms(sources)), tables.runs(_arms(sources))
    return table(
        {
            "arm": f"`{arm['arm']}`",
            "penalty": arm["penalty"],
            "trials": _failures(trials[trials["arm"] == arm["arm"]]),
            "final runs": _failures(runs[runs["arm"] == arm["arm"]]),
            "validation loss (used for tuning)": _number(arm["validation_loss"], ".4f"),
            "test loss": _number(arm["test_loss"], ".4f"),
            "test accuracy": _number(arm["test_accuracy"], ".4f"),
        }
        for arm in sources[SUMMARY]["arms"]
    )


@marker
def winners(sources: Sources) -> str:
    """Show the median and range of each knob over the winners of the studies."""
    trials = tables.trials(_arms(sources))
    by_arm = trials[trials["winner"]].groupby("arm", sort=False)[tables.KNOBS]
    parts = by_arm.median(), by_arm.min(), by_arm.max()
    return table(
        {"arm": f"`{arm}`", **{words.name(k): _middle(*(float(p.loc[arm, k]) for p in parts)) for k in tables.KNOBS}}
        for arm in parts[0].index
    )


def _middle(median: float, low: float, high: float) -> str:
    return "not tuned" if pd.isna(median) else f"{median:.3g} ({low:.3g} to {high:.3g})"


@marker
def expected_best(sources: Sources) -> str:
    """Show the validation loss that the best of so many trials of random search is expected to have, by arm."""
    return _expected(sources, "expected_best")


@marker
def expected_test_loss(sources: Sources) -> str:
    """Show the test loss that is expected of the same trials."""
    return _expected(sources, "expected_test_loss")


def _expected(sources: Sources, key: str) -> str:
    curves = {arm["arm"]: arm[key] for arm in sources[SUMMARY]["arms"]}
    numbers = _numbers(max(map(len, curves.values()), default=0))
    return table(
        {"arm": f"`{arm}`", **{f"n = {n}": _number(curve[n - 1], ".4f") for n in numbers}}
        for arm, curve in curves.items()
    )


def _numbers(most: int) -> list[int]:
    """Return the numbers of trials that a table shows, the largest one last."""
    return [n for n in (1, 2, 5, 10, 20, 32, 64, 128, 256, 512) if n < most] + [most] * (most > 0)


@marker
def diagnosis(sources: Sources) -> str:
    """Show each arm's mean figures of the loss landscape, and of the gap between train and test."""
    names = {link.name: f"ln of the {link.figure}" for link in MEASURED}
    names |= {"calibration_error": "expected calibration error", "train_test_gap": "test minus train loss"}
    return table(
        {"arm": f"`{arm}`", "runs": str(record["n_runs"])}
        | {column: _number(record[name], ".3f") for name, column in names.items()}
        for arm, record in _arms(sources)["diagnose"].items()
    )


# Strength


@marker
def dose_response(sources: Sources) -> str:
    """Say how conditioning and test loss follow the strength, in each setting."""
    settings = _settings(sources)
    seeds = words.counted("seed", (setting["n_seeds"] for setting in settings))
    return _lines(f"At fixed strengths, {seeds} each:", "", *(f"- {words.setting(s)}: {_doses(s)}" for s in settings))


def _doses(setting: Record) -> str:
    loss, kappa, strengths = setting["test_loss"], setting["conditioning"], setting["strengths"]
    known = [i for i in range(len(strengths)) if None not in (loss["mean"][i], kappa["mean"][i])]
    failed = [f"{strength:g}" for i, strength in enumerate(strengths) if i not in known]
    missing = [f"Left out, since a run failed: strength {', '.join(failed)}."] if failed else []
    if len(known) < 2:
        return " ".join(["fewer than two strengths could be measured.", *missing])
    first, last, best = known[0], known[-1], min(known, key=loss["mean"].__getitem__)
    said = [
        f"from strength {strengths[first]:g} to {strengths[last]:g} the mean ln of the condition number goes from "
        f"{kappa['mean'][first]:.2f} to {kappa['mean'][last]:.2f} and test loss from {loss['mean'][first]:.3f} to "
        f"{loss['mean'][last]:.3f}.",
        _lowest(loss, strengths, first, best),
        *_beyond(loss, kappa, best, last),
    ]
    return " ".join([*said, *missing])


def _lowest(loss: Record, strengths: Sequence[float], first: int, best: int) -> str:
    """Say whether any strength lowers the test loss."""
    if best == first:
        return f"No strength gives a lower test loss than strength {strengths[first]:g}."
    apart = loss["ci_high"][best] < loss["ci_low"][first]
    return (
        f"It is lowest, {loss['mean'][best]:.3f}, at strength {strengths[best]:g}, "
        f"{100 * (1 - loss['mean'][best] / loss['mean'][first]):.1f} % below that at {strengths[first]:g}; "
        f"the intervals of the two {'lie apart' if apart else 'overlap'}."
    )


def _beyond(loss: Record, kappa: Record, best: int, last: int) -> list[str]:
    if loss["ci_low"][last] <= loss["ci_high"][best] or kappa["ci_high"][last] >= kappa["ci_low"][best]:
        return []
    return [
        "Beyond that strength conditioning still improves and test loss rises: good conditioning alone is not enough."
    ]


@marker
def dose_response_table(sources: Sources) -> str:
    """Show every figure against the strength, in each setting."""
    names = {"test_loss": GENERALISATION.figure, "validation_loss": "validation loss (used for tuning)"}
    names |= {link.name: f"ln of the {link.figure}" for link in MEASURED}
    return table(
        {
            "setting": words.setting(setting),
            "strength": f"{strength:g}",
            **{column: _point(setting[name], i) for name, column in names.items()},
        }
        for setting in _settings(sources)
        for i, strength in enumerate(setting["strengths"])
    )


def _settings(sources: Sources) -> list[Record]:
    """Return the settings of the dose-response; the first one stands at the record's top level."""
    return [sources[DOSE], *sources[DOSE]["others"]]


def _point(curve: Record, i: int) -> str:
    if curve["mean"][i] is None:
        return "none"
    return f"{curve['mean'][i]:.3f} ({curve['ci_low'][i]:.3f} to {curve['ci_high'][i]:.3f})"


# The prior experiment


@marker
def replication(sources: Sources) -> str:
    """Say what the published hyperparameters give on many seeds, and whether that explains the published losses."""
    rows = {row["row"]: row for row in sources[REPLICATION]["rows"]}
    baseline, fresh, continued = (rows[name] for name in ("baseline", "regularized_fresh", "regularized_continued"))
    lower = fresh["last_epoch"]["mean"] < baseline["last_epoch"]["mean"]
    return _lines(
        f"With {'the published' if fresh['published'] else 'these'} hyperparameters on {baseline['n_runs']} seeds, the "
        f"baseline ends at {_spread(baseline)} (mean ± SD{_published(baseline)}).",
        f"The regularized model, from the same initial weights, ends at {_spread(fresh)}, which is "
        f"{'lower' if lower else 'not lower'} than the baseline{_published(fresh)}.",
        f"Continued from the trained baseline's weights instead, it ends at {_spread(continued)}.",
        *([origin(fresh, continued)] if fresh["published"] else []),
    )


def _published(row: Record) -> str:
    return f"; published: {row['published']}" if row["published"] else ""


def origin(fresh: Record, continued: Record) -> str:
    """Say from which weights the published run can have started, by where its loss lies among those of our runs."""
    published = fresh["published"]
    within = [row["last_epoch"]["min"] <= published <= row["last_epoch"]["max"] for row in (fresh, continued)]
    return {
        (False, True): "The published loss lies outside the range of the runs from initial weights and inside that of "
        "the continued ones: the published regularized run did not start from the initial weights.",
        (True, False): "The published loss is one that runs from the initial weights reach.",
        (True, True): "The published loss lies in the range of both, so this cannot tell where that run started.",
        (False, False): "The published loss lies in the range of neither, so this does not explain it.",
    }[within[0], within[1]]


@marker
def replication_table(sources: Sources) -> str:
    """Show the rows of the replication beside the published and independently measured losses."""
    return table(
        {
            "row": words.name(row["row"]),
            "lr": f"{row['lr']:g}",
            "strength": f"{row['strength']:g}",
            "runs": str(row["n_runs"]),
            "first epoch": f"{row['first_epoch']['mean']:.3f}",
            "last epoch": _spread(row),
            "range": f"{row['last_epoch']['min']:.3f} to {row['last_epoch']['max']:.3f}",
            **_elsewhere(row),
        }
        for row in sources[REPLICATION]["rows"]
    )


def _elsewhere(row: Record) -> dict[str, str]:
    if row["published"] is None:
        return {}
    return {
        "published": str(row["published"]),
        "measured elsewhere": f"{row['expected_mean']:.3f} ± {row['expected_sd']:.3f}",
        "distance in standard errors": f"{row['z']:+.1f}",
        "agree": "yes" if row["agrees"] else "no",
    }


# Speed


@marker
def benchmark(sources: Sources) -> str:
    """Return the benchmark as it was printed."""
    return f"```text\n{sources[BENCHMARK].strip()}\n```"


@marker
def accelerator(sources: Sources) -> str:
    """Return the benchmark of a GPU as it was printed."""
    return f"```text\n{sources[ACCELERATOR].strip()}\n```"


@marker
def speed(sources: Sources) -> str:
    """Compare the time of a run here, in plain PyTorch and in the fastest form that a peer has."""
    timed = [row.groups() for row in map(TIMED.match, sources[BENCHMARK].splitlines()) if row]
    return table(
        {
            "run of 20 epochs, 48 asked for": kind,
            "here": f"{float(ours):.0f} ms",
            "plain PyTorch": f"{float(theirs):.0f} ms, {ratio} times as long",
            "fastest peer": _fastest([row for row in timed if row[0].startswith(f"{kind} run,")]),
        }
        for kind in ("baseline", "regularized")
        for name, theirs, ours, ratio in timed
        if name.startswith(f"{kind} run of")
    )


def _fastest(peers: Sequence[Sequence[str]]) -> str:
    if not peers:
        return "not timed"
    name, _, _, ratio = min(peers, key=lambda row: float(row[3]))
    return f"{name.rpartition(' by ')[2]}: {ratio} times as long"


@marker
def workload(sources: Sources) -> str:
    """Say how many training runs stand behind the results."""
    records = _arms(sources)
    trials = [t for record in records["tune"].values() for study in record["studies"] for t in study["trials"]]
    counts = {
        "of trials": sum(len(trial["seeds"]) for trial in trials),
        "final": len(tables.runs(records)),
        "of random search": sum(record["n_runs"] for record in records["budget"].values()),
        "of the dose-response": sum(len(setting["strengths"]) * setting["n_seeds"] for setting in _settings(sources)),
        "of the replication": sum(row["n_runs"] for row in sources[REPLICATION]["rows"]),
    }
    parts = ", ".join(f"{n} {what}" for what, n in counts.items())
    return f"The committed results rest on {sum(counts.values())} training runs: {parts}."


# Cells


def table(rows: Iterable[Row]) -> str:
    """Return a table in Markdown; all rows have the columns of the first."""
    found = list(rows)
    if not found:
        return "None."
    lines = [list(found[0]), ["---"] * len(found[0]), *(list(row.values()) for row in found)]
    return _lines(*(f"| {' | '.join(cells)} |" for cells in lines))


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "none" if value is None else f"{value:{form}}{unit}"


def _name(contrast: Record) -> str:
    return f"`{contrast['arm']}` vs `{contrast['reference']}`"


def _level(found: Sequence[Record], key: str = "level") -> str:
    return " or ".join(dict.fromkeys(words.confidence(c[key]) for c in found))


def _ends(entry: Record, key: str) -> str:
    low, high = (entry[f"{key}_{end}"] for end in ("low", "high"))
    return "none" if low is None else f"{words.percent(low)} to {words.percent(high)}"


def _spread(row: Record) -> str:
    return f"{row['last_epoch']['mean']:.3f} ± {row['last_epoch']['sd']:.3f}"


def _failures(frame: pd.DataFrame) -> str:
    failed = int((frame["state"] == "failed").sum())
    return f"{len(frame)} ({failed} failed)" if failed else str(len(frame))


# Records


def _of_link(sources: Sources, link: str) -> list[Record]:
    return [c for c in sources[SUMMARY]["contrasts"] if c["link"] == link]


def _arms(sources: Sources) -> dict[str, dict[str, Record]]:
    names = [arm["arm"] for arm in sources[SUMMARY]["arms"]]
    kinds = ("tune", "train", "budget", "diagnose")
    return {kind: {arm: sources[f"metrics/{kind}/{arm}.json"] for arm in names} for kind in kinds}


def update(root: Path, check: bool) -> list[str]:
    """Write the blocks of README.md and docs/, or only name those that are out of date, a line each.

    Raises:
        ValueError: in one line, for a block or a file of results that cannot be used.
    """
    sources, lines = Files(root), []
    for path in [root / "README.md", *sorted((root / "docs").glob("*.md"))]:
        name, text = path.relative_to(root), path.read_text()
        try:
            if check:
                lines += [f"{name}: result:{block} is out of date; run: make readme" for block in stale(text, sources)]
            elif (filled := fill(text, sources)) != text:
                files.write_bytes(path, filled.encode())
        except KeyError as error:
            expected = "expected those that `dvc repro` writes"
            raise ValueError(f"{name}: got results without the key {error}, {expected}") from None
        except (ValueError, OSError) as error:
            raise ValueError(f"{name}: {error}") from None
    return lines


def main(root: Path, arguments: Sequence[str]) -> None:
    """Update the documents below a folder; with `--check` as argument end with status 1 where that would change one."""
    try:
        lines = update(root, check="--check" in arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"readme: {error}")
    if lines:
        sys.exit("\n".join(lines))


if __name__ == "__main__":
    main(Path.cwd(), sys.argv[1:])
