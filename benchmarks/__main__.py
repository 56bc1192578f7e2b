"""Time the hot paths beside plain PyTorch and the best JAX programs: medians, ratio and its spread (`make bench`).

Both sides of a row alternate, so that a drift of the machine meets both. `python -m benchmarks --quick` prints the same
rows for sizes that say nothing, to see that they work.
"""

import importlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import torch
from threadpoolctl import threadpool_info
from torch import Tensor

from benchmarks import reference
from svvr import diagnostics
from svvr.data import mnist1d
from svvr.diagnostics import Measured, Measurement
from svvr.execution import provenance, work, workers
from svvr.records import Arrays
from svvr.training import loop, model, penalty
from svvr.training.run import Run

THREADS = os.cpu_count() or 1
SIZES = (40, 128, 128, 10)
KINDS = {"baseline": 0.0, "regularized": 0.3}  # strength of sv_variance
MEASURE = work.Work(diagnostics.measure, Measured, lambda unit: ())


@dataclass(frozen=True)
class Size:
    """How much is timed: epochs a run, runs asked for, stacks of the penalty (K, m, n), repeats, examples to train on.

    A peer takes as long for each regularized run however many are asked for, so it is timed on a `few`.
    """

    epochs: int = 20
    runs: int = 48
    few: int = 4
    stacks: tuple[tuple[int, int, int], ...] = (
        (64, 40, 128), (64, 128, 128), (64, 10, 128), (64, 512, 512), (THREADS, 1024, 1024),
    )  # fmt: skip
    repeats: int = 5
    stages: str = "*"
    on_gpu: tuple[int, ...] = (48, 1024)
    examples: int = mnist1d.N_TRAIN


QUICK = Size(1, 2, 2, ((2, 10, 12), (1, 20, 20)), 1, "compare", (2, 3), 200)


