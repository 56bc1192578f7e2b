"""Runs units of work on a concurrent.futures executor; finished units are looked up in a result cache.

A unit is a frozen dataclass that determines its result together with the data. Units that can share a stack are
computed in chunks; neither chunks nor workers nor order change a result.
"""

import functools
import hashlib
import importlib
import json
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

import numpy as np

from svvr.core.files import Arrays, RecordError, array_hash
from svvr.run import cache, code
from svvr.run.cores import n_workers
from svvr.run.lifetime import when_orphaned
from svvr.run.platform import platform
from svvr.run.progress import Progress

if TYPE_CHECKING:
    from svvr.run.cluster import Cluster

CHUNK = 12  # stacked models: enough to fill a core's vector units, few enough to stay in its cache


class Result(Protocol):
    """What a unit of work gives: it can be kept as arrays."""

    def arrays(self) -> Arrays:
        """Return the result as arrays."""

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return the result that the arrays were taken from."""


U = TypeVar("U")
R = TypeVar("R", bound=Result)


@dataclass(frozen=True)
class Work(Generic[U, R]):
    """A kind of work.

    Attributes:
        compute: from units that can share a stack, and the data, to one result for each unit.
        result: the type of a result.
        code: from a unit to the names of the modules that compute it; what they import counts too.
        stackable: from a unit to what units of one stack have in common.
        chunk: from a unit to the number of those like it that are computed in one stack at most.
        accelerated: whether a unit is computed on an accelerator, for which a second process would only have to wait.
    """

    compute: Callable[[Sequence[U], Arrays], list[R]]
    result: type[R]
    code: Callable[[U], tuple[str, ...]]
    stackable: Callable[[U], Hashable]
    chunk: Callable[[U], int] = lambda unit: CHUNK
    accelerated: Callable[[U], bool] = lambda unit: False


class Processes(ProcessPoolExecutor):
    """Worker processes of this machine, each a core's, and one more for an accelerator, begun when it is asked for."""

    def __init__(self, n: int, kind: str = "workers") -> None:
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        super().__init__(n, multiprocessing.get_context(method), initializer=_serve, initargs=(os.getpid(),))
        self.n_workers, self.kind = n, kind

    @functools.cached_property
    def accelerator(self) -> "Processes":
        """The one process for an accelerator."""
        return Processes(1, "accelerator")

    def fitting(self, units: Sequence[U], work: Work[U, R]) -> "Processes":
        """Return these processes, or the one for an accelerator where units are computed on it."""
        return self.accelerator if any(map(work.accelerated, units)) else self

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes."""
        super().shutdown(wait, cancel_futures=cancel_futures)
        if "accelerator" in vars(self):
            self.accelerator.shutdown(wait, cancel_futures=cancel_futures)


class Session:
    """Computes units for a stage: looks them up, spreads the rest over the workers, counts them.

    Attributes:
        note: shown beside the count.
    """

    def __init__(self, executor: Executor, count: Progress) -> None:
        self._executor, self._count, self.note = executor, count, ""

    def __call__(self, units: Sequence[U], work: Work[U, R], data: Arrays) -> list[R]:
        """Return the results in the order of the units; see `evaluate`."""
        if isinstance(self._executor, Processes):
            processes = self._executor.fitting(units, work)
            self._count.on(processes.n_workers, processes.kind)
        return evaluate(units, work, data, self._executor, cache.folder(), self.skip, self._look_up)

    def _look_up(self, n: int) -> None:
        self._count(n, self.note, cached=True)

    def skip(self, n: int) -> None:
        """Count n units that there is nothing to compute for."""
        self._count(n, self.note)


@contextmanager
def session(name: str, total: int) -> Iterator[Session]:
    """Open the workers for a stage that computes so many units in all.

    Raises:
        ConnectionError: where the cluster cannot be used or is lost; see `svvr.run.cluster.connect`.
    """
    with workers() as executor:
        kind = executor.kind if isinstance(executor, Processes) else "Dask workers"
        count = Progress(name, total, executor.n_workers, kind)
        yield Session(executor, count)
        count.close()


def compute(name: str, units: Sequence[U], work: Work[U, R], data: Arrays) -> list[R]:
    """Compute all units of a stage, with progress; the results come in their order."""
    with session(name, len(units)) as each:
        return each(units, work, data)


@contextmanager
def workers() -> "Iterator[Processes | Cluster]":
    """Open the executor: a process for each core that may be used (see `cores.n_workers`), or a Dask cluster.

    Processes rather than threads: a step is some hundred small operations, and threads would wait for each other's
    interpreter between them.

    The scheduler's address is taken from the environment variable SVVR_SCHEDULER (`tcp://host:port`).

    Raises:
        ConnectionError: where the cluster cannot be used or is lost (see `svvr.run.cluster.connect`), or there is no
            shared memory for worker processes.
    """
    address = os.environ.get("SVVR_SCHEDULER")
    if not address:
        try:
            pool = Processes(n_workers())
        except (OSError, ImportError) as error:
            raise ConnectionError(f"workers: got no shared memory ({error}), expected a usable /dev/shm") from None
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)  # waits as the interpreter's end would, which may meet closed pipes
        return
    from svvr.run.cluster import connect

    with connect(address) as cluster:
        yield cluster


def _serve(parent: int) -> None:
    """Make this process a worker that leaves interruption to its parent and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    when_orphaned(parent, lambda: os._exit(1))


