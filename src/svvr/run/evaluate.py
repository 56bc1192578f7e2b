"""Runs units of work on a concurrent.futures executor; finished units are looked up in a result cache.

A unit is a frozen dataclass that determines its result together with the data. Units that can share a stack are
computed in chunks; neither chunks nor workers nor order change a result.
"""

import functools
import hashlib
import importlib
import importlib.util
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
from typing import Any

import numpy as np

from svvr.core.files import Arrays, RecordError, array_hash
from svvr.run.cache import look_up, store
from svvr.run.lifetime import when_orphaned
from svvr.run.platform import platform

CHUNK = 12  # stacked models: enough to fill a core's vector units, few enough to stay in its cache


@dataclass(frozen=True)
class Work:
    """A kind of work.

    Attributes:
        compute: from units that can share a stack, and the data, to one result for each unit.
        modules: from a unit to the names of the modules whose code determines its result.
        stackable: from a unit to what units of one stack have in common.
        chunk: units computed in one stack at most.
    """

    compute: Callable[[Sequence[Any], Arrays], list[Arrays]]
    modules: Callable[[Any], list[str]]
    stackable: Callable[[Any], Hashable]
    chunk: int = CHUNK


@contextmanager
def workers() -> Iterator[Executor]:
    """Open the executor: a process for each processor, or a Dask cluster.

    Processes rather than threads: a step is some hundred small operations, and threads would wait for each other's
    interpreter between them.

    The scheduler's address is taken from the environment variable SVVR_SCHEDULER (`tcp://host:port`).

    Raises:
        ConnectionError: where the cluster cannot be used or is lost; see `svvr.cluster.connect`.
    """
    address = os.environ.get("SVVR_SCHEDULER")
    if not address:
        method = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        pool = ProcessPoolExecutor(os.cpu_count(), context, initializer=_serve, initargs=(os.getpid(),))
        try:
            yield pool
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
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
    units: Sequence[Any],
    work: Work,
    data: Arrays,
    executor: Executor,
    folder: Path | None = None,
    finished: Callable[[int], None] = lambda n: None,
) -> list[Arrays]:
    """Compute units, or look them up.

    Args:
        units: any number, in any mixture.
        work: what to do with them.
        data: the arrays that each unit reads.
        executor: where chunks are computed.
        folder: of finished results, where they are kept; None to do without.
        finished: called with the number of units that have just become available.

    Returns:
        The results in the order of the units.
    """
    modules = [work.modules(unit) for unit in units]
    for module in {name for names in modules for name in names}:
        importlib.import_module(module)  # before workers start, so that they and the keys have the same code
    keys = [unit_key(unit, names, data) for unit, names in zip(units, modules, strict=True)] if folder else []
    results: dict[int, Arrays] = {}
    if folder:
        for index, key in enumerate(keys):
            hit = look_up(folder, key)
            if hit is not None:
                results[index] = hit
    if results:
        finished(len(results))
    missing = [index for index in range(len(units)) if index not in results]
    futures: dict[Future[list[Arrays]], list[int]] = {}
    n_workers = getattr(executor, "n_workers", os.cpu_count() or 1) if missing else 1
    for indices in _chunks(units, missing, work, n_workers):
        futures[executor.submit(work.compute, [units[i] for i in indices], data)] = indices
    for future in as_completed(futures):
        for index, result in zip(futures[future], future.result(), strict=True):
            results[index] = result
            try:
                if folder:
                    store(folder, keys[index], result)
            except RecordError as error:
                warnings.warn(f"result cache: goes on without it ({error})", stacklevel=2)
                folder = None
        finished(len(futures[future]))
    return [results[index] for index in range(len(units))]


def _chunks(units: Sequence[Any], missing: Sequence[int], work: Work, n_workers: int) -> list[list[int]]:
    groups: dict[Hashable, list[int]] = {}
    for index in missing:
        groups.setdefault(work.stackable(units[index]), []).append(index)
    chunks = []
    for group in groups.values():
        rounds = -(-len(group) // (work.chunk * n_workers))
        size = -(-len(group) // (rounds * n_workers))  # as many chunks for every worker, as even as can be
        chunks += [group[start : start + size] for start in range(0, len(group), size)]
    return chunks


def unit_key(unit: Any, modules: Sequence[str], data: Arrays) -> str:
    """Return the hash under which a unit's result is kept: its spec, the code and data that it uses, the platform."""
    parts = {
        "unit": _plain(unit),
        "code": {name: _source_hash(name) for name in modules},
        "data": {name: array_hash(array) for name, array in data.items()},
        "platform": platform(),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return array_hash(value) if isinstance(value, np.ndarray) else value


@functools.cache  # what this process runs, whatever happens to the file meanwhile
def _source_hash(module: str) -> str:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise ValueError(f"module of a unit: got {module!r}, expected one that can be imported")
    return hashlib.sha256(Path(spec.origin).read_bytes()).hexdigest()