def seconds(call: Callable[[], object], threads: int = 1) -> float:
    torch.set_num_threads(threads)
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def print_row(name: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Print the medians of both sides (seconds), and the median of the ratios with their range."""
    a, b = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    ratios = sorted(one / other for one, other in pairs)
    ratio = statistics.median(ratios)
    print(f"{name:<46} {a:>11.2f} {b:>11.2f} {ratio:>7.1f}  {ratios[0]:.1f} to {ratios[-1]:.1f}", flush=True)


def runs_of(strength: float, size: Size, n: int) -> list[Run]:
    name = "sv_variance" if strength else "none"
    return [Run(seed, 0.004, penalty=name, strength=strength, epochs=size.epochs) for seed in range(n)]


def training_rows(data: Arrays, session: work.Session, size: Size) -> None:
    for name, strength in KINDS.items():
        theirs = partial(reference.train, data, 0.004, strength, size.epochs)
        ours = partial(session, runs_of(strength, size, size.runs), work.TRAIN, data)
        seconds(theirs, THREADS), seconds(ours)
        pairs = [(seconds(theirs, THREADS), seconds(ours) / size.runs) for _ in range(size.repeats)]
        print_row(f"{name} run of {size.epochs} epochs, {size.runs} asked for", pairs)


def hessian_rows(data: Arrays, session: work.Session, size: Size) -> None:
    runs = runs_of(0.0, size, -(-size.runs // 6))
    weights = [result.weights for result in loop.train(runs, data)]
    units = [Measurement(run.seed, each, run.hidden, 1e-3) for run, each in zip(runs, weights, strict=True)]

    def theirs() -> None:
        for each in weights:
            reference.top_eigenvalue(data, each)

    ours = partial(session, units, MEASURE, data)
    seconds(theirs, THREADS), seconds(ours)
    pairs = [(seconds(theirs, THREADS) / len(units), seconds(ours) / len(units)) for _ in range(size.repeats)]
    print_row("top Hessian eigenvalue, relative residual 1e-3", pairs)


def penalty_rows(executor: Executor, size: Size) -> None:
    """Time autograd through singular values, on fewer since it is slow, against the closed form that a run uses."""
    for K, m, n in size.stacks:
        few, shares = uniform(max(1, K // 8), m, n, 0), min(K, THREADS)
        pairs = []
        for _ in range(size.repeats):
            theirs = seconds(partial(reference.penalty_gradient, few), THREADS) / len(few)
            futures = [executor.submit(penalty_seconds, K // shares, m, n, seed) for seed in range(shares)]
            pairs.append((theirs, max(future.result() for future in futures) / K))
        print_row(f"penalty and gradient, {K} of {m} x {n}", pairs)


def uniform(K: int, m: int, n: int, seed: int) -> Tensor:
    """Draw weights (K, m, n) as torch.nn.Linear does."""
    return (torch.rand(K, m, n, generator=torch.Generator().manual_seed(seed)) * 2 - 1) / n**0.5


def penalty_seconds(K: int, m: int, n: int, seed: int) -> float:
    """Time value and gradient of a stack in a worker, without sending matrices between processes."""
    closed_form = penalty.load("sv_variance").closed_form
    assert closed_form
    parts = uniform(K, m, n, seed).split(work.CHUNK)

    def call() -> None:
        for part in parts:
            closed_form(part).square().sum((1, 2)) * ((min(m, n) - 1) / 4)  # the value

    call()
    return seconds(call)


def peers() -> dict[str, ModuleType]:
    """Return the module of every form of a JAX program, or print why there is none."""
    try:
        peer_jax = importlib.import_module("benchmarks.peer_jax")  # starts threads, so only once the workers run
    except ModuleNotFoundError as error:
        print(f"jax: left out, as there is no {error.name}; pip install -r benchmarks/requirements.lock")
        return {}
    return dict.fromkeys(peer_jax.FORMS, peer_jax)


def peer_rows(data: Arrays, session: work.Session, size: Size) -> None:
    """Time ours and all peers in turn, after a first call of each, which compiles."""
    found = peers()
    for name, strength in KINDS.items():
        n = size.few if strength else size.runs
        initial, orders = draw(n, size)
        ours = partial(session, runs_of(strength, size, size.runs), work.TRAIN, data)
        forms = [form for form, module in found.items() if strength in module.FORMS[form]]
        calls = {form: partial(found[form].train, form, data, initial, orders, 0.004, strength) for form in forms}
        for form, call in calls.items():
            print(f"{f'{name}, first call of {form}':<46} {seconds(call, THREADS) * 1e3:>11.0f}", flush=True)
        for form in sorted(found.keys() - calls):
            print(f"{name}, {form}: left out, see benchmarks.peer_jax")
        pairs: dict[str, list[tuple[float, float]]] = {form: [] for form in forms}
        for _ in range(min(size.repeats, 3) if forms else 0):
            own = seconds(ours) / size.runs
            for form, call in calls.items():
                pairs[form].append((seconds(call, THREADS) / n, own))
        for form in forms:
            print_row(f"{name} run, {size.runs} against {n} by {form}", pairs[form])


def draw(n: int, size: Size) -> tuple[Tensor, Tensor]:
    """Draw the initial parameters (n, P) of runs, and their orders of the training examples (n, epochs, N)."""
    initial = torch.stack([model.initial_weights(SIZES, seed) for seed in range(n)])
    orders = torch.stack([torch.randperm(size.examples) for _ in range(n * size.epochs)])
    return initial, orders.view(n, size.epochs, size.examples)


def gpu_rows(data: Arrays, session: work.Session, size: Size) -> None:
    """Time runs on the processor's cores, as few as are asked for, against all that are asked for on the GPU."""
    with workers.executor(1) as (pool, n_workers):
        name = pool.submit(gpu_name).result()  # a process that has looked for a GPU must not start others
        if not name:
            print("runs on a GPU: left out, as torch finds none")
            return
        print(f"{f'milliseconds a run on {name}':<46} {'cores':>11} {'GPU':>11} {'ratio':>7}  spread")
        on_gpu = work.Session("gpu", 0, pool, n_workers, None)
        on_gpu.bar.close()
        for kind, strength in KINDS.items():
            on_cores = partial(session, runs_of(strength, size, min(size.on_gpu)), work.TRAIN, data)
            for n in size.on_gpu:
                runs = [replace(run, device="cuda") for run in runs_of(strength, size, n)]
                ours = partial(on_gpu, runs, work.TRAIN, data)
                seconds(on_cores), seconds(ours)
                pairs = [(seconds(on_cores) / min(size.on_gpu), seconds(ours) / n) for _ in range(min(size.repeats, 3))]
                print_row(f"{kind} runs of {size.epochs} epochs, {n} asked for", pairs)


def gpu_name() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def start_rows(size: Size) -> None:
    def of(code: str) -> float:
        times = []
        for _ in range(min(size.repeats, 3)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code, "baseline"], check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        return statistics.median(times) * 1e3

    torch_alone = of("import torch")
    for stage in sorted(Path("stages").glob(f"{size.stages}.py")):
        idle = "import runpy; from svvr.execution import stage; stage.run = lambda *_: None"
        own = of(f"{idle}; runpy.run_path({str(stage)!r})")
        print(f"{f'start of {stage.stem}, against import torch':<46} {torch_alone:>11.0f} {own:>11.0f}", flush=True)


def head() -> str:
    """Name what decides the speed: the processor, and which code torch and numpy choose on it."""
    blas = {
        f"{each['internal_api']} {each['architecture']}" for each in threadpool_info() if each["user_api"] == "blas"
    }
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    torchs = f"torch {torch.__version__} {torch.backends.cpu.get_cpu_capability()}"
    return f"{THREADS} cores, {(names or [provenance.maker()])[0]}, {torchs}, numpy {', '.join(sorted(blas))}"


def main(size: Size) -> None:
    data = {name: array[: size.examples] for name, array in mnist1d.splits(seed=42, n_test=10, test_seed=1042).items()}
    print(f"{head()}\n{'milliseconds a unit (medians)':<46} {'reference':>11} {'ours':>11} {'ratio':>7}  spread")
    with workers.executor(workers.n_workers()) as (pool, n):
        list(pool.map(abs, range(n)))  # starts the workers before torch starts threads here
        session = work.Session("bench", 0, pool, n, None)
        session.bar.close()
        training_rows(data, session, size)
        hessian_rows(data, session, size)
        penalty_rows(pool, size)
        gpu_rows(data, session, size)
        peer_rows(data, session, size)
    start_rows(size)


if __name__ == "__main__":
    main(QUICK if sys.argv[1:] == ["--quick"] else Size())
