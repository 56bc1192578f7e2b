"""Units that sleep for as long as they would compute, and many Dask workers in a few processes, to simulate width.

A sleeping unit gives a result of the real size, so everything but the computation is real. How long it takes is a
straight line in the number of stacked runs, as timed by `make bench` on two cores with AVX512.
"""

import asyncio
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from svvr.core.files import Arrays
from svvr.learn import work
from svvr.learn.result import CURVES, Result, Score
from svvr.learn.spec import Run
from svvr.measure.unit import Measured, Measurement
from svvr.measure.work import WORK as MEASURE
from svvr.run.evaluate import Work

# Seconds of one worker, while its neighbours work too.
PLAIN = 0.05, 0.15  # a stack of runs without a penalty, and each run of it
PENALISED = 0.6, 0.46  # the same with the penalty
TESTED = 0.018  # the evaluation of a run on 20000 test examples
MEASUREMENT, PROBE = 0.25, 0.012  # of a run's loss landscape, and for each random vector
PROCESSES = 2  # that hold the workers
PARAMETERS = 40 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10


def seconds(units: Sequence[Run] | Sequence[Measurement], tested: bool) -> float:
    """Return how long a chunk takes; `tested`: whether runs are evaluated on the test split."""
    measured = [MEASUREMENT + PROBE * unit.probes for unit in units if isinstance(unit, Measurement)]
    runs = [unit for unit in units if isinstance(unit, Run)]
    if not runs:
        return sum(measured)
    stack, each = PENALISED if runs[0].strength else PLAIN
    before = seconds([run.start for run in runs if run.start], False) if runs[0].start else 0.0
    return before + stack + (each + TESTED * tested) * len(runs)


def _sleep(units: Sequence[Run] | Sequence[Measurement], data: Arrays) -> None:
    time.sleep(float(data["pace"]) * seconds(units, "x_test" in data))


def train(runs: Sequence[Run], data: Arrays) -> list[Result]:
    """Sleep; give results whose validation loss has its minimum inside the ranges."""
    _sleep(runs, data)
    n_test = len(data["x_test"]) if "x_test" in data else 0
    curve = {name: np.ones(20) for name in CURVES}
    weights, losses, hits = np.ones(PARAMETERS, np.float32), np.ones(n_test, np.float32), np.ones(n_test, np.bool_)
    return [
        Result(curve | {"validation_loss": np.full(20, _loss(run))}, "0" * 64, weights, 20, True, losses, hits)
        for run in runs
    ]


def _loss(run: Run) -> float:
    return float(1 + np.log(run.lr / 0.005) ** 2 + np.log((run.strength or 0.1) / 0.1) ** 2)


def score(runs: Sequence[Run], data: Arrays) -> list[Score]:
    """Sleep; give losses."""
    _sleep(runs, data)
    return [Score(_loss(run), _loss(run)) for run in runs]


def measure(units: Sequence[Measurement], data: Arrays) -> list[Measured]:
    """Sleep; give figures."""
    _sleep(units, data)
    return [Measured({"conditioning": 1.0, "smoothness": 1.0}) for _ in units]


TRAIN: Work[Run, Result] = replace(work.WORK, compute=train)
SCORE: Work[Run, Score] = replace(work.SCORE, compute=score)
MEASURED: Work[Measurement, Measured] = replace(MEASURE, compute=measure)


@contextmanager
def cluster(n: int) -> Iterator[tuple[str, int]]:
    """Run a scheduler and n workers of one thread on this machine; give its address and the scheduler's process."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "scheduler.json")
        quiet = "--port", "0", "--host", "127.0.0.1", "--no-dashboard", "--scheduler-file", str(file)
        scheduler = [sys.executable, "-m", "distributed.cli.dask_scheduler", *quiet]  # -m: it finds this module
        processes = [subprocess.Popen(scheduler, stderr=subprocess.DEVNULL)]
        try:
            while not file.exists():
                time.sleep(0.1)
            address = json.loads(file.read_text())["address"]
            for count in [len(part) for part in np.array_split(range(n), min(n, PROCESSES))]:
                command = [sys.executable, "-m", "benchmarks.sleepers", address, str(count), folder]
                processes.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
            from distributed import Client

            with Client(address, set_as_default=False) as client:
                client.wait_for_workers(n, timeout=120)
                client.run_on_scheduler(importlib.import_module, __name__)  # it unpickles units; loads torch once
            yield address, processes[0].pid
        finally:
            for process in reversed(processes):
                process.terminate()
            for process in processes:
                process.wait()


async def serve(address: str, n: int, folder: str) -> None:
    """Run n workers in this process, without what each of them would measure of itself all the time."""
    import dask
    from distributed import Worker

    often = "distributed.admin.system-monitor.interval", "distributed.admin.tick.interval"
    dask.config.set({"distributed.worker.profile.enabled": False, **dict.fromkeys(often, "60s")})

    def worker() -> Worker:
        return Worker(address, nthreads=1, memory_limit=0, local_directory=folder, dashboard=False, host="127.0.0.1")

    workers = await asyncio.gather(*(worker() for _ in range(n)))
    await asyncio.gather(*(worker.finished() for worker in workers))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
