"""The documents: their numbers are those of the results, and what they name exists."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from svvr.params import load
from tools import readme

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
WORDS = {
    "README": 1100,
    "CONTRIBUTING": 300,
    "protocol": 1960,
    "penalties": 600,
    "running": 970,
    "data": 350,
    "results": 1500,
}
SOURCES = ("params.yaml", "README.md", "tools/results.md.j2", "benchmarks/result.txt", "docs/full_runs.csv")
RECORDS = ("metrics/summary.json", "metrics/dose_response.json", "metrics/replicate.json")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a folder with what the documents are made from."""
    for name in SOURCES + RECORDS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_the_committed_documents_have_the_committed_results() -> None:
    for path, content in readme.documents(ROOT).items():
        assert path.read_text() == content, f"{path.name}: run make readme"


def test_contrasts_without_a_verdict_or_other_settings_are_said_too(copy: Path) -> None:
    summary: dict[str, Any] = json.loads((copy / RECORDS[0]).read_text())
    unknown = {"effect_percent": None, "ci_low": None, "ci_high": None, "reason": "a run failed"}
    for row in summary["contrasts"] + summary["budget_verdicts"]:
        row |= unknown | {"verdict": "no verdict", "flags": []}
    (copy / RECORDS[0]).write_text(json.dumps(summary | {"hypothesis": "no verdict"}))
    page, results = readme.documents(copy).values()
    assert "**There is no verdict on the hypothesis.**" in page
    n = len(summary["contrasts"]) // 4
    assert page.count("| no verdict (a run failed)") == n and results.count("unknown, no verdict") >= 6 * n
    change(copy / "params.yaml", "baseline: {lr: 0.0042}", "baseline: {lr: 0.005}")  # not what was published
    assert all("The replication has other settings" in content for content in readme.documents(copy).values())
    summary |= {"contrasts": [], "budget_verdicts": []}
    (copy / RECORDS[0]).write_text(json.dumps(summary))
    assert all("None." in content for content in readme.documents(copy).values())


def test_the_league_is_said_and_shown(copy: Path) -> None:
    assert "The league has not been run" in readme.documents(copy)[copy / "README.md"]
    clear = {"effect_percent": -3.04, "p_holm": 0.01, "ci_low": -4.0, "ci_high": -2.0, "verdict": "better"}
    unclear = clear | {"p_holm": 0.3, "ci_high": 1.0, "verdict": "undecided"}
    row, cells = {"penalty": "l2", "decay": True}, {"base": clear, "few": unclear}
    rows = [row | {"regime": regime, "adam": effect, "adamw": effect} for regime, effect in cells.items()]
    (copy / "survey").mkdir()
    pd.json_normalize(rows, sep="_").to_csv(copy / "survey/league.csv", index=False)
    page, results = readme.documents(copy).values()
    assert "Better than AdamW most often: l2 with decay (in 1 of 2 regimes)." in page
    assert re.search(r"\| l2 with decay +\| \*\*-3.0\\\*\*\* +\| -3.0 +\|", results)


def test_a_missing_comment_is_refused_and_the_rest_of_a_document_kept() -> None:
    document = "a\n<!-- result:x -->\nold\n<!-- /result -->\nb\n<!-- result:y -->\n<!-- /result -->\n"
    assert readme.fill(document, "x", r"\1 new") == document.replace("old", r"\1 new")
    with pytest.raises(ValueError, match="got 0 blocks result:z, expected one"):
        readme.fill(document, "z", "")


def test_speed_reads_the_rows_of_runs_alone() -> None:
    timed = "baseline run of 20 epochs, 48 asked for   260.97   85.00   3.1  3.0 to 3.2"
    frame = readme.speed(f"2 cores\n{timed}\npeer by jax  1.0  2.0  0.5  0.4 to 0.6")
    assert frame.to_numpy().tolist() == [["baseline run of 20 epochs, 48 asked for", "260.97", "85.00", "3.1"]]


def test_doses_show_every_strength_of_every_setting() -> None:
    expected = []
    for path in load(ROOT / "params.yaml").dose_response.settings:
        label = f"{path.penalty}, learning rate {path.lr:g}, weight decay {path.weight_decay:g}"
        expected += [(label if i == 0 else "", f"{strength:g}") for i, strength in enumerate(path.strengths)]
    section = readme.documents(ROOT)[ROOT / "docs/results.md"].partition("## Dose-response")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (.*?) *\| ([\d.e-]+) \|", section, re.MULTILINE) == expected


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_a_document_is_short_and_its_links_lead_somewhere(path: Path) -> None:
    content = path.read_text()
    assert len(content.split()) <= WORDS[path.stem]
    for link, anchor in re.findall(r"\]\(([^)#:]*)#?([^)]*)\)", content):
        target = path.parent / link if link else path
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.stem)
def test_the_commands_settings_and_files_that_a_document_names_exist(path: Path) -> None:
    content = path.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", content, re.MULTILINE)) <= targets
    sources = "".join(source.read_text() for source in (ROOT / "src/svvr").rglob("*.py"))
    assert all(name in sources for name in re.findall(r"SVVR_[A-Z]+", content))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    for section, key in re.findall(r"`([a-z_]+)\.(?!json)([a-z_]+)`", content):
        assert section not in params or key in params[section], f"{section}.{key}"
    for name in re.findall(r"`((?:src|stages|tools|tests|docs|metrics|plots|benchmarks)/[\w./]+)`", content):
        assert re.search("NAME|ARM|nuclear|verdicts", name) or (ROOT / name).exists(), name
