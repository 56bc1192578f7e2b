"""The documents: their numbers are those of the results, what they name exists, and every verdict has its words."""

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from svvr import tables
from svvr.core import files
from svvr.links import LINKS
from tools import readme

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
VERDICTS = ("supported", "not supported", "opposite", "inconclusive", "no verdict")
OF_A_READER = "src/svvr/penalties/nuclear.py"  # what the guide lets a reader write
MADE_BY_COMMANDS = (".cache/", ".venv/")
ENDINGS = (".py", ".yaml", ".json", ".csv", ".md", ".png", ".txt", ".lock", ".toml", ".npz")
FENCE = re.compile(r"(?ms)^ *```.*?^ *```$")

every_document = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


# What stands in the repository


def test_the_blocks_are_those_of_the_committed_results() -> None:
    assert readme.update(ROOT, check=True) == []


def test_every_block_is_used() -> None:
    text = "".join(path.read_text() for path in DOCUMENTS)
    assert {name for name in readme.MARKERS if f"<!-- result:{name} -->" not in text} == set()


@every_document
def test_links_and_images_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)", FENCE.sub("", path.read_text()))
    assert [target for target in targets if "://" not in target and not (path.parent / target).exists()] == []


def spans(path: Path) -> list[str]:
    """Return what stands in backticks outside blocks of code."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", path.read_text()))


def declared() -> set[str]:
    """Return the files that stages declare, which need not exist before they run."""
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].values()
    entries = [entry for stage in stages for key in ("outs", "metrics", "plots") for entry in stage.get(key, [])]
    return {name for entry in entries for name in ([entry] if isinstance(entry, str) else entry)}


@every_document
def test_paths_exist(path: Path) -> None:
    named = [span for span in spans(path) if re.fullmatch(r"\.?[\w-]+([./][\w-]+)*/?", span)]
    paths = {name for name in named if "/" in name or name.endswith(ENDINGS)} - declared() - {OF_A_READER}
    patterns = {name: re.sub(r"\b(ARM|NAME)\b", "*", name).rstrip("/") for name in paths}
    missing = [name for name, pattern in patterns.items() if not list(ROOT.glob(pattern))]
    assert [name for name in missing if not name.startswith(MADE_BY_COMMANDS)] == []


@every_document
def test_keys_of_params_exist(path: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for span in spans(path):
        section, *rest = span.split(".")
        if section in params and rest and re.fullmatch(r"\w+(\.\w+)+", span):
            value = params
            for key in span.split("."):
                assert key in value, span
                value = value[key]


def commands(path: Path, program: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of a program, in blocks of code and in backticks."""
    blocks = re.findall(r"(?ms)^ *```(?:sh|console)\n(.*?)^ *```$", path.read_text())
    for line in [*spans(path), *(line.removeprefix("$ ") for block in blocks for line in block.splitlines())]:
        if re.match(rf"(\w+=\S+ )*{program} ", line):
            yield shlex.split(line[line.index(f"{program} ") :], comments=True)[1:]


@every_document
def test_commands_exist(path: Path) -> None:
    parser = get_main_parser()
    for arguments in commands(path, "dvc"):
        assert parser.parse_args(arguments).func, arguments
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {word for arguments in commands(path, "make") for word in arguments if "=" not in word}  # less variables
    assert named <= targets


def test_a_command_that_dvc_does_not_have_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.md"
    path.write_text("`dvc repor`, and\n```sh\nA=b dvc exp run --tmp  # text\n```\n")
    assert list(commands(path, "dvc")) == [["repor"], ["exp", "run", "--tmp"]]
    for arguments in commands(path, "dvc"):
        with pytest.raises(DvcParserError):
            get_main_parser().parse_args(arguments)


def test_the_readme_is_short() -> None:
    text = readme.BLOCK.sub("", FENCE.sub("", (ROOT / "README.md").read_text()))  # the results' share varies
    words = [word for line in text.splitlines() if not line.startswith("|") for word in line.split()]
    assert 700 < len(words) < 1150


FRAMES = [
    name
    for name, function in inspect.getmembers(tables, inspect.isfunction)
    if function.__annotations__["return"] is pd.DataFrame and not name.startswith("_")
]


