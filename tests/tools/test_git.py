"""The user's repository is theirs: whatever git has started the tools or the tests, nothing in it changes."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.copies import ROOT, Copy
from tools import git

PERSON = {f"GIT_{role}_{key}": f"{key}@t" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}
FILES = (
    ".gitignore", "Makefile", "requirements.lock", "pyproject.toml", "params.yaml", "src/svvr/core/params.py",
    "tests/copies.py", "tests/warm.py", "tools/__init__.py", "tools/git.py", "tools/verify.py",
)  # fmt: skip
MAKE_A_COPY = "import sys, pathlib; from tests.copies import Copy; Copy(pathlib.Path(sys.argv[1]))"


class User:
    """Somebody's repository with a linked worktree, and the git that they type, their own settings in force."""

    def __init__(self, home: Path) -> None:
        self.home, self.main, self.linked = home, home / "main", home / "linked"
        for name in FILES:
            (self.main / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, self.main / name)
        (self.main / "metrics/provenance").mkdir(parents=True)
        (self.main / "metrics/summary.json").write_text('{"contrasts": []}')
        (self.main / "metrics/provenance/a.json").write_text('{"provenance": [{}]}')
        (home / "bin").mkdir()
        (home / "bin/dvc").write_text("#!/bin/sh\n")
        (home / "bin/dvc").chmod(0o755)
        self.git(self.main, "init", "-q", "-b", "main")
        self.git(self.main, "add", "-A")
        self.git(self.main, "commit", "-qm", "one")
        self.git(self.main, "worktree", "add", "-q", "-b", "side", str(self.linked))

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "MAKE", "MFLAGS"))}
        path = os.pathsep.join([str(self.home / "bin"), str(Path(sys.executable).parent), kept["PATH"]])
        own = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home), "PATH": path, "PYTHONPATH": "."}
        return kept | own | PERSON | {"GIT_CONFIG_NOSYSTEM": "1"}

    def git(self, folder: Path, *arguments: str) -> str:
        command = ["git", *arguments]
        done = subprocess.run(command, cwd=folder, env=self.environment(), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def state(self) -> dict[str, str]:
        """Return all that a stray command could change: refs, settings, and each worktree's index and files."""
        state = {"refs": self.git(self.main, "for-each-ref"), "config": (self.main / ".git/config").read_text()}
        for folder in (self.main, self.linked):
            state[f"index of {folder.name}"] = self.git(folder, "ls-files", "-s")
            state[f"status of {folder.name}"] = self.git(folder, "status", "--porcelain")
        return state


@pytest.fixture
def user(tmp_path: Path) -> User:
    return User(tmp_path)


def test_git_s_variables_are_dropped_and_signing_and_hooks_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE", "GIT_PREFIX", "GIT_CONFIG_PARAMETERS", "GIT_NEW"):
        monkeypatch.setenv(name, "the user's")
    own = git.environment()
    assert "the user's" not in own.values() and "GIT_DIR" not in own and own["PATH"] == os.environ["PATH"]
    for key, value in (("commit.gpgSign", "false"), ("tag.gpgSign", "false"), ("core.hooksPath", os.devnull)):
        assert git.ask(ROOT, "config", key) == f"{value}\n"


def test_what_git_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"^fatal: not a git repository[^\n]*$"):
        git.ask(tmp_path, "log")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"^git: No such file or directory$"):
        git.ask(tmp_path, "log")


@pytest.mark.slow
@pytest.mark.parametrize("worktree", ["main", "linked"])
def test_a_copy_made_under_a_rebase_leaves_the_user_s_repository_alone(user: User, worktree: str) -> None:
    folder = user.home / worktree
    user.git(folder, "commit", "-q", "--allow-empty", "-m", "two")
    before = user.state()
    command = shlex.join([sys.executable, "-c", MAKE_A_COPY, str(user.home / "copy")])
    (user.home / "copy").mkdir()
    user.git(folder, "rebase", "-q", "--exec", command, "HEAD~1")
    assert user.state() == before and "bare = false" in before["config"]
    assert user.git(user.home / "copy", "log", "--format=%s") == "tiny params\n"
    assert user.git(user.home / "copy", "status", "--porcelain") == ""


@pytest.mark.slow
@pytest.mark.parametrize("worktree", ["main", "linked"])
@pytest.mark.parametrize("arguments", [(), ("-a",), ("params.yaml",)], ids=["staged", "all", "one path"])
def test_verifying_before_a_commit_leaves_the_commit_as_it_is(
    user: User, worktree: str, arguments: tuple[str, ...]
) -> None:
    hook, folder = user.main / ".git/hooks/pre-commit", user.home / worktree
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexec make -o .venv/.installed verify\n")
    hook.chmod(0o755)
    (folder / "params.yaml").write_text("seed: 1\n")
    if not arguments:
        user.git(folder, "add", "params.yaml")
    before = user.state()
    shown = user.git(folder, "commit", "-m", "two", *arguments)
    assert "verify: 2 metrics files agree byte for byte" in shown
    assert user.git(folder, "diff", "--name-status", "HEAD~1", "HEAD") == "M\tparams.yaml\n"
    assert user.git(folder, "status", "--porcelain") == ""
    after, other = user.state(), "linked" if worktree == "main" else "main"
    assert all(after[name] == before[name] for name in ("config", f"index of {other}", f"status of {other}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        "[commit]\ngpgSign = true\n[gpg]\nprogram = false\n",
        "[core]\nhooksPath = {hooks}\n",
        "[init]\ntemplateDir = {template}\n",
    ],
    ids=["signing", "hooks", "template"],
)
def test_the_user_s_signing_and_hooks_are_not_asked(
    user: User, setting: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hooks = user.home / "template/hooks"
    hooks.mkdir(parents=True)
    for name in ("pre-commit", "post-checkout"):
        (hooks / name).write_text("#!/bin/sh\necho refused\nexit 1\n")
        (hooks / name).chmod(0o755)
    (user.home / ".gitconfig").write_text(setting.format(hooks=hooks, template=hooks.parent))
    for name, value in user.environment().items():
        monkeypatch.setenv(name, value)
    (tmp_path / "copy").mkdir()
    copy = Copy(tmp_path / "copy")
    assert copy.run("git", "log", "--format=%s") == "tiny params\n"
    assert not list((copy.folder / ".git").glob("hooks/*"))
