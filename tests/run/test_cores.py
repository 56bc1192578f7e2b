"""Workers get the cores that they may use."""

import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from svvr.run import cores, evaluate


def test_a_setting_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_WORKERS", "5")
    assert cores.n_workers() == 5


@pytest.mark.parametrize("said", ["", "0", "-1", "two", "1.5", "9999"])
def test_a_setting_that_is_no_number_of_workers_is_named(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_WORKERS", said)
    with pytest.raises(ValueError, match=f"SVVR_WORKERS: got '{said}', expected a whole number from 1 to 1024"):
        cores.n_workers()


def output(code: str, **environment: str) -> str:
    own = {name: value for name, value in os.environ.items() if name != "SVVR_WORKERS"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=own | environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.slow
def test_affinity_is_a_limit() -> None:
    allowed = sorted(os.sched_getaffinity(0))[:1]
    code = f"import os; os.sched_setaffinity(0, {allowed}); from svvr.run import cores; print(cores.n_workers())"
    assert output(code) == "1"


@pytest.mark.slow
def test_pins_of_openmp_leave_a_worker_every_core() -> None:
    """Any of them that was left would pin it."""
    code = (
        "from svvr.run import lifetime; lifetime.begin('x'); import os, torch; torch.ones(100_000).sum();"
        "from svvr.run import evaluate\n"
        "with evaluate.workers() as pool: print(pool.submit(os.sched_getaffinity, 0).result())"
    )
    pins = {"OMP_PROC_BIND": "true", "OMP_PLACES": "{0}", "GOMP_CPU_AFFINITY": "0"}
    assert output(code, **pins) == str(os.sched_getaffinity(0))


def test_without_shared_memory_the_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **named: object) -> ProcessPoolExecutor:
        raise PermissionError(13, "Permission denied")

    monkeypatch.delenv("SVVR_SCHEDULER", raising=False)
    monkeypatch.setattr(evaluate, "Processes", fail)
    with (
        pytest.raises(ConnectionError, match=r"workers: got no shared memory \(.*denied\), expected a usable /dev/shm"),
        evaluate.workers(),
    ):
        pass


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount another /dev/shm, as in: sudo make test")
def test_a_real_machine_without_shared_memory() -> None:
    code = "from svvr.run import evaluate\nwith evaluate.workers(): pass"
    shell = f"mount -t tmpfs -o ro none /dev/shm && {sys.executable} -c '{code}'"
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", shell], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert "expected a usable /dev/shm" in result.stderr.splitlines()[-1], result.stderr
