"""The same units on a Dask cluster: a scheduler and two worker processes on loopback, started as the README says."""

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from svvr.core.files import Arrays
from svvr.learn import work
from svvr.learn.result import Result
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.run import cluster
from svvr.run.evaluate import evaluate, workers
from tests.conftest import Dask

WORK = replace(work.WORK, chunk=lambda _: 2)
RUNS = [Run(k, 0.01, 0, "sv_variance", 0.1 * (k % 2), (8, 7), epochs=30, batch_size=8) for k in range(12)]
# what distributed's own threads leave open is not ours
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]


@pytest.fixture
def address(dask: Dask, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SVVR_SCHEDULER", dask.address)
    return dask.address


def weights(data: Arrays) -> list[bytes]:
    with workers() as executor:
        return [result.weights.tobytes() for result in evaluate(RUNS, WORK, data, executor)]


def test_a_cluster_gives_the_bytes_of_the_local_run(
    address: str, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = weights(tiny_data)
    monkeypatch.delenv("SVVR_SCHEDULER")
    assert remote == weights(tiny_data)


def test_data_is_sent_once(address: str, tiny_data: Arrays) -> None:
    with workers() as executor:
        for runs in (RUNS[:3], RUNS[3:5]):
            evaluate(runs, WORK, tiny_data, executor)
        assert isinstance(executor, cluster.Cluster) and len(executor._sent) == 1
        assert executor.n_workers == 2


def test_a_killed_worker_changes_nothing(address: str, tiny_data: Arrays) -> None:
    expected = [train([run], tiny_data)[0].weights.tobytes() for run in RUNS]
    counts: list[int] = []
    with workers() as executor:
        assert isinstance(executor, cluster.Cluster)
        processes = list(executor._client.run(os.getpid).values())

        def kill_once(n: int) -> None:
            if not counts:
                os.kill(processes[0], signal.SIGKILL)
            counts.append(n)

        results = evaluate(RUNS, WORK, tiny_data, executor, finished=kill_once)
    assert [result.weights.tobytes() for result in results] == expected
    assert sum(counts) == len(RUNS)


def test_runs_that_kill_every_worker_are_one_clear_error(address: str, tiny_data: Arrays) -> None:
    def die(units: object, data: object) -> list[Result]:
        os.kill(os.getpid(), signal.SIGKILL)
        return []

    with pytest.raises(ConnectionError, match="whose workers died again and again"), workers() as executor:
        evaluate(RUNS[:1], replace(WORK, compute=die), tiny_data, executor)


def test_a_worker_of_another_kind_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "platform", lambda: {"torch": "0.0"})
    cluster.identity.cache_clear()
    expected = r"whose worker tcp://127\.0\.0\.1:\d+ has torch 2\..*, expected 0\.0 as here"
    with pytest.raises(ConnectionError, match=expected), workers():
        pass
    cluster.identity.cache_clear()


def test_a_worker_of_another_kind_that_joins_later_is_refused(
    address: str, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = cluster.identity() | {"svvr": "0"}
    with workers() as executor:
        monkeypatch.setattr(cluster, "identity", lambda: own)  # here alone, so that now each worker is one that differs
        with pytest.raises(ConnectionError, match=r"whose worker that joined has svvr \w+, expected 0 as here"):
            evaluate(RUNS, WORK, tiny_data, executor)


def test_a_scheduler_that_dies_is_one_clear_error_and_finished_runs_are_kept(
    tmp_path: Path, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    dying = Dask(tmp_path)
    monkeypatch.setenv("SVVR_SCHEDULER", dying.address)
    try:
        with pytest.raises(ConnectionError, match="expected a scheduler with workers within 1 s"), workers():
            pass
        monkeypatch.setattr(cluster, "TIMEOUT", 20)
        dying.start_worker()
        folder = tmp_path / "cache"
        gone = "whose scheduler is gone; finished runs are kept, run it again"
        with pytest.raises(ConnectionError, match=gone), workers() as executor:
            kill = lambda n: dying.scheduler.kill()  # noqa: E731
            evaluate(RUNS, WORK, tiny_data, executor, folder, kill)
    finally:
        dying.stop()
    kept = len(list(folder.glob("*/*.npz")))
    assert 0 < kept < len(RUNS)
    monkeypatch.delenv("SVVR_SCHEDULER")
    counts: list[int] = []
    with workers() as executor:
        evaluate(RUNS, WORK, tiny_data, executor, folder, counts.append)
    assert counts[0] == kept and sum(counts) == len(RUNS)


def test_a_cluster_without_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other/svvr").mkdir(parents=True)
    (tmp_path / "other/svvr/__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    bare = Dask(tmp_path)
    monkeypatch.setenv("SVVR_SCHEDULER", bare.address)
    try:
        bare.start_worker()
        expected = r"which cannot import svvr\.\w+; expected svvr with its scheduler and on each of its workers"
        with pytest.raises(ConnectionError, match=expected), workers():
            pass
    finally:
        bare.stop()


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv("SVVR_SCHEDULER", "tcp://127.0.0.1:1")
    with pytest.raises(ConnectionError, match=r"pip install svvr\[dask\]"), workers():
        pass
