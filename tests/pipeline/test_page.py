"""The page of charts draws wherever dvc writes it, and wherever it is taken, without a network."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copies import ROOT, commit, environment, forks
from tools import git

CHROMIUM = shutil.which("chromium")
MARK = re.compile(r'class="mark-(symbol|line|area|rule) role-mark[^"]*"[^>]*>\s*<(path|line) ')


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the figures of the working tree, templates, page and settings, which no stage has to draw."""
    folder = tmp_path_factory.mktemp("page") / "project"
    for name in ("dvc.yaml", "params.yaml", ".dvc/config", ".dvc/plots.html"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in (".dvc/plots", "plots"):
        shutil.copytree(ROOT / name, folder / name)
    (folder / "docs").mkdir()
    git.ask(folder, "init", "-q")
    git.ask(folder, "add", "-A")
    commit(folder, "figures")
    return folder


def dvc(folder: Path, *arguments: str) -> None:
    own = environment() | forks()
    done = subprocess.run(["dvc", "plots", *arguments], cwd=folder, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def shown(project: Path) -> Path:
    dvc(project, "show")
    return project / "dvc_plots"


def from_a_subfolder_to_another_folder(project: Path) -> Path:
    dvc(project / "docs", "show", "-o", "../../report")
    return project.parent / "report"


def sent(project: Path) -> Path:
    """The page alone, and no project where it arrives."""
    there = project.parent / "elsewhere/deep"
    there.mkdir(parents=True)
    shutil.copy(shown(project) / "index.html", there)
    return there


def compared(project: Path) -> Path:
    for path in (project / "plots/interactive").glob("*.json"):
        path.write_text(json.dumps({"rows": json.loads(path.read_text())["rows"][::2]}))
    dvc(project, "diff", "-o", "compared")
    git.ask(project, "checkout", "-q", "--", "plots")
    text = (project / "compared/index.html").read_text()
    assert '"rev": "HEAD"' in text and '"rev": "workspace"' in text
    return project / "compared"


@pytest.mark.slow
@pytest.mark.skipif(
    not (CHROMIUM or "REQUIRE_CHROMIUM" in os.environ), reason="needs Chromium, as in: apt-get install chromium"
)
@pytest.mark.parametrize("written", [shown, from_a_subfolder_to_another_folder, sent, compared])
def test_every_chart_of_the_page_draws_without_a_network(
    project: Path, written: Callable[[Path], Path], tmp_path: Path
) -> None:
    index = written(project) / "index.html"
    drawn = subprocess.run(
        [CHROMIUM or "chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
         "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=20000",
         "--dump-dom", index.as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    charts = re.findall(r'(?s)<svg [^>]*class="marks".*?</svg>', drawn.stdout)
    assert len(charts) == len(list((project / "plots/interactive").glob("*.json"))) > 0
    assert all(MARK.search(chart) for chart in charts)
    assert not [line for line in re.findall(r"CONSOLE.*", drawn.stderr) if "WARN" not in line]


def test_the_page_needs_no_other_file() -> None:
    text = (ROOT / ".dvc/plots.html").read_text(encoding="utf-8")
    assert not re.search(r"<(script|link|img)[^>]* (src|href)=", re.sub(r"(?s)<script>.*?</script>", "", text))
    assert [text.count(f"{{{name}}}") for name in ("plot_divs", "refresh_tag", "scripts")] == [1, 1, 0]
    assert "Redistributions in binary form" in text
