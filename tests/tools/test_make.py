"""The Makefile's environment: made anew where folder, interpreter or packages are others; no user's setting matters."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.copies import ROOT, TOOLS, environment
from tools import git

pytestmark = pytest.mark.slow
BASE = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
# An environment without pip is made in a moment; what stands for pip notes that it was called, and how.
PYTHON = f"""#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec '{BASE}' "$@"
'{BASE}' -m venv --without-pip "$3" || exit 1
for packages in "$3"/lib/python*/site-packages; do mkdir "$packages/pip"; cp pip.py "$packages/pip/__main__.py"; done
"""
PIP = """
import os, pathlib, sys
if pathlib.Path("broken").exists() or os.environ.get("PIP_USER", "0") != "0" or "PIP_TARGET" in os.environ:
    sys.exit("pip: no install here")
with open("installs", "a") as file:
    file.write(sys.argv[-1] + "\\n")
"""
SHOW = "import os, sys\nimport svvr\nprint(os.path.abspath(svvr.__file__), sys.prefix)\n"


class Scene:
    """A folder with the Makefile and a target, `readme`, that tells whose code and environment it runs with."""

    def __init__(self, folder: Path, python: str = "./python") -> None:
        self.folder, self.python = folder, python

    def write(self) -> "Scene":
        (self.folder / "tools").mkdir(parents=True)
        (self.folder / "src/svvr").mkdir(parents=True)
        for name in ("Makefile", ".gitignore"):
            shutil.copy(ROOT / name, self.folder)
        texts = {"tools/__init__.py": "", "tools/readme.py": SHOW, "src/svvr/__init__.py": "", "pip.py": PIP}
        for name, text in (texts | {"python": PYTHON, "requirements.lock": "torch", "pyproject.toml": ""}).items():
            (self.folder / name).write_text(text)
        (self.folder / "python").chmod(0o755)
        return self

    def make(self, *arguments: str, status: int = 0, settings: dict[str, str] | None = None) -> list[str]:
        command = ["make", "--no-print-directory", f"PYTHON={self.python}", *arguments]
        own = environment() | (settings or {})
        done = subprocess.run(command, cwd=self.folder, env=own, capture_output=True, text=True)
        assert done.returncode == status, done.stdout + done.stderr
        return (done.stdout + done.stderr).splitlines()

    def installs(self) -> int:
        return (self.folder / "installs").read_text().splitlines().count(".")

    def expected(self) -> str:
        return f"{self.folder}/src/svvr/__init__.py {self.folder}/.venv"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path / "clone").write()
    assert made.make("readme")[-1] == made.expected() and made.installs() == 1
    return made


def moved(scene: Scene) -> Scene:
    return Scene(scene.folder.rename(scene.folder.with_name("moved")))


def copied(scene: Scene) -> Scene:
    subprocess.run(["cp", "-a", scene.folder, scene.folder.with_name("copy")], check=True)
    return Scene(scene.folder.with_name("copy"))


def without_interpreter(scene: Scene) -> Scene:
    for path in (scene.folder / ".venv/bin").glob("python*"):
        path.unlink()
        path.symlink_to("/nowhere/python")
    return scene


def with_another_interpreter(scene: Scene) -> Scene:
    stamp = scene.folder / ".venv/.installed"
    stamp.write_text(stamp.read_text().replace(f" {sys.version_info.minor} ", f" {sys.version_info.minor - 1} "))
    return scene


def with_a_stamp_of_before(scene: Scene) -> Scene:
    (scene.folder / ".venv/.installed").write_text("")
    return scene


def with_an_empty_stamp_and_no_interpreter(scene: Scene) -> Scene:
    return with_a_stamp_of_before(without_interpreter(scene))


def with_other_packages(scene: Scene) -> Scene:
    (scene.folder / "requirements.lock").write_text("numpy")
    os.utime(scene.folder / "requirements.lock", (0, 0))
    return scene


def through_a_link(scene: Scene) -> Scene:
    link = scene.folder.with_name("link")
    link.symlink_to(scene.folder)
    through = Scene(link).make("readme")
    assert through == ["python -m tools.readme", scene.expected()] and scene.installs() == 1
    return moved(scene)


@pytest.mark.parametrize(
    "change",
    [
        moved,
        copied,
        without_interpreter,
        with_another_interpreter,
        with_a_stamp_of_before,
        with_an_empty_stamp_and_no_interpreter,
        with_other_packages,
        through_a_link,
    ],
)
def test_an_environment_of_another_kind_is_made_anew_once(scene: Scene, change: Callable[[Scene], Scene]) -> None:
    changed = change(scene)
    assert changed.make("readme")[-1] == changed.expected() and changed.installs() == 2
    assert changed.make("readme")[-1] == changed.expected() and changed.installs() == 2
    if changed is not scene and scene.folder.exists():
        assert scene.make("readme")[-1] == scene.expected() and scene.installs() == 1


def test_nothing_is_installed_again_where_nothing_changed(scene: Scene) -> None:
    for name in ("requirements.lock", "pyproject.toml"):
        (scene.folder / name).touch()
    assert scene.make("venv") == ["make: Nothing to be done for 'venv'."]
    assert scene.make("readme") == ["python -m tools.readme", scene.expected()] and scene.installs() == 1


def test_an_install_that_failed_is_begun_again(scene: Scene) -> None:
    with_other_packages(scene)
    (scene.folder / "broken").touch()
    assert "pip: no install here" in scene.make("readme", status=2)
    (scene.folder / "broken").unlink()
    assert scene.make("readme")[-1] == scene.expected() and scene.installs() == 2


def test_without_a_python_a_line_says_what_is_needed(scene: Scene) -> None:
    changed = moved(scene)
    changed.python = "python0"
    refused = changed.make("readme", status=2)
    assert refused[0].startswith("PYTHON: got python0, no such command; expected Python 3.11 or newer")
    assert len(refused) == 2 and refused[1].startswith("make: ***")


@pytest.mark.parametrize(
    "settings",
    [
        {"PYTHONSAFEPATH": "1"},
        {"PIP_USER": "1"},
        {"PIP_TARGET": "elsewhere"},
        {"PYTHONHOME": "/nowhere"},
        {"PYTHONPATH": "../other"},
        {"PYTHONINSPECT": "1", "PYTHONWARNINGS": "error", "PYTHONPLATLIBDIR": "none"},
    ],
    ids=" ".join,
)
def test_the_user_s_settings_of_python_and_pip_change_nothing(tmp_path: Path, settings: dict[str, str]) -> None:
    other = tmp_path / "other/svvr"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    made = Scene(tmp_path / "clone").write()
    assert made.make("readme", settings=settings)[-1] == made.expected() and made.installs() == 1
    assert made.make("readme", settings=settings) == ["python -m tools.readme", made.expected()]


@pytest.mark.parametrize("stamp", [None, "another folder's"])
def test_a_given_environment_is_used_where_the_stamp_is_declared_old(tmp_path: Path, stamp: str | None) -> None:
    made = Scene(tmp_path / "clone").write()
    if stamp:
        (made.folder / ".venv").mkdir()
        (made.folder / ".venv/.installed").write_text(stamp)
    shown = made.make("-o", ".venv/.installed", "readme", settings=TOOLS)
    assert shown == ["python -m tools.readme", f"{made.folder}/src/svvr/__init__.py {sys.prefix}"]
    assert not (made.folder / "installs").exists() and not (made.folder / ".venv/bin").exists()


def test_an_environment_behind_a_link_is_used_and_another_folder_s_is_left_alone(scene: Scene) -> None:
    place = (scene.folder / ".venv").rename(scene.folder.with_name("place"))
    (scene.folder / ".venv").symlink_to(place)
    assert scene.make("readme") == ["python -m tools.readme", scene.expected()] and scene.installs() == 1
    copy = copied(scene)
    assert copy.make("readme")[-1] == copy.expected() and copy.installs() == 2
    assert scene.make("readme") == ["python -m tools.readme", scene.expected()] and scene.installs() == 1


def test_links_of_environment_and_cache_are_ignored_by_git(tmp_path: Path) -> None:
    made = Scene(tmp_path / "clone").write()
    git.ask(made.folder, "init", "-q")
    for name in (".venv", ".cache"):
        (made.folder / name).symlink_to(tmp_path)
    assert git.ask(made.folder, "check-ignore", ".venv", ".cache").split() == [".venv", ".cache"]
    assert "?? .venv" not in git.ask(made.folder, "status", "--porcelain")


def test_a_user_s_rule_for_locks_does_not_hide_those_of_the_project(tmp_path: Path) -> None:
    made = Scene(tmp_path / "clone").write()
    git.ask(made.folder, "init", "-q")
    (tmp_path / "rules").write_text("*.lock\n")
    git.ask(made.folder, "config", "core.excludesFile", str(tmp_path / "rules"))
    (made.folder / "dvc.lock").touch()
    seen = git.ask(made.folder, "ls-files", "-o", "--exclude-standard").split()
    assert {"dvc.lock", "requirements.lock"} <= set(seen)
