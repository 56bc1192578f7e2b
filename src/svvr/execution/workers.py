"""Executors: worker processes of this machine, or a Dask cluster."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from loky import cpu_count

from svvr.execution import provenance
from svvr.execution.stage import die_with_parent
from svvr.records import Arrays

TIMEOUT = 20  # seconds to find a Dask scheduler and a worker


def n_workers() -> int:
    """Return the number of worker processes: SVVR_WORKERS, else the cores that affinity and container limits leave."""
    said = os.environ.get("SVVR_WORKERS", "")
    if said and not (said.isdecimal() and 1 <= int(said) <= 1024):
        raise ValueError(f"SVVR_WORKERS: got {said}, expected a whole number from 1 to 1024")
    return int(said or cpu_count())


@contextmanager
def executor(n: int) -> Iterator[tuple[Executor, int]]:
    """Open the executor, and say how many units it computes at once.

    Processes, since threads would wait for each other's interpreter between the small operations of a step.
    """
    if address := os.environ.get("SVVR_SCHEDULER"):
        with dask(address) as found:
            yield found
        return
    method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
    pool = ProcessPoolExecutor(n, multiprocessing.get_context(method), initializer=_serve)
    try:
        yield pool, n
    finally:
        pool.shutdown(cancel_futures=True)


def _serve() -> None:
    """Make this process a worker that leaves interruption to its parent and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    die_with_parent(signal.SIGKILL)


@contextmanager
def dask(address: str) -> Iterator[tuple[Executor, int]]:
    """Connect to a Dask scheduler; ConnectionError where that fails, or its workers are unlike this process or die."""
    name = f"SVVR_SCHEDULER: got {address}"
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError:
        raise ConnectionError(f"{name}, expected the package distributed beside it: pip install -e '.[dask]'") from None
    try:
        client = Client(address, timeout=f"{TIMEOUT}s", set_as_default=False)  # type: ignore[no-untyped-call]
        client.wait_for_workers(1, timeout=TIMEOUT)
    except Exception:
        raise ConnectionError(f"{name}, expected a scheduler with workers that answers within {TIMEOUT} s") from None
    with client:
        try:
            yield _Cluster(client, name), max(1, sum(client.nthreads().values()))  # type: ignore[no-untyped-call]
        except (CancelledError, KilledWorker):
            raise ConnectionError(f"{name}, expected it to stay up; finished runs are kept, run it again") from None


class _Cluster(Executor):
    """Submits to a Dask cluster; data is sent once, and workers may join at any time."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._executor, self._name = client, client.get_executor(), name
        self._sent: list[tuple[Arrays, Any]] = []

    def submit(self, compute: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        units, data = args
        remote = next((remote for known, remote in self._sent if known is data), None)
        if remote is None:
            remote = self._client.submit(dict, data)  # a task: made again when every worker that held it has died
            self._client.replicate([remote])
            self._sent.append((data, remote))
        own = provenance.identity()
        future: Future[Any] = self._executor.submit(_compute, own, self._name, compute, units, remote, **kwargs)
        return future


def _compute(own: dict[str, str], name: str, compute: Callable[..., Any], units: Any, data: Any) -> Any:
    theirs = provenance.identity()
    for key, value in own.items():
        if theirs[key] != value:
            raise ConnectionError(f"{name} with a worker that has {key} {theirs[key]}, expected {value} as here")
    return compute(units, data)
