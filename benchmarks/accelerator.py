"""How many runs a second a GPU trains against the processor's cores: `python -m benchmarks.accelerator`.

The processor's time for a run hardly depends on how many are asked for, so it is taken at the fewest. Both sides
alternate; the first call of each, which starts what it needs, does not count. SVVR_WORKERS=2 takes two cores.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch

from svvr.core.files import Arrays
from svvr.data import make
from svvr.learn.spec import Run
from svvr.learn.work import WORK
from svvr.run.evaluate import Processes, evaluate, workers


def rows(splits: Arrays, executor: Processes, asked: Sequence[int], epochs: int, repeats: int) -> None:
    """Print a row for each kind of run and number asked for."""
    name = executor.accelerator.submit(gpu_name).result()
    if not name:
        print("runs on a GPU: left out, as torch finds none")
        return
    print(f"{f'runs a second on {name}':<46} {'cores':>11} {'GPU':>11} {'ratio':>7}  spread")
    for name, strength in (("baseline", 0.0), ("regularized", 0.3)):
        penalty = "sv_variance" if strength else "none"
        runs = [Run(s, 0.004, penalty=penalty, strength=strength, epochs=epochs) for s in range(max(asked))]
        calls: list[Callable[[], object]] = [partial(evaluate, runs[: min(asked)], WORK, splits, executor)]
        for n in asked:
            calls.append(partial(evaluate, [replace(run, device="cuda") for run in runs[:n]], WORK, splits, executor))
        first = [seconds(call) for call in calls]
        print(f"{name}, first call on the GPU: {first[1]:.1f} s")
        taken = [[seconds(call) for call in calls] for _ in range(repeats)]
        for place, n in enumerate(asked, 1):
            pairs = [(min(asked) / each[0], n / each[place]) for each in taken]
            cores, gpu = (statistics.median(side) for side in zip(*pairs, strict=True))
            ratios = sorted(b / a for a, b in pairs)
            text = f"{f'{name} runs of {epochs} epochs, {n} asked for':<46} {cores:>11.2f} {gpu:>11.2f}"
            print(f"{text} {statistics.median(ratios):>7.1f}  {ratios[0]:.1f} to {ratios[-1]:.1f}", flush=True)


def gpu_name() -> str:
    """Return the GPU's name in a process that may use it, as none that began from one that has used it may."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else ""


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    splits, _ = make.splits(42, 10, 1042)
    with workers() as executor:
        assert isinstance(executor, Processes)
        print(f"{executor.n_workers} cores, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}")
        rows(splits, executor, (48, 1024), 20, 3)


if __name__ == "__main__":
    main()
