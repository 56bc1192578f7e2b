"""Commands that begin as forks are like those of their own."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.copies import TOOLS, forks

pytestmark = pytest.mark.slow
SAYS = """
import os, sys
print(sys.argv[1:], os.getcwd(), os.environ["MINE"], sys.path[0], __name__, sys.stdin.read(), flush=True)
print("an error", file=sys.stderr)
sys.exit(7)
"""
STAYS = "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
LEAVES = "import os, sys\npid = os.fork()\nif pid:\n    print(pid)\n    sys.exit(3)\nos.closerange(0, 3)\n" + STAYS
LOADED = "import sys\nprint('torch' in sys.modules)\n"


def said(folder: Path, *command: str, **environment: str) -> tuple[int, str, str]:
    done = subprocess.run(
        command, cwd=folder, env=os.environ | {"MINE": "own"} | environment, input="in", capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_a_fork_has_the_arguments_files_folder_environment_and_status(tmp_path: Path) -> None:
    (tmp_path / "says.py").write_text(SAYS)
    for command in (["says.py", "a b", "ä"], ["-m", "says", "c"]):
        own, fork = (said(tmp_path, "python", *command, **tools) for tools in (TOOLS, forks()))
        assert fork == own and own[0] == 7 and own[2] == "an error\n" and str(tmp_path) in own[1]


def test_packages_are_loaded_in_a_fork_and_options_begin_none(tmp_path: Path) -> None:
    (tmp_path / "loaded.py").write_text(LOADED)
    assert said(tmp_path, "python", "loaded.py", **forks()) == (0, "True\n", "")
    assert said(tmp_path, "python", "-I", "loaded.py", **forks()) == (0, "False\n", "")
    assert said(tmp_path, "python", "loaded.py", **forks(), PYTHONUTF8="1") == (0, "False\n", "")
    assert said(tmp_path, "python", "-c", LOADED, **forks()) == (0, "False\n", "")


def test_a_fork_ends_with_the_command_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "stays.py").write_text(STAYS)
    process = subprocess.Popen(["python", "stays.py"], cwd=tmp_path, env=os.environ | forks())
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    fork = Path("/proc", (tmp_path / "pid").read_text())
    assert fork.exists() and fork.name != str(process.pid)
    process.kill()
    process.wait()
    while fork.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_ends_before_a_process_that_it_leaves_behind(tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES)
    status, pid, _ = said(tmp_path, "python", "leaves.py", **forks())
    assert status == 3
    os.kill(int(pid), signal.SIGKILL)
