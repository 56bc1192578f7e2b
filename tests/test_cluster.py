"""The same units on a Dask cluster: a scheduler and two worker processes on loopback."""

import os
import signal
from collections.abc import Iterator

import distributed
import pytest

from svvr import execution, training
from svvr.records import Arrays
from svvr.training import Run

WORK = execution.Work(training.train, training.modules, training.stackable, chunk=2)
RUNS = [Run(k, 0.01, 0, "sv_variance", 0.1 * (k % 2), (8, 7), epochs=60, batch_size=8) for k in range(12)]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[distributed.LocalCluster]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1", silence_logs=50
    ) as started:
        monkeypatch.setenv("SVVR_SCHEDULER", started.scheduler_address)
        yield started


def weights(data: Arrays) -> list[bytes]:
    with execution.workers() as executor:
        return [result["weights"].tobytes() for result in execution.evaluate(RUNS, WORK, data, executor)]


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_bytes_of_the_local_run(
    cluster: distributed.LocalCluster, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = weights(tiny_data)
    monkeypatch.delenv("SVVR_SCHEDULER")
    assert remote == weights(tiny_data)


@pytest.mark.filterwarnings("ignore")
def test_a_killed_worker_changes_nothing(cluster: distributed.LocalCluster, tiny_data: Arrays) -> None:
    expected = [training.train([run], tiny_data)[0]["weights"].tobytes() for run in RUNS]
    counts: list[int] = []

    def kill_once(n: int) -> None:
        if not counts:
            os.kill(cluster.workers[0].process.process.pid, signal.SIGKILL)
        counts.append(n)

    with execution.workers() as executor:
        results = execution.evaluate(RUNS, WORK, tiny_data, executor, finished=kill_once)
    assert [result["weights"].tobytes() for result in results] == expected
    assert sum(counts) == len(RUNS)