@pytest.mark.parametrize("name", FRAMES)
def test_the_columns_of_frames_are_described(name: str) -> None:
    text = (ROOT / "docs/tables.md").read_text()
    section = text.split(f"## `tables.{name}`")[1].split("\n## ")[0]
    described = [c for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for c in re.findall(r"`(\w+)`", row)]
    if name == "pairs":
        columns = list(tables.pairs(tables.quantities(ROOT / "metrics"), [("regularized", "baseline")]))
    else:
        columns = list(getattr(tables, name)(ROOT / "metrics"))
    assert set(described) <= set(columns)
    assert name == "contrasts" or described == columns


# What the blocks say, on records made by hand


def contrast(verdict: str = "supported", **changes: Any) -> dict[str, Any]:
    record = {
        "arm": "new_arm", "reference": "old", "link": "generalisation", "margin_percent": 1.0, "level": 0.95,
        "equivalence_level": 0.9, "n_studies": 3, "n_pairs": 6, "studies_needed": None, "effect_percent": -1.5,
        "ci_low": -2.0, "ci_high": -1.0, "equivalence_ci_low": -1.9, "equivalence_ci_high": -1.1, "verdict": verdict,
        "reason": None, "study_sd_percent": 0.5, "study_effects": [-1.0, -1.5, -2.0], "sampling_se_percent": 0.1,
        "activity_percent": -30.0, "given_these_winners": {"p_better": 1.0}, "flags": [],
    }  # fmt: skip
    return record | changes


def without_effect(**changes: Any) -> dict[str, Any]:
    names = ["ci_low", "ci_high", "equivalence_ci_low", "equivalence_ci_high", "n_pairs", "effect_percent"]
    names += ["study_sd_percent", "sampling_se_percent", "activity_percent", "given_these_winners"]
    gone: dict[str, Any] = {
        **dict.fromkeys(names),
        "study_effects": [],
        "reason": "study 0, seed 7: the run of old failed",
    }
    return contrast("no verdict", **gone | changes)


def row(name: str, mean: float, low: float, high: float) -> dict[str, Any]:
    return {
        "row": name, "lr": 0.1, "strength": 0.0, "n_runs": 2, "published": 1.396, "expected_mean": 1.0,
        "expected_sd": 0.1, "z": -4.0, "agrees": False, "first_epoch": {"mean": 2.0},
        "last_epoch": {"mean": mean, "sd": 0.05, "min": low, "max": high},
    }  # fmt: skip


def replicated(fresh: float) -> dict[str, Any]:
    continued = row("regularized_continued", 1.4, 1.3, 1.5)
    return {"rows": [row("baseline", 1.2, 1.1, 1.3), row("regularized_fresh", fresh, 0.9, 1.1), continued]}


def dose(loss: list[float | None], kappa: list[float | None]) -> dict[str, Any]:
    curves = {}
    for name in ("validation_loss", "test_loss", *(link.name for link in LINKS[1:])):
        mean = loss if name.endswith("loss") else kappa
        ends = {"ci_low": -0.01, "ci_high": 0.01}
        curves[name] = {"mean": mean} | {end: [m and m + by for m in mean] for end, by in ends.items()}
    setting = {"lr": 0.002, "weight_decay": 0.0, "strengths": [0.0, 0.1, 1.0], "n_seeds": 2, **curves}
    return {**setting, "others": [setting | {"lr": 0.008, "weight_decay": 0.4}]}


def point(entry: dict[str, Any], n: int) -> dict[str, Any]:
    """Return a contrast's effect at a number of trials, as it is in the contrast."""
    ends = [f"{key}_{end}" for key in ("ci", "equivalence_ci") for end in ("low", "high")]
    return {"n_trials": n, **{key: entry[key] for key in ("arm", "reference", "effect_percent", *ends)}}


def judged(entry: dict[str, Any], n: int, **changes: Any) -> dict[str, Any]:
    known = {"label": "published budget, random search", "replicates_needed": 14, "decided_from": 2}
    return {**point(entry, n), **known, **{key: entry[key] for key in ("verdict", "reason")}, **changes}


