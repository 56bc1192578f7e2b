"""Print the speed of the engine beside plain PyTorch: medians of repeats, ratios, and their spread.

Both sides alternate in one process, so that a drift of the machine meets both. Run with `make bench`.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from benchmarks import reference
from svvr import data, execution, penalties, training

Pair = tuple[str, Callable[[], object], Callable[[], object], float, float]
THREADS = os.cpu_count() or 1


def seconds(work: Callable[[], object], threads: int) -> float:
    torch.set_num_threads(threads)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str, theirs: Callable[[], object], ours: Callable[[], object], n_theirs: int, n_ours: int, repeats: int
) -> None:
    """Print a row: time a unit of both sides, the median ratio and its range."""
    seconds(theirs, THREADS), seconds(ours, 1)
    pairs = [(seconds(theirs, THREADS) / n_theirs, seconds(ours, 1) / n_ours) for _ in range(repeats)]
    a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ratios = sorted(one / other for one, other in pairs)
    ratio = statistics.median(ratios)
    print(f"{name:<44} {a:>11.2f} {b:>11.2f} {ratio:>7.1f}  {ratios[0]:.1f} to {ratios[-1]:.1f}", flush=True)


def penalty_rows() -> None:
    gradient = penalties.gradient("sv_variance")
    for K, m, n in ((64, 40, 128), (64, 128, 128), (64, 10, 128), (16, 512, 512), (1, 1024, 1024)):
        W = (torch.rand(K, m, n, generator=torch.Generator().manual_seed(0)) * 2 - 1) / n**0.5
        parts = W.split(max(1, K // THREADS))

        def ours(parts: tuple[torch.Tensor, ...] = parts) -> None:
            for part in parts:
                gradient(part)

        compare(f"penalty gradient {m} x {n}, one core", lambda W=W: reference.penalty_gradient(W), ours, K, K, 5)


def training_rows(splits: dict[str, np.ndarray], executor: execution.Executor) -> None:
    work = execution.Work(training.train, training.modules, training.stackable)
    for name, strength in (("baseline", 0.0), ("regularized", 0.3)):
        penalty = "sv_variance" if strength else "none"
        runs = [training.Run(seed, 0.004, penalty=penalty, strength=strength) for seed in range(48)]
        compare(
            f"{name} run of 20 epochs, 48 asked for",
            lambda strength=strength: reference.train(splits, 0.004, strength),
            lambda runs=runs: execution.evaluate(runs, work, splits, executor),
            1,
            48,
            3,
        )


def scaling_rows(splits: dict[str, np.ndarray], executor: execution.Executor) -> None:
    work = execution.Work(training.train, training.modules, training.stackable)
    for n in (1, 4, 16, 64, 256):
        runs = [training.Run(seed, 0.004) for seed in range(n)]
        each = seconds(lambda runs=runs: execution.evaluate(runs, work, splits, executor), 1) / n
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
        print(
            f"{f'baseline run, {n} asked for':<44} {'':>11} {each * 1e3:>11.2f} {'':>7}  {peak:.0f} MiB at most so far"
        )


def start_up_rows() -> None:
    def of(*command: str) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", *command], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    torch_alone = of("import torch")
    for stage in sorted(Path("stages").glob("*.py")):
        own = of(f"import runpy; runpy.run_path({str(stage)!r}, run_name='started')")
        print(f"{f'start of {stage.stem}, against import torch':<44} {torch_alone * 1e3:>11.0f} {own * 1e3:>11.0f}")


def main() -> None:
    splits, _ = data.splits(42, 10, 1042)
    print(f"{THREADS} cores, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'milliseconds a unit (medians)':<44} {'reference':>11} {'ours':>11} {'ratio':>7}  spread")
    with execution.workers() as executor:
        training_rows(splits, executor)
        scaling_rows(splits, executor)
    penalty_rows()
    start_up_rows()


if __name__ == "__main__":
    main()
