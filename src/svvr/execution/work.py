"""Runs units of work on worker processes or a Dask cluster; finished units are looked up in a folder of NPZ files.

A unit is a frozen dataclass that determines its result together with the data. Units that can share a stack are
computed in chunks; neither chunks nor workers nor order change a result.
"""

import hashlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from tqdm import tqdm

from svvr.execution import provenance
from svvr.execution.workers import executor, n_workers
from svvr.records import Arrays, RecordError, array_hash, npz_arrays, write_npz
from svvr.training import loop, penalty
from svvr.training.run import Result, Run, Score

CHUNK, CHUNK_ON_GPU = 12, 1024  # stacked models: they fill a core's vector units and stay in its cache
CHUNK_BYTES = 2**30  # that a stack may take: its parameters, and activations of 2000 examples


class Kept(Protocol):
    """A result that can be kept as arrays."""

    def arrays(self) -> Arrays: ...
    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self: ...


U = TypeVar("U")
R = TypeVar("R", bound=Kept)


@dataclass(frozen=True)
class Work(Generic[U, R]):
    """A kind of work."""

    compute: Callable[[Sequence[U], Arrays], list[R]]  # from units of a stack, and the data, to a result for each
    result: type[R]
    modules: Callable[[U], tuple[str, ...]] | None = None  # that compute a unit, and what they import; or compute's
    stackable: Callable[[U], Hashable] = lambda unit: 0  # what units of one stack have in common
    chunk: Callable[[U], int] = lambda unit: 1  # how many like a unit share a stack at most


def _modules(run: Run) -> tuple[str, ...]:
    for name in run.penalties():
        penalty.load(name)  # a file that cannot be loaded is one message
    return "svvr.training.loop", *(f"svvr.penalties.{name}" for name in run.penalties())


def _chunk(run: Run) -> int:
    if run.device != "cpu":
        return CHUNK_ON_GPU
    parameters = sum(n_in * n_out for n_in, n_out in pairwise((64, *run.hidden, 16)))
    return max(1, min(CHUNK, CHUNK_BYTES // (4 * (10 * parameters + 6000 * sum(run.hidden)))))


TRAIN = Work(loop.train, Result, _modules, Run.stackable, _chunk)
SCORE = Work(loop.score, Score, _modules, Run.stackable, _chunk)  # the losses alone


class Session:
    """Computes units for a stage: looks them up, spreads the rest over the workers, counts them on a progress bar."""

    def __init__(self, name: str, total: int, executor: Executor, n_workers: int, folder: Path | None) -> None:
        quiet = {} if sys.stderr.isatty() else {"mininterval": 10, "maxinterval": 30, "ascii": True, "ncols": 100}
        self.bar = tqdm(total=total, desc=name, unit="run", smoothing=0, **quiet)
        self._executor, self._n_workers, self._folder = executor, n_workers, folder
        plan: dict[str, float] = json.loads(os.environ.get("SVVR_PLAN", "{}"))  # seconds of stages, from tools.repro
        self._own = plan.get(name, 0.0)
        self._after = sum([*plan.values()][[*plan].index(name) + 1 :]) if self._own else 0.0
        self._looked_up = 0

    def __call__(self, units: Sequence[U], work: Work[U, R], data: Arrays) -> list[R]:
        """Return the results in the order of the units."""
        for module in {name for unit in units for name in _code(unit, work)}:
            importlib.import_module(module)  # before workers start, so that they and the keys have the same code
        keys = unit_keys(units, work, data) if self._folder else []
        found = {index: result for index, key in enumerate(keys) if (result := self._look_up(key, work)) is not None}
        self._looked_up += len(found)
        self._count(len(found))
        missing = [index for index in range(len(units)) if index not in found]
        futures: dict[Future[list[R]], list[int]] = {}
        for indices in chunks(units, missing, work, self._n_workers):
            futures[self._executor.submit(work.compute, [units[index] for index in indices], data)] = indices
        for future in as_completed(futures):
            for index, result in zip(futures[future], future.result(), strict=True):
                found[index] = result
                self._store(keys[index] if keys else "", result)
            self._count(len(futures[future]))
        return [found[index] for index in range(len(units))]

    def _count(self, n: int) -> None:
        """Count finished units; where there is a plan, say the time left over all stages, at this stage's pace."""
        done, total = self.bar.n + n - self._looked_up, self.bar.total - self._looked_up
        if self._own and self.bar.total:
            whole, share = self._own * total / self.bar.total, done / max(1, total)
            pace = self.bar.format_dict["elapsed"] / share / whole if share > 0.25 else 1.0
            left = pace * (whole * (1 - share) + self._after)
            self.bar.set_postfix_str(f"all stages: {left / 60:.0f} min left", refresh=False)
        self.bar.update(n)

    def _look_up(self, key: str, work: Work[U, R]) -> R | None:
        """Return the result kept under a key, None where there is none or it is damaged."""
        try:
            return work.result.from_arrays(npz_arrays(_entry(self._folder or Path(), key).read_bytes()))
        except Exception:  # numpy, zipfile and their codecs raise a dozen kinds on damaged files
            return None

    def _store(self, key: str, result: R) -> None:
        try:
            if self._folder:
                write_npz(_entry(self._folder, key), result.arrays())
        except RecordError as error:
            warnings.warn(f"finished runs are not kept from here on ({error})", stacklevel=2)
            self._folder = None


def _entry(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.npz"


@contextmanager
def session(name: str, total: int, device: str = "cpu", keep: bool = True) -> Iterator[Session]:
    """Open the workers for a stage that computes `total` units; `keep=False` neither looks up nor keeps finished ones.

    Workers are a process for each core, one for a GPU, or the Dask cluster at SVVR_SCHEDULER (`tcp://host:port`).
    """
    off = not keep or os.environ.get("SVVR_CACHE", "").lower() == "off"
    folder = None if off else Path(os.environ.get("DVC_ROOT", "."), ".cache/svvr")  # temporary copies share the root's
    with executor(n_workers() if device == "cpu" else 1) as (pool, n):
        each = Session(name, total, pool, n, folder)
        with closing(each.bar):  # an error's message begins a line of its own
            yield each


def compute(name: str, units: Sequence[U], work: Work[U, R], data: Arrays, keep: bool = True) -> list[R]:
    """Compute all units of a stage, with progress; the results come in their order."""
    devices = {getattr(unit, "device", "cpu") for unit in units}
    with session(name, len(units), "cpu" if devices <= {"cpu"} else "cuda", keep) as each:
        return each(units, work, data)


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
    """Return the hashes under which results are kept: of a unit's settings, the code and data used, the platform."""
    common = {
        "work": f"{work.compute.__module__}.{work.compute.__qualname__}",
        "data": {name: array_hash(array) for name, array in data.items()},
        "platform": provenance.platform(),
    }
    parts = ({**common, "unit": unit, "code": provenance.code(_code(unit, work))} for unit in units)
    texts = (json.dumps(each, sort_keys=True, default=_plain) for each in parts)
    return [hashlib.sha256(text.encode()).hexdigest() for text in texts]


def _code(unit: U, work: Work[U, R]) -> tuple[str, ...]:
    return work.modules(unit) if work.modules else (work.compute.__module__,)


def _plain(value: Any) -> Any:
    return array_hash(value) if isinstance(value, np.ndarray) else vars(value)  # of a dataclass
