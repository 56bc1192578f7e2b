"""Print the speed of the engine beside plain PyTorch: medians of repeats, ratios, and their spread.

Both sides alternate in one process, so that a drift of the machine meets both. Run with `make bench`;
`python -m benchmarks --quick` prints the same rows on sizes that say nothing, to see that they work.
"""

import importlib
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from benchmarks import accelerator, parts, peer_func, reference
from svvr.core.files import Arrays
from svvr.data import make
from svvr.learn.model import initial_weights
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.learn.work import WORK
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE
from svvr.penalties import sv_variance
from svvr.run.evaluate import CHUNK, Processes, evaluate, workers

THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class Size:
    """How much is timed: epochs a run, runs asked for, runs of the scaling rows, penalty stacks, repeats, GPU rows.

    A peer takes as long for each regularized run however many are asked for, so it is timed on a `few`. Runs learn the
    first `examples`; torch.compile is timed too where `compiled`, and the parts of the default run at the end where
    `parts`.
    """

    epochs: int = 20
    runs: int = 48
    scaling: tuple[int, ...] = (1, 4, 16, 64, 256)
    stacks: tuple[tuple[int, int, int], ...] = (
        (64, 40, 128), (64, 128, 128), (64, 10, 128), (64, 512, 512), (1, 1024, 1024),
    )  # fmt: skip
    repeats: int = 5
    stages: str = "*"
    on_gpu: tuple[int, ...] = (48, 1024)
    few: int = 4
    examples: int = make.N_TRAIN
    compiled: bool = True
    parts: bool = True


QUICK = Size(epochs=1, runs=2, scaling=(1, 2), stacks=((2, 10, 12), (1, 20, 20)), repeats=1, stages="compare",
             on_gpu=(2, 3), few=2, examples=200, compiled=False, parts=False)  # fmt: skip


def seconds(work: Callable[[], object], threads: int) -> float:
    torch.set_num_threads(threads)
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    name: str, theirs: Callable[[], object], ours: Callable[[], object], n_theirs: int, n_ours: int, repeats: int
) -> None:
    """Time a unit of both sides in turn, and print the row."""
    seconds(theirs, THREADS), seconds(ours, 1)
    print_row(name, [(seconds(theirs, THREADS) / n_theirs, seconds(ours, 1) / n_ours) for _ in range(repeats)])