def sources(*contrasts: dict[str, Any], failed: bool = False, **changes: Any) -> dict[str, Any]:
    """Return the results of two arms of one study, whose runs have all failed or all come to their end."""
    state, value = ("failed", None) if failed else ("complete", 1.0)
    arms = ("new_arm", "old")
    means = dict.fromkeys(("validation_loss", "test_loss", "test_accuracy"), value)
    trial = {"number": 0, "state": "complete", "objective": 1.1, "params": {"lr": 0.01}, "seeds": [1, 2]}
    trials = [trial, trial | {"number": 1, "state": "failed", "objective": None}]
    tuned = {"studies": [{"study": 0, "best": trial["params"], "objective": 1.1, "trials": trials}]}
    run = {"study": 0, "seed": 3, "initial_weights": "a", "state": state, "selected_epoch": 1, "lr": 0.01}
    run |= {"strength": 0.0, "weight_decay": 0.0, "test_loss": value, "test_accuracy": value}
    diagnosed = dict.fromkeys([*(link.name for link in LINKS[1:]), "calibration_error", "train_test_gap"], value)
    curve = dict.fromkeys(("expected_best", "expected_test_loss"), [None, None, None] if failed else [1.3, 1.2, 1.1])
    questions = [entry for entry in contrasts if entry["link"] == "generalisation"]
    summary = {
        "overall": ["The verdict.", "By random search.", "Open: all."] if contrasts else [],
        "contrasts": list(contrasts),
        "arms": [{"arm": arm, "penalty": "none", **curve, **means} for arm in arms],
        "budget": [point(entry, n) for entry in questions for n in (1, 2, 3)],
        "budget_verdicts": [judged(entry, n) for entry in questions for n in (2, 3)],
    }
    records = {
        "metrics/summary.json": summary,
        **{f"metrics/tune/{arm}.json": tuned for arm in arms},
        **{f"metrics/train/{arm}.json": {"runs": [run]} for arm in arms},
        **{f"metrics/budget/{arm}.json": {"n_runs": 6} for arm in arms},
        **{f"metrics/diagnose/{arm}.json": {"n_runs": 1, **diagnosed} for arm in arms},
        "metrics/dose_response.json": dose([1.2, 1.0, 1.1], [3.0, 2.0, 1.0]),
        "metrics/replicate.json": replicated(1.0),
        "benchmarks/result.txt": "2 cores\na  1  2\n",
        "benchmarks/accelerator.txt": "a GPU\n",
    }
    return records | changes


def test_the_speed_is_that_of_the_rows_that_compare() -> None:
    lines = (
        "baseline run of 20 epochs, 48 asked for   400.00   80.00   5.0  4.9 to 5.1",
        "regularized run of 20 epochs, 48 asked for   1600.00   200.00   8.0  7.9 to 8.1",
        "baseline run, 1 asked for       190.00   1024 MiB so far",
        "baseline, first call of jax.vmap       990",
        "baseline run, 48 against 48 by jax.vmap   160.00   80.00   2.0  1.9 to 2.1",
        "baseline run, 48 against 48 by torch.func   120.00   80.00   1.5  1.4 to 2.2",
    )
    *_, baseline, regularized = readme.speed({"benchmarks/result.txt": "\n".join(lines)}).splitlines()
    assert baseline == "| baseline | 80 ms | 400 ms, 5.0 times as long | torch.func: 1.5 times as long |"
    assert regularized == "| regularized | 200 ms | 1600 ms, 8.0 times as long | not timed |"


@pytest.mark.parametrize("name", readme.MARKERS)
@pytest.mark.parametrize(
    "given",
    [
        sources(contrast(), contrast(arm="third")),
        sources(*(contrast(link=link.name) for link in LINKS)),
        sources(*(without_effect(link=link.name) for link in LINKS), failed=True),
        sources(
            contrast("no verdict", ci_low=None, equivalence_ci_low=None, study_effects=[1.0], reason="a smoke run")
        ),
        sources(failed=True) | {"metrics/dose_response.json": dose([None] * 3, [None] * 3)},
    ],
    ids=["two contrasts", "all links", "failed", "one study", "no contrast"],
)
def test_every_block_can_be_written_from_any_results(name: str, given: dict[str, Any]) -> None:
    text = readme.MARKERS[name](given)
    assert text and not re.search(r"\b(nan|None\b(?!\.)|inf)\b", text)
    tables_in = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(tables_in)) <= 1


