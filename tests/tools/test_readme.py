"""The README's numbers are those of the metrics, and its commands exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
RESULT = README[README.index("## Result") : README.index("## What runs")]


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / "metrics" / f"{name}.json").read_text())
    return loaded


CONTRASTS = load("summary")["contrasts"]
FIRST = (CONTRASTS[0]["arm"], CONTRASTS[0]["reference"])


def effect(contrast: dict[str, Any]) -> str:
    return f"{contrast['effect_percent']:+.2f} % ({contrast['ci_low']:+.2f} to {contrast['ci_high']:+.2f}"


def verdict(contrast: dict[str, Any]) -> str:
    needed = f" (about {contrast['studies_needed']} studies would decide)"
    return str(contrast["verdict"]) + needed * (contrast["verdict"] == "inconclusive")


def test_the_headline_is_the_summary_s() -> None:
    (sentence,) = load("summary")["overall"]
    headlines = {"**Not established.**": "not established", "**Supported.**": "hypothesis is supported"}
    assert [words in sentence for headline, words in headlines.items() if headline in RESULT] == [True]
    assert f"at a budget of {len(load('tune/baseline')['studies'][0]['trials'])} trials" in RESULT


@pytest.mark.parametrize("contrast", [c for c in CONTRASTS if c["link"] == "generalisation"], ids=lambda c: c["arm"])
def test_the_table_of_contrasts(contrast: dict[str, Any]) -> None:
    names = f"{contrast['arm']} vs {contrast['reference']}".replace("_", " ")
    assert f"| {names} | {effect(contrast)}) | {verdict(contrast)} |" in RESULT
    assert f"{contrast['n_studies']} independent tuning studies" in " ".join(RESULT.split())
    assert contrast["n_pairs"] == 12 * contrast["n_studies"] and "12 paired runs" in RESULT


@pytest.mark.parametrize(
    "contrast", [c for c in CONTRASTS if (c["arm"], c["reference"]) == FIRST], ids=lambda c: c["link"]
)
def test_the_table_of_links(contrast: dict[str, Any]) -> None:
    (row,) = re.findall(rf"^\| {contrast['link'].replace('_', ' ')}: .*$", RESULT, re.MULTILINE)
    assert row.endswith(f"| {effect(contrast)}; {100 * contrast['level']:.3g} %) | {verdict(contrast)} |")


def test_the_dose_response() -> None:
    record = load("dose_response")
    test, kappa = record["test_loss"]["mean"], record["conditioning"]["mean"]
    best = min(range(len(test)), key=test.__getitem__)
    text = " ".join(RESULT.split())
    assert f"lr {record['lr']}, {record['n_seeds']} seeds" in text
    assert f"from ln κ {kappa[0]:.2f} to {kappa[-1]:.2f}" in text
    assert kappa == sorted(kappa, reverse=True)
    strengths = record["strengths"]
    turn = f"from {test[0]:.3f} to {test[best]:.3f} at strength {strengths[best]:g}"
    assert f"{turn} and is {test[-1]:.3f} at {strengths[-1]:g}" in text


def test_the_replication() -> None:
    rows, text = load("replicate")["rows"], " ".join(RESULT.split())
    for row in rows:
        assert f"{row['last_epoch']['mean']:.3f} ± {row['last_epoch']['sd']:.3f}" in text
        assert str(row["published"]) in text and f"{row['n_runs']} seeds" in text
    distances = ", ".join(f"{row['z']:+.1f}" for row in rows)
    agreement = "all" if all(row["agrees"] for row in rows) else "not all"
    assert f"differ by {distances} standard errors, {agreement} within 3" in text


def test_every_path_exists_and_every_target_of_make() -> None:
    for path in re.findall(r"\]\((plots/[^)]+)\)", README):
        assert (ROOT / path).is_file(), path
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets
    for name in re.findall(r"`(src/[^`]+|stages/|tests/|benchmarks/|params\.yaml|dvc\.yaml)`", README):
        # the guide's own penalty is what the reader writes
        assert (ROOT / name).exists() or name in ("src/svvr/penalties/NAME.py", "src/svvr/penalties/nuclear.py"), name


def test_the_speed_rows_are_the_benchmark_s() -> None:
    printed = " ".join((ROOT / "benchmarks/result.txt").read_text().split())
    speed = README[README.index("## Speed") : README.index("## What is kept")]
    rows = re.findall(r"^\| ([^|]+) \| ([0-9.]+) \| ([0-9.]+) \| ([0-9.]+) \|$", speed, re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        assert " ".join(row) in printed


def test_every_command_of_dvc_is_run_by_a_test() -> None:
    tests = (ROOT / "tests/test_end_to_end.py").read_text() + (ROOT / "tests/test_faults.py").read_text()
    commands = set(re.findall(r"(?<![.\w/])dvc ((?:exp|plots|metrics|params|queue) [a-z]+|[a-z]+)(?![.\w])", README))
    assert {"repro", "exp run", "plots show", "metrics diff", "params diff", "queue start"} <= commands
    for command in commands:
        assert '"dvc", ' + ", ".join(f'"{word}"' for word in command.split()) in tests, command
    for option in re.findall(r"--(temp|queue|allow-missing|only-changed)", README):
        assert f'"--{option}"' in tests, option
