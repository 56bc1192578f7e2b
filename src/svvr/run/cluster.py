"""A Dask cluster as a concurrent.futures executor: workers like this process, data sent once, one clear error."""

import functools
import logging
import re
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from svvr.core.files import Arrays
from svvr.run import code
from svvr.run.platform import platform

ADDRESS = re.compile(r"(tcp|tls)://([\w.-]+|\[[0-9a-fA-F:]+\]):[0-9]{1,5}")
TIMEOUT = 20  # seconds to find the scheduler, and to find a worker


class Cluster(Executor):
    """Submits to a Dask cluster; opened by `connect`."""

    def __init__(self, client: Any, name: str) -> None:
        self._client, self._executor = client, client.get_executor()
        self._name = name
        self._sent: list[tuple[Arrays, Any]] = []

    @property
    def n_workers(self) -> int:
        """Number of threads of all workers now, at least 1."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def submit(self, compute: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Submit compute(units, data); data is sent once, however often it is submitted.

        The future raises ConnectionError where the worker is of another kind: workers may join at any time.
        """
        units, data = args
        future: Future[Any] = self._executor.submit(
            _compute, identity(), self._name, compute, units, self._remote(data), **kwargs
        )
        return future

    def _remote(self, data: Arrays) -> Any:
        for known, remote in self._sent:
            if known is data:
                return remote
        # a task rather than a scatter: the scheduler makes its result again when every worker that held it has died
        remote = self._client.submit(dict, data)
        self._client.replicate([remote])  # a worker that has it already would be given runs while others idle
        self._sent.append((data, remote))
        return remote


@contextmanager
def connect(address: str) -> Iterator[Cluster]:
    """Connect to a Dask scheduler (`tcp://host:port`) for the duration of a block.

    Raises:
        ConnectionError: where `distributed` is not installed, no scheduler or no worker answers, a worker's packages,
            processor or svvr are others than this process's, or, from the block, where scheduler or workers die.
    """
    name = f"SVVR_SCHEDULER: got {address!r}"
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError:
        raise ConnectionError(f"{name}, expected the package distributed beside it: pip install svvr[dask]") from None
    logging.getLogger("distributed").setLevel(logging.CRITICAL + 1)  # it logs a lost scheduler as a traceback
    if not ADDRESS.fullmatch(address):
        raise ConnectionError(f"{name}, expected tcp://host:port")
    try:
        client = Client(address, timeout=f"{TIMEOUT}s", set_as_default=False)  # type: ignore[no-untyped-call]
    except Exception:
        raise ConnectionError(f"{name}, expected a scheduler that answers") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=TIMEOUT)
        except TimeoutError:
            raise ConnectionError(f"{name}, expected a scheduler with workers within {TIMEOUT} s") from None
        _refuse_others(name, client)
        try:
            yield Cluster(client, name)
        except CancelledError:
            raise ConnectionError(f"{name}, whose scheduler is gone; finished runs are kept, run it again") from None
        except KilledWorker:
            kept = "finished runs are kept, run it again"
            raise ConnectionError(f"{name}, whose workers died again and again at the same runs; {kept}") from None


def _compute(own: dict[str, str], name: str, compute: Callable[..., Any], units: Any, data: Any) -> Any:
    _refuse_other(name, "that joined", identity(), own)
    return compute(units, data)


@functools.cache
def identity() -> dict[str, str]:
    """Return what a result depends on beside its unit and data: packages, processor and this package's sources."""
    return {**platform(), "svvr": code.of_package()}


def _refuse_others(name: str, client: Any) -> None:
    try:
        client.run_on_scheduler(import_module, "svvr.learn.work")  # it unpickles the units
        found = client.run(identity)
    except ModuleNotFoundError as error:
        expected = "expected svvr with its scheduler and on each of its workers"
        raise ConnectionError(f"{name}, which cannot import {error.name}; {expected}") from None
    for worker, theirs in found.items():
        _refuse_other(name, worker, theirs, identity())


def _refuse_other(name: str, worker: str, theirs: dict[str, str], own: dict[str, str]) -> None:
    for key, value in own.items():
        if theirs[key] != value:
            raise ConnectionError(f"{name}, whose worker {worker} has {key} {theirs[key]}, expected {value} as here")