@pytest.mark.parametrize(
    "verdict,words",
    [
        ("supported", "`new_arm` has a lower test loss than `old`."),
        ("not supported", "In test loss, `new_arm` and `old` are practically equal."),
        ("opposite", "`new_arm` has a higher test loss than `old`."),
        ("inconclusive", "Whether `new_arm` and `old` differ in test loss is open."),
        ("no verdict", "There is no verdict on `new_arm` against `old` in test loss."),
    ],
)
def test_every_verdict_has_a_sentence(verdict: str, words: str) -> None:
    assert readme.phrase(contrast(verdict)) == words
    assert words in readme.answer(sources(contrast(verdict), contrast("supported", arm="third"))).splitlines()
    assert "condition number" in readme.phrase(contrast(verdict, link="conditioning"))


@pytest.mark.parametrize(
    "decisive,words",
    [
        (["supported", "supported"], "The hypothesis is supported."),
        (["opposite", "not supported"], "The hypothesis is not supported."),
        (["supported", "opposite"], "The hypothesis is not established."),
        (["supported", "not supported"], "The hypothesis is not established."),
        (["opposite", "inconclusive"], "The hypothesis is not established."),
        (["supported", "no verdict"], "No verdict on the hypothesis."),
        (["supported"], "No verdict on the hypothesis."),
        ([], "No verdict on the hypothesis."),
    ],
)
def test_the_hypothesis_takes_both_contrasts(decisive: list[str], words: str) -> None:
    assert readme.headline(decisive) == words
    others = [contrast("opposite", link="conditioning"), contrast("opposite", arm="third")]
    found = [contrast(verdict) for verdict in decisive] + (others if len(decisive) == 2 else others[:1])
    assert readme.answer(sources(*found)).splitlines()[0] == f"**{words}**"


@pytest.mark.parametrize(
    "entry,effect,verdict",
    [
        (contrast(), "-1.50 % (-2.00 to -1.00)", "supported"),
        (contrast("not supported"), "-1.50 % (-2.00 to -1.00)", "not supported"),
        (contrast("opposite", effect_percent=1.5), "+1.50 % (-2.00 to -1.00)", "opposite"),
        (
            contrast("inconclusive", studies_needed=12),
            "-1.50 % (-2.00 to -1.00)",
            "inconclusive (about 12 studies needed)",
        ),
        (contrast("inconclusive"), "-1.50 % (-2.00 to -1.00)", "inconclusive (more than 1000 studies needed)"),
        (
            contrast("no verdict", ci_low=None, ci_high=None, reason="a smoke run"),
            "-1.50 % (no interval)",
            "no verdict (a smoke run)",
        ),
        (without_effect(), "none", "no verdict (study 0, seed 7: the run of old failed)"),
    ],
)
def test_the_table_of_contrasts(entry: dict[str, Any], effect: str, verdict: str) -> None:
    text = readme.contrasts(sources(entry | {"flags": ["penalty inactive in 1 of 3 studies"]}))
    assert text.splitlines()[0] == "For each arm: 1 study of 2 trials, and 1 final run a study."
    assert "| contrast | change of test loss (95 % interval) | verdict |" in text
    assert f"| `new_arm` vs `old` | {effect} | {verdict} |" in text
    assert text.endswith("Flags:\n\n- `new_arm` vs `old`: penalty inactive in 1 of 3 studies")
    assert "Flags" not in readme.contrasts(sources(entry))


def test_the_links_are_those_of_the_first_contrast_from_cause_to_effect() -> None:
    found = [contrast(link=link.name, arm=arm) for arm in ("new_arm", "third") for link in LINKS]
    rows = readme.links(sources(*found)).splitlines()[2:]
    assert [line.split(" | ")[0] for line in rows] == [
        "| conditioning", "| smoothness", "| gradient stability", "| generalisation"
    ]  # fmt: skip


def test_the_rule_names_levels_and_margin() -> None:
    text = readme.rule(sources(contrast(margin_percent=2.5, level=0.99, equivalence_level=0.98)))
    assert "the 98 % interval lies within the margin of 2.5 %" in text and "the 99 % interval lies below 0" in text


