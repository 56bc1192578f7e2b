"""Nothing is lost: kills, edits and broken input, in a copy of the pipeline."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.copies import Copy

pytestmark = pytest.mark.slow
LONG = 3000  # epochs of a training that is still running when a test gets to it


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    copy = Copy(tmp_path_factory.mktemp("copy"))
    assert copy.repro("train@regularized") == {"prepare", "tune@regularized", "train@regularized"}
    copy.commit()
    return copy


@pytest.fixture
def copy(tuned: Copy) -> Iterator[Copy]:
    epochs = tuned.params["training"]["epochs"]
    yield tuned
    tuned.params["training"]["epochs"] = epochs
    tuned.run("git", "checkout", "-q", "--", ".")
    tuned.run("git", "clean", "-qfd", "--", "metrics", "src")


def processes_in(folder: Path) -> list[int]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").samefile(folder):
                found.append(int(process.name))
    return found


def children(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return []


def training(copy: Copy, *command: str, **environment: str) -> "subprocess.Popen[str]":
    """Start a command that trains for long, and wait until its workers are there."""
    copy.params["training"]["epochs"] = LONG
    copy.write_params()
    process = copy.start(*command, PYTHONPATH="src", **environment)
    deadline = time.monotonic() + 60
    while not any(len(children(pid)) > 1 for pid in processes_in(copy.folder)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(0.3)
    return process


def all_end(folder: Path) -> bool:
    deadline = time.monotonic() + 5
    while processes_in(folder) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not processes_in(folder)


def test_stages_killed_at_random_moments_resume_with_the_same_bytes(copy: Copy) -> None:
    before, draws, in_flight = copy.results(), random.Random(0), 0
    shutil.rmtree(copy.folder / ".cache/svvr")
    for number in range(4):
        name = ("tune", "train")[number % 2]
        process = copy.start("python", f"stages/{name}.py", "regularized", PYTHONPATH="src")
        time.sleep(draws.uniform(1.5, 3.0))
        in_flight += process.poll() is None
        process.kill()
        process.communicate()
    assert in_flight > 1
    for name in ("tune", "train"):
        copy.stage(f"{name}@regularized")
    assert copy.results() == before


def test_dvc_killed_leaves_nothing_running_and_resumes(copy: Copy) -> None:
    lock, before = (copy.folder / "dvc.lock").read_bytes(), copy.results()
    parent = training(copy, "dvc", "repro", "-s", "tune@regularized")
    assert len(processes_in(copy.folder)) >= 4  # dvc, the stage and its workers
    parent.kill()
    parent.communicate()
    assert all_end(copy.folder)
    copy.run("git", "checkout", "-q", "--", "params.yaml")
    copy.repro("train@regularized")
    assert (copy.folder / "dvc.lock").read_bytes() == lock and copy.results() == before


def test_a_killed_worker_is_one_message(copy: Copy) -> None:
    process = training(copy, "python", "stages/tune.py", "regularized")
    os.kill(int(children(process.pid)[0]), signal.SIGKILL)
    output = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "\ntune@regularized: a worker was killed" in output and "Traceback" not in output
    assert all_end(copy.folder)


@pytest.mark.parametrize("heard", [True, False])  # the same signal may end what reads the output
def test_interruption_ends_a_stage(copy: Copy, heard: bool) -> None:
    process = training(copy, "python", "stages/tune.py", "regularized")
    if not heard and process.stdout:
        process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert not heard or "stopped by SIGINT" in process.communicate(timeout=20)[0].splitlines()[-1]
    assert process.wait(20) == 130
    assert all_end(copy.folder)


@pytest.mark.parametrize("name", ["params.yaml", "src/svvr/penalties/sv_variance.py"])
def test_an_edit_while_a_stage_runs_is_not_recorded(copy: Copy, name: str) -> None:
    copy.params["training"]["epochs"] = 80
    copy.write_params()
    process = copy.start("dvc", "repro", "-s", "tune@regularized", SVVR_CACHE="off")
    deadline = time.monotonic() + 60
    while not any(len(children(pid)) > 1 for pid in processes_in(copy.folder)) and time.monotonic() < deadline:
        time.sleep(0.05)
    path = copy.folder / name
    path.write_text(path.read_text() + "\n# edited\n")
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0 and f"{path.name} changed while the stage ran" in output
    assert "git checkout -- metrics plots" in output and "epochs: 80" not in (copy.folder / "dvc.lock").read_text()


def test_two_reproductions_at_once_lose_nothing(copy: Copy) -> None:
    copy.params["training"]["epochs"] = 3
    copy.write_params()
    both = [copy.start("dvc", "repro", "train@regularized") for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert 0 in [process.returncode for process in both], outputs
    assert copy.repro("train@regularized") == set()


def test_a_penalty_that_does_not_work_stops_the_first_stage(copy: Copy) -> None:
    (copy.folder / "src/svvr/penalties/mine.py").write_text("import torch\n\n\ndef penalty(W):\n    return missing\n")
    penalty = {"name": "mine", "strength": {"low": 0.1, "high": 1.0}}
    copy.params["arms"]["mine"] = {"tune": ["lr", "strength"], "penalty": penalty}
    copy.write_params()
    output = copy.run("dvc", "repro", status=255)
    del copy.params["arms"]["mine"]
    assert "svvr/penalties/mine.py:5: NameError: name 'missing' is not defined" in output
    assert "Traceback" not in output and "git checkout -- metrics plots" in output
