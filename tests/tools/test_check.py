"""A dvc.lock that dvc cannot read is refused with a remedy that works, whatever damaged it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copies import ROOT, environment, forks
from tools import check, git

STAGE = "stages:\n  copy:\n    cmd: cp in out\n    deps: [in]\n    outs: [out]\n"
WHOLE = "schema: '2.0'\nstages:\n  copy:\n    cmd: cp in out\n    outs:\n    - path: out\n      md5: {}\n"
BEFORE, OURS, THEIRS = (WHOLE.format(digit * 32) for digit in "abc")
REFUSED = "{}: got a damaged file, expected what dvc writes; bring it back with: {}"


def run(folder: Path, command: str) -> str:
    own = environment() | forks()
    done = subprocess.run(command, shell=True, cwd=folder, env=own, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def commit(folder: Path, text: str | None, message: str = "lock") -> None:
    if text is None:
        (folder / "dvc.lock").unlink()
    else:
        (folder / "dvc.lock").write_text(text)
    git.ask(folder, "add", "-A")
    git.ask(folder, "commit", "-qm", message)


def merge(folder: Path, ours: str | None, theirs: str | None) -> None:
    """Leave the conflict of two branches, each with its own lock."""
    git.ask(folder, "checkout", "-qb", "side")
    commit(folder, theirs)
    git.ask(folder, "checkout", "-q", "-")
    commit(folder, ours)
    with pytest.raises(ValueError):
        git.ask(folder, "merge", "-q", "side")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose lock is committed, as the current folder."""
    git.ask(tmp_path, "init", "-q")
    for key in ("user.name", "user.email"):
        git.ask(tmp_path, "config", key, "t@example.org")
    (tmp_path / "dvc.yaml").write_text(STAGE)
    (tmp_path / "in").write_text("1")
    (tmp_path / ".gitignore").write_text("/out\n")
    commit(tmp_path, BEFORE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cut(folder: Path) -> None:
    (folder / "dvc.lock").write_text(OURS[:-60] + "{")


def twice(folder: Path) -> None:
    (folder / "dvc.lock").write_text(OURS + OURS[OURS.index("stages") :])


def cut_and_added(folder: Path) -> None:
    cut(folder)
    git.ask(folder, "add", "-A")


def conflict(folder: Path) -> None:
    merge(folder, OURS, THEIRS)


def conflict_with_ancestor(folder: Path) -> None:
    git.ask(folder, "config", "merge.conflictStyle", "diff3")
    merge(folder, OURS, THEIRS)


def conflict_with_damaged(folder: Path) -> None:
    merge(folder, OURS.replace("schema", "{"), THEIRS)


def conflict_added_as_it_is(folder: Path) -> None:
    merge(folder, OURS, THEIRS)
    git.ask(folder, "add", "-A")


def joined_line_by_line(folder: Path) -> None:
    commit(folder, OURS)
    twice(folder)
    commit(folder, (folder / "dvc.lock").read_text())


def never_committed(folder: Path) -> None:
    git.ask(folder, "update-ref", "-d", "HEAD")
    git.ask(folder, "rm", "-q", "--cached", "dvc.lock")
    cut(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage,remedy,back",
    [
        (cut, "git checkout -- dvc.lock", BEFORE),
        (twice, "git checkout -- dvc.lock", BEFORE),
        (conflict, "git checkout --ours -- dvc.lock, then: dvc repro", OURS),
        (conflict_with_ancestor, "git checkout --ours -- dvc.lock, then: dvc repro", OURS),
        (conflict_with_damaged, "git checkout --theirs -- dvc.lock, then: dvc repro", THEIRS),
        (cut_and_added, "git checkout HEAD -- dvc.lock, then: dvc repro", BEFORE),
        (conflict_added_as_it_is, "git checkout HEAD -- dvc.lock, then: dvc repro", OURS),
        (joined_line_by_line, "git checkout HEAD^ -- dvc.lock, then: dvc repro", OURS),
        (never_committed, "rm dvc.lock, then: dvc repro", None),
    ],
)
def test_a_damaged_lock_is_refused_with_a_remedy_that_works(
    project: Path, damage: Callable[[Path], None], remedy: str, back: str | None
) -> None:
    lock = Path("dvc.lock")
    check.lock(lock)
    damage(project)
    with pytest.raises(ValueError) as refused:
        check.lock(lock)
    assert str(refused.value) == REFUSED.format("dvc.lock", remedy)
    run(project, remedy.split(", then: ")[0])
    check.lock(lock)
    assert (lock.read_text() if lock.exists() else None) == back


@pytest.mark.slow
def test_after_a_conflict_dvc_runs_again_by_the_remedy(project: Path) -> None:
    run(project, "dvc init -q")
    commit(project, BEFORE)
    conflict(project)
    with pytest.raises(ValueError) as refused:
        check.lock(Path("dvc.lock"))
    output = run(project, str(refused.value).split("with: ")[1].replace(", then: ", " && "))
    assert "Running stage 'copy'" in output
    check.lock(Path("dvc.lock"))
    run(project, "git add dvc.lock && git commit -qm merged")
    assert git.ask(project, "status", "--porcelain") == ""


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "{}", "- a list", "3", "a: 2020-99-99", "schema: '3.0'\nstages: {}\n", OURS[:10], OURS[:-60] + "{",
        OURS + OURS, OURS.replace("cmd:", "cmd: a\n    cmd:"), "<<<<<<< HEAD\n" + OURS, OURS.replace("stages", "sta"),
    ],
)  # fmt: skip
def test_what_dvc_would_not_read_is_refused_outside_git_too(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "dvc.lock"
    check.lock(lock)
    lock.write_text(OURS)
    check.lock(lock)
    lock.write_text(text)
    with pytest.raises(ValueError) as refused:
        check.lock(lock)
    assert str(refused.value) == REFUSED.format(lock, f"rm {lock}, then: dvc repro")


def test_bytes_of_no_text_and_a_folder_are_refused(tmp_path: Path) -> None:
    lock = tmp_path / "dvc.lock"
    lock.write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match="got a damaged file"):
        check.lock(lock)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(ValueError, match="got a damaged file"):
        check.lock(lock)


@pytest.mark.slow
def test_both_files_are_checked_from_the_command_line(project: Path) -> None:
    (project / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    command = ["python", "-m", "tools.check"]
    own = environment() | forks() | {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    assert subprocess.run(command, env=own, capture_output=True, text=True).stderr == ""
    twice(project)
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr == REFUSED.format("dvc.lock", "git checkout -- dvc.lock") + "\n"
    (project / "params.yaml").write_text("final: {}\n")
    done = subprocess.run(command, env=own, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith("params.yaml: ") and done.stderr.count("\n") == 1