def test_the_budget_is_said_and_shown_for_every_contrast() -> None:
    given = sources(contrast(), contrast("inconclusive", arm="third"), without_effect(arm="failed"))
    assert readme.budget(given) == "By random search.\nOpen: all."
    effect = "-1.50 % (-2.00 to -1.00)"
    assert readme.budget_table(given).splitlines() == [
        "| contrast | n = 1 | n = 2 | n = 3 |",
        "| --- | --- | --- | --- |",
        f"| `new_arm` vs `old` | {effect} | {effect} | {effect} |",
        f"| `third` vs `old` | {effect} | {effect} | {effect} |",
        "| `failed` vs `old` | none | none | none |",
    ]
    rows = readme.budget_verdicts(given).splitlines()[2:]
    start = "| `new_arm` vs `old` | 2 trials (published budget) | -1.50 % (-2.00 to -1.00) | -1.90 to -1.10 |"
    assert len(rows) == 6 and rows[0] == f"{start} supported | 2 trials on |"
    assert "| inconclusive (about 14 replicates needed) |" in rows[2]
    assert "| none | none | no verdict (study 0, seed 7: the run of old failed) |" in rows[4]


def test_tables_against_the_budget_end_with_the_largest_one() -> None:
    given = sources(contrast())
    for arm in given["metrics/summary.json"]["arms"]:
        arm["expected_test_loss"] = [2 - n / 100 for n in range(64)]
    header, _, first, _ = readme.expected_test_loss(given).splitlines()
    assert header == "| arm | n = 1 | n = 2 | n = 5 | n = 10 | n = 20 | n = 32 | n = 64 |"
    assert first.endswith("| 1.9600 | 1.9100 | 1.8100 | 1.6900 | 1.3700 |")
    assert readme.expected_best(given).splitlines()[2] == "| `new_arm` | 1.3000 | 1.2000 | 1.1000 |"


def test_the_workload_counts_every_run() -> None:
    assert readme.workload(sources()) == (
        "The committed results rest on 40 training runs: 8 of trials, 2 final, 12 of random search, 12 of the "
        "dose-response, 6 of the replication."
    )


@pytest.mark.parametrize(
    "loss,kappa,expected,absent",
    [
        (
            [1.2, 1.0, 1.1],
            [3.0, 2.0, 1.0],
            "from strength 0 to 1 the mean ln of the condition number goes from 3.00 to 1.00 and test loss from 1.200 "
            "to 1.100. It is lowest, 1.000, at strength 0.1, 16.7 % below that at 0; the intervals of the two lie "
            "apart. Beyond that strength",
            "Left out",
        ),
        ([1.2, 1.0, 1.015], [3.0, 2.0, 1.0], "at strength 0.1, 16.7 % below", "Beyond"),
        ([1.2, 1.0, 1.1], [3.0, 2.0, 2.5], "at strength 0.1, 16.7 % below", "Beyond"),
        ([1.2, 1.1, 1.0], [3.0, 2.0, 1.0], "lowest, 1.000, at strength 1, 16.7 % below that at 0", "Beyond"),
        ([1.2, 1.19, 1.3], [3.0, 2.0, 1.0], "0.8 % below that at 0; the intervals of the two overlap.", "Left out"),
        ([1.0, 1.1, 1.2], [3.0, 2.0, 1.0], "No strength gives a lower test loss than strength 0.", "lowest"),
        ([1.2, 1.0, None], [3.0, 2.0, None], "Left out, since a run failed: strength 1.", "Beyond"),
        ([1.2, None, None], [3.0, None, None], "fewer than two strengths could be measured", "lowest"),
    ],
)
def test_the_sentences_on_strength(
    loss: list[float | None], kappa: list[float | None], expected: str, absent: str
) -> None:
    head, _, *settings = readme.dose_response({"metrics/dose_response.json": dose(loss, kappa)}).splitlines()
    assert head == "At fixed strengths, 2 seeds each:"
    assert [text.split(": ")[0] for text in settings] == ["- lr 0.002, no weight decay", "- lr 0.008, weight decay 0.4"]
    assert all(expected in text and absent not in text for text in settings)