def evaluate(
    units: Sequence[U],
    work: Work[U, R],
    data: Arrays,
    executor: Executor,
    folder: Path | None = None,
    finished: Callable[[int], None] = lambda n: None,
    looked_up: Callable[[int], None] | None = None,
) -> list[R]:
    """Compute units, or look them up.

    Args:
        units: any number, in any mixture.
        work: what to do with them.
        data: the arrays that each unit reads.
        executor: where chunks are computed.
        folder: of finished results, where they are kept; None to do without.
        finished: called with the number of units that have just been computed.
        looked_up: called with the number of those that were found in the folder; `finished` if None.

    Returns:
        The results in the order of the units.
    """
    for module in {name for unit in units for name in work.code(unit)}:
        importlib.import_module(module)  # before workers start, so that they and the keys have the same code
    keys = unit_keys(units, work, data) if folder else []
    results: dict[int, R] = {}
    for index, key in enumerate(keys):
        hit = cache.look_up(folder, key) if folder else None
        if hit is not None:
            results[index] = work.result.from_arrays(hit)
    if results:
        (looked_up or finished)(len(results))
    missing = [index for index in range(len(units)) if index not in results]
    if isinstance(executor, Processes):
        executor = executor.fitting(units, work)
    n = (getattr(executor, "n_workers", None) or n_workers()) if missing else 1
    futures: dict[Future[list[R]], list[int]] = {}
    for indices in chunks(units, missing, work, n):
        futures[executor.submit(work.compute, [units[i] for i in indices], data)] = indices
    for future in as_completed(futures):
        for index, result in zip(futures[future], future.result(), strict=True):
            results[index] = result
            try:
                if folder:
                    cache.store(folder, keys[index], result.arrays())
            except RecordError as error:
                warnings.warn(f"result cache: goes on without it ({error})", stacklevel=2)
                folder = None
        finished(len(futures[future]))
    return [results[index] for index in range(len(units))]


def chunks(units: Sequence[U], missing: Sequence[int], work: Work[U, R], n: int) -> list[list[int]]:
    """Return the missing units' indices as chunks for n workers, as large as the work wants and as even as can be."""
    groups: dict[Hashable, list[int]] = {}
    for index in missing:
        groups.setdefault(work.stackable(units[index]), []).append(index)
    found = []
    for group in groups.values():
        rounds = -(-len(group) // (work.chunk(units[group[0]]) * n))
        size = -(-len(group) // (rounds * n))  # as many chunks for every worker
        found += [group[start : start + size] for start in range(0, len(group), size)]
    return found


def unit_keys(units: Sequence[U], work: Work[U, R], data: Arrays) -> list[str]:
    """Return the hashes under which units' results are kept: of their specs, the code and data used, the platform."""
    common = {
        "work": f"{work.compute.__module__}.{work.compute.__qualname__}",
        "data": {name: array_hash(array) for name, array in data.items()},
        "platform": platform(),
    }
    parts = ({**common, "unit": _plain(unit), "code": code.of_unit(work.code(unit))} for unit in units)
    return [hashlib.sha256(json.dumps(each, sort_keys=True).encode()).hexdigest() for each in parts]


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return array_hash(value) if isinstance(value, np.ndarray) else value