def print_row(name: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Print the medians of both sides (seconds), and the median of the ratios with their range."""
    a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ratios = sorted(one / other for one, other in pairs)
    ratio = statistics.median(ratios)
    print(f"{name:<46} {a:>11.2f} {b:>11.2f} {ratio:>7.1f}  {ratios[0]:.1f} to {ratios[-1]:.1f}", flush=True)


def penalty_rows(executor: Executor, size: Size) -> None:
    for K, m, n in size.stacks:
        few = uniform(max(1, K // 8), m, n, 0)  # autograd through svdvals is slow enough to be timed on fewer
        shares = min(K, THREADS)

        def ours(K: int = K, m: int = m, n: int = n, shares: int = shares) -> float:
            futures = [executor.submit(penalty_seconds, K // shares, m, n, seed) for seed in range(shares)]
            return max(future.result() for future in futures)

        pairs = []
        for _ in range(size.repeats):
            theirs = seconds(partial(reference.penalty_gradient, few), THREADS) / len(few)
            pairs.append((theirs, ours() / K))
        print_row(f"penalty and gradient, {K} of {m} x {n}", pairs)


def uniform(K: int, m: int, n: int, seed: int) -> torch.Tensor:
    """Draw weights (K, m, n) as torch.nn.Linear does."""
    return (torch.rand(K, m, n, generator=torch.Generator().manual_seed(seed)) * 2 - 1) / n**0.5


def penalty_seconds(K: int, m: int, n: int, seed: int) -> float:
    """Time value and gradient of a stack as a worker meets it, without sending matrices between processes."""
    parts = uniform(K, m, n, seed).split(CHUNK)

    def work() -> None:
        for part in parts:
            leaf = part.requires_grad_()
            torch.autograd.grad(sv_variance.penalty(leaf).sum(), leaf)

    work()
    return seconds(work, 1)


def hessian_rows(splits: dict[str, np.ndarray], executor: Executor, size: Size) -> None:
    runs = [Run(seed, 0.004, epochs=size.epochs) for seed in range(-(-size.runs // 6))]
    weights = [result.weights for result in train(runs, splits)]
    units = [Measurement(run.seed, each, run.hidden, 1e-3) for run, each in zip(runs, weights, strict=True)]
    compare(
        "top Hessian eigenvalue, relative residual 1e-3",
        lambda: [reference.top_eigenvalue(splits, each) for each in weights],
        lambda: evaluate(units, MEASURE, splits, executor),
        len(units),
        len(units),
        size.repeats,
    )


def training_rows(splits: dict[str, np.ndarray], executor: Executor, size: Size) -> None:
    for name, strength in (("baseline", 0.0), ("regularized", 0.3)):
        penalty = "sv_variance" if strength else "none"
        runs = [Run(seed, 0.004, penalty=penalty, strength=strength, epochs=size.epochs) for seed in range(size.runs)]
        compare(
            f"{name} run of {size.epochs} epochs, {size.runs} asked for",
            partial(reference.train, splits, 0.004, strength, size.epochs),
            partial(evaluate, runs, WORK, splits, executor),
            1,
            size.runs,
            size.repeats,
        )


def scaling_rows(splits: dict[str, np.ndarray], executor: Executor, size: Size) -> None:
    for n in size.scaling:
        runs = [Run(seed, 0.004, epochs=size.epochs) for seed in range(n)]
        each = seconds(partial(evaluate, runs, WORK, splits, executor), 1) / n
        pids = [os.getpid(), *(child.pid for child in multiprocessing.active_children())]
        peak = sum(peak_memory(pid) for pid in pids if pid)
        print(f"{f'baseline run, {n} asked for':<46} {'':>11} {each * 1e3:>11.2f} {'':>7}  {peak:.0f} MiB so far")


def peak_memory(pid: int) -> float:
    """Return a process's largest resident memory so far in MiB (Linux)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def peers(size: Size) -> dict[str, ModuleType]:
    """Return the module of every form of a peer that can be timed here, and print which cannot."""
    found: dict[str, ModuleType] = {}
    try:
        peer_jax = importlib.import_module("benchmarks.peer_jax")  # starts threads, so only once the workers run
        found |= dict.fromkeys(peer_jax.FORMS, peer_jax)
    except ModuleNotFoundError as error:
        print(f"jax: left out, as there is no {error.name}; pip install -r benchmarks/requirements.lock")
    found |= dict.fromkeys(peer_func.FORMS, peer_func)
    if not size.compiled or not shutil.which("g++"):
        del found["torch.compile"]
        print(f"torch.compile: left out, as {'there is no g++' if size.compiled else 'it takes a minute'}")
    return found


def peer_rows(splits: Arrays, executor: Executor, size: Size) -> None:
    """Time ours and all peers in turn, after a first call of each, which compiles."""
    found, repeats = peers(size), min(size.repeats, 3)
    for name, strength, n in (("baseline", 0.0, size.runs), ("regularized", 0.3, size.few)):
        penalty = "sv_variance" if strength else "none"
        runs = [Run(seed, 0.004, penalty=penalty, strength=strength, epochs=size.epochs) for seed in range(size.runs)]

        def each(form: str, n: int = n, strength: float = strength) -> float:
            return seconds(lambda: found[form].train(form, splits, *draw(n, size), 0.004, strength), THREADS)

        pairs: dict[str, list[tuple[float, float]]] = {}
        for form in found:
            if strength not in found[form].FORMS[form]:
                print(f"{name}, {form}: left out, see {found[form].__name__}")
                continue
            try:
                print(f"{f'{name}, first call of {form}':<46} {each(form) * 1e3:>11.0f}", flush=True)
                pairs[form] = []
            except (RuntimeError, OSError) as error:  # of a compiler
                print(f"{form}: left out, as its first call fails: {str(error).strip().splitlines()[0]}")
        for _ in range(repeats):
            ours = seconds(partial(evaluate, runs, WORK, splits, executor), 1) / len(runs)
            for form in pairs:
                pairs[form].append((each(form) / n, ours))
        for form in pairs:
            print_row(f"{name} run, {len(runs)} against {n} by {form}", pairs[form])


def draw(n: int, size: Size) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw the initial parameters (n, P) of runs, and their orders of the training examples (n, epochs, N)."""
    initial = torch.stack([initial_weights((40, 128, 128, 10), seed) for seed in range(n)])
    orders = torch.stack([torch.randperm(size.examples) for _ in range(n * size.epochs)])
    return initial, orders.view(n, size.epochs, size.examples)


def start_up_rows(size: Size) -> None:
    def of(*command: str) -> float:
        times = []
        for _ in range(min(size.repeats, 3)):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3

    torch_alone = of(sys.executable, "-c", "import torch")
    for stage in sorted(Path("stages").glob(f"{size.stages}.py")):
        own = of(sys.executable, "-c", f"import runpy; runpy.run_path({str(stage)!r}, run_name='started')", "baseline")
        print(f"{f'start of {stage.stem}, against import torch':<46} {torch_alone:>11.0f} {own:>11.0f}")
    if subprocess.run(["dvc", "status", "-q"]).returncode:
        print("dvc repro with nothing to do: left out, since there is something to do")
    else:
        print(f"{'dvc repro with nothing to do':<46} {'':>11} {of('dvc', 'repro'):>11.0f}")


def main(size: Size) -> None:
    splits = {name: array[: size.examples] for name, array in make.splits(42, 10, 1042)[0].items()}
    print(f"{THREADS} cores, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
    print(f"{'milliseconds a unit (medians)':<46} {'reference':>11} {'ours':>11} {'ratio':>7}  spread")
    with workers() as executor:
        list(executor.map(abs, range(THREADS)))  # starts the workers before torch starts threads here
        training_rows(splits, executor, size)
        scaling_rows(splits, executor, size)
        hessian_rows(splits, executor, size)
        penalty_rows(executor, size)
        peer_rows(splits, executor, size)
        if isinstance(executor, Processes):
            accelerator.rows(splits, executor, size.on_gpu, size.epochs, min(size.repeats, 3))
    start_up_rows(size)
    if size.parts:
        parts.main()


if __name__ == "__main__":
    main(QUICK if sys.argv[1:] == ["--quick"] else Size())
