"""Small data, a copy of the pipeline, a cluster, and the settings that every test relies on."""

import gc
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from filelock import FileLock

from svvr.core.files import Arrays
from tests.copies import ALL, Copy
from tools import git


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that makes the copy for all, so that no other test process comes to wait for it."""
    items.sort(key=lambda item: item.path.name != "test_commands.py")


def pytest_collection_finish() -> None:
    """Keep what the imports have made out of each later collection of garbage, which would walk through all of it."""
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_user_s_git() -> Iterator[None]:
    """Started by a git hook, no test and no process of a test changes the repository of the hook."""
    with mock.patch.dict(os.environ, git.environment(), clear=True):
        yield


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_data() -> Arrays:
    """80 train and 40 validation examples of 6 inputs and 3 classes that can be learned."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 6))
    y = rng.integers(0, 3, size=120)
    y[:3] = [0, 1, 2]
    x = (centres[y] + rng.normal(size=(120, 6))).astype(np.float32)
    return {"x_train": x[:80], "y_train": y[:80], "x_validation": x[80:], "y_validation": y[80:]}


class Dask:
    """A scheduler and its workers."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard")
        while not self._file.exists():
            assert self.scheduler.poll() is None
            time.sleep(0.1)
        self.address: str = json.loads(self._file.read_text())["address"]
        self.workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> None:
        self.workers.append(self._start("worker", "--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard"))

    def stop(self) -> None:
        for process in [*self.workers, self.scheduler]:
            process.terminate()
            process.wait()

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [str(Path(sys.executable).parent / "dask"), *arguments, "--scheduler-file", str(self._file)]
        own = os.environ | {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1"}  # fewer starts
        return subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=self._file.parent, env=own)


@pytest.fixture(scope="session")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dask]:
    started = Dask(tmp_path_factory.mktemp("dask"))
    started.start_worker()
    started.start_worker()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Copy:
    """A copy after its first run, which is made once for all test processes."""
    folder = tmp_path_factory.getbasetemp()
    first = (folder if worker_id == "master" else folder.parent) / "first"
    with FileLock(f"{first}.lock"):
        if not first.exists():
            first.mkdir()
            made = Copy(first)
            assert made.repro() == ALL
            made.commit("results")
    own = tmp_path_factory.mktemp("copy") / "project"
    shutil.copytree(first, own, symlinks=True)
    return Copy.at(own)


@pytest.fixture
def restored(copy: Copy) -> Iterator[None]:
    yield
    copy.run("git", "checkout", "-q", "--", ".")
    copy.run("git", "clean", "-qfd", "--", "metrics", "src")
