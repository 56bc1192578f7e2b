"""Where and how a clone may lie, and under which settings of the user the pipeline holds."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copies import TOOLS, Copy

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.slow]


def detached(copy: Copy, new: Path) -> Copy:
    copy.run("git", "clone", "-q", ".", str(new))
    Copy.at(new).run("git", "checkout", "-q", "--detach")
    return Copy.at(new)


def shallow(copy: Copy, new: Path) -> Copy:
    copy.run("git", "clone", "-q", "--depth", "1", copy.folder.as_uri(), str(new))
    return Copy.at(new)


def worktree(copy: Copy, new: Path) -> Copy:
    copy.run("git", "worktree", "add", "-q", "--detach", str(new))
    return Copy.at(new)


def with_crlf(copy: Copy, new: Path) -> Copy:
    copy.run("git", "-c", "core.autocrlf=true", "clone", "-q", ".", str(new))
    return Copy.at(new)


def new_branch(copy: Copy, new: Path) -> Copy:
    copy.run("git", "clone", "-q", ".", str(new))
    Copy.at(new).run("git", "checkout", "-q", "-b", "idea")
    return Copy.at(new)


@pytest.mark.parametrize("place", [detached, shallow, worktree, with_crlf, new_branch])
def test_in_any_clone_code_params_and_results_belong_together(
    copy: Copy, tmp_path: Path, place: Callable[[Copy, Path], Copy]
) -> None:
    clone = place(copy, tmp_path / "clone")
    assert clone.repro("--allow-missing") == set() and clone.run("git", "status", "--porcelain") == ""
    assert clone.results() == copy.results()


def through_a_link(copy: Copy, new: Path) -> Copy:
    new.symlink_to(copy.folder)
    return Copy.at(new)


def in_a_subfolder(copy: Copy, new: Path) -> Copy:
    return Copy.at(copy.folder / "docs")


@pytest.mark.parametrize("place", [through_a_link, in_a_subfolder])
def test_a_stage_runs_through_a_link_and_from_a_subfolder(
    copy: Copy, tmp_path: Path, place: Callable[[Copy, Path], Copy]
) -> None:
    before, there = copy.results(), place(copy, tmp_path / "link")
    output = there.run("dvc", "repro", "-f", "-s", f"{'../dvc.yaml:' * (there.folder.name == 'docs')}tables")
    assert "Running stage" in output and copy.results() == before


@pytest.mark.parametrize(
    "environment,arguments",
    [
        ({}, []),
        (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TMPDIR": "/nowhere"},
            ["sh", "-c", 'umask 077; exec "$@"', "sh"],
        ),
    ],
    ids=["nothing else set", "ascii, no TMPDIR, umask 077"],
)
def test_a_stage_runs_where_little_is_set(copy: Copy, environment: dict[str, str], arguments: list[str]) -> None:
    """Of the user's environment the path alone is kept, so HOME is unset too."""
    before = copy.results()
    command, own = [*arguments, "dvc", "repro", "-f", "-s", "diagnose@baseline"], TOOLS | environment
    done = subprocess.run(command, cwd=copy.folder, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Running stage 'diagnose@baseline'" in done.stdout and copy.results() == before


@pytest.mark.parametrize("kind,elsewhere", [("hardlink", False), ("symlink", True)])
def test_dvc_s_cache_may_lie_elsewhere_and_hold_links(copy: Copy, tmp_path: Path, kind: str, elsewhere: bool) -> None:
    copy.run("git", "clone", "-q", ".", str(tmp_path / "clone"))
    clone, before = Copy.at(tmp_path / "clone"), copy.results()
    clone.run("dvc", "config", "--local", "cache.type", kind)
    if elsewhere:
        clone.run("dvc", "config", "--local", "cache.dir", str(tmp_path / "cache"))
    assert clone.repro("prepare") == {"prepare"} and clone.repro("-f", "-s", "prepare") == {"prepare"}
    clone.run("dvc", "gc", "-q", "-f", "-w")
    assert clone.repro("prepare") == set() and clone.results() == before
    assert (clone.folder / "data/dev.npz").is_symlink() == (kind == "symlink")