def test_the_table_on_strength_has_every_setting() -> None:
    rows = readme.dose_response_table(sources()).splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [
        [f"| {setting}", strength]
        for setting in ("lr 0.002, no weight decay", "lr 0.008, weight decay 0.4")
        for strength in ("0", "0.1", "1")
    ]


@pytest.mark.parametrize(
    "fresh,continued,words",
    [
        ((0.9, 1.1), (1.3, 1.5), "did not start from the initial weights"),
        ((1.3, 1.5), (0.9, 1.1), "is one that runs from the initial weights reach"),
        ((1.3, 1.5), (1.3, 1.5), "cannot tell where that run started"),
        ((0.9, 1.1), (0.9, 1.1), "does not explain it"),
    ],
)
def test_where_the_published_run_started(
    fresh: tuple[float, float], continued: tuple[float, float], words: str
) -> None:
    one, other = row("regularized_fresh", 1.0, *fresh), row("regularized_continued", 1.0, *continued)
    assert words in readme.origin(one, other)


@pytest.mark.parametrize(
    "mean,words",
    [(1.1, "1.100 ± 0.050, which is lower than the baseline; published: 1.396"), (1.3, ", which is not lower than")],
)
def test_the_replication_says_which_is_lower(mean: float, words: str) -> None:
    assert words in readme.replication({"metrics/replicate.json": replicated(mean)})


def test_another_protocol_s_replication_is_compared_with_nothing() -> None:
    rows = replicated(1.1)["rows"]
    for each in rows:
        each |= dict.fromkeys(("published", "expected_mean", "expected_sd", "z", "agrees"))
    sources = {"metrics/replicate.json": {"rows": rows}}
    text = readme.replication(sources)
    assert "With these hyperparameters" in text and "published" not in text
    assert "| range |" in readme.replication_table(sources)


# How documents are filled


BLOCK = "Before.\n\n<!-- result:benchmark -->\n{}<!-- /result -->\n\nAfter.\n"
FILLED = BLOCK.format("```text\n2 cores\n```\n")


def repository(root: Path, document: str) -> Path:
    (root / "benchmarks").mkdir()
    (root / "benchmarks/result.txt").write_text("2 cores\n")
    (root / "docs").mkdir()
    (root / "docs/speed.md").write_text("No block.\n")
    (root / "README.md").write_text(document)
    return root


@pytest.mark.parametrize("old", ["", "```text\n4 cores\n```\n", "By hand.\n"])
def test_a_block_is_replaced_and_nothing_else(tmp_path: Path, old: str) -> None:
    root = repository(tmp_path, BLOCK.format(old))
    with pytest.raises(SystemExit, match=r"^README\.md: result:benchmark is out of date; run: make readme$"):
        readme.main(root, ["--check"])
    assert (root / "README.md").read_text() == BLOCK.format(old)
    readme.main(root, [])
    assert (root / "README.md").read_text() == FILLED
    readme.main(root, ["--check"])


@pytest.mark.parametrize(
    "document,message",
    [
        (
            "<!-- result:none_such -->\n<!-- /result -->\n",
            "README.md: result:none_such: got a block that nothing writes",
        ),
        ("<!-- result:benchmark -->\n", "README.md: result:benchmark: got a block without an end"),
        ("<!-- result:benchmark -->\n" + FILLED, "README.md: result:benchmark: got a block without an end"),
        ("<!-- result:answer -->\n<!-- /result -->\n", "README.md: .*metrics/summary.json: cannot be read"),
    ],
)
def test_a_document_that_cannot_be_filled_is_one_line(tmp_path: Path, document: str, message: str) -> None:
    root = repository(tmp_path, document)
    for arguments in ([], ["--check"]):
        with pytest.raises(SystemExit, match=rf"^readme: {message}[^\n]*$"):
            readme.main(root, arguments)
    assert (root / "README.md").read_text() == document


def test_results_without_a_key_are_one_line(tmp_path: Path) -> None:
    root = repository(tmp_path, "<!-- result:dose_response -->\n<!-- /result -->\n")
    files.write_json(root / "metrics/dose_response.json", {"lr": 0.1})
    with pytest.raises(SystemExit, match=r"^readme: README\.md: got results without the key 'others', expected .*$"):
        readme.main(root, [])
