"""Workers: as many as there are cores, here or on a Dask cluster, with the same results."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import distributed
import pytest

from svvr.execution import provenance, workers
from svvr.execution.work import TRAIN, session
from svvr.records import Arrays
from svvr.training import loop
from svvr.training.run import Run

pytestmark = pytest.mark.filterwarnings("ignore")  # what distributed's own threads leave open is not ours
RUNS = [Run(k, 0.01, 0, "sv_variance", 0.1 * (k % 2), (8, 7), epochs=3, batch_size=16) for k in range(7)]


def test_a_setting_decides_how_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ("0", "-1", "two", "1.5", "9999"):
        monkeypatch.setenv("SVVR_WORKERS", said)
        with pytest.raises(ValueError, match=rf"SVVR_WORKERS: got {said}, expected a whole number from 1 to 1024"):
            workers.n_workers()
    monkeypatch.setenv("SVVR_WORKERS", "5")
    assert workers.n_workers() == 5


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    options = {"processes": False, "protocol": "tcp", "dashboard_address": None, "threads_per_worker": 1}
    with distributed.LocalCluster(n_workers=2, **options) as started:
        monkeypatch.setenv("SVVR_SCHEDULER", started.scheduler_address)
        yield started


def computed(data: Arrays, epochs: int = 3) -> list[bytes]:
    with session("runs", len(RUNS), keep=False) as each:
        runs, work = [replace(run, epochs=epochs) for run in RUNS], replace(TRAIN, chunk=lambda run: 2)
        results = each(runs[:4], work, data) + each(runs[4:], work, data)
        assert len(getattr(each._executor, "_sent", [])) == 1  # data is sent once
    return [result.weights.tobytes() for result in results]


@pytest.mark.slow
def test_a_cluster_gives_the_same_bytes_or_an_error(cluster: Any, tiny_data: Arrays, monkeypatch: Any) -> None:
    assert computed(tiny_data) == [loop.train([run], tiny_data)[0].weights.tobytes() for run in RUNS]
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "identity", lambda: {"svvr": threading.current_thread() is threading.main_thread()})
        with pytest.raises(ConnectionError, match=r"tcp://.* a worker that has svvr False, expected True as here"):
            computed(tiny_data)
    threading.Timer(0.3, cluster.close).start()
    with pytest.raises(ConnectionError, match="expected it to stay up; finished runs are kept, run it again"):
        computed(tiny_data, epochs=200)


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "TIMEOUT", 1)
    for address in ("tcp://127.0.0.1:1", "garbage", "nonsense://nowhere:1", "tcp://a:b"):
        monkeypatch.setenv("SVVR_SCHEDULER", address)
        expected = f"^SVVR_SCHEDULER: got {address}, expected a scheduler with workers that answers within 1 s$"
        with pytest.raises(ConnectionError, match=expected), workers.executor(1):
            pass
    monkeypatch.setitem(sys.modules, "distributed", None)
    expected = r"distributed beside it: pip install -e '\.\[dask\]'$"
    with pytest.raises(ConnectionError, match=expected), workers.executor(1):
        pass
