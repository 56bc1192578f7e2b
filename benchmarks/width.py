"""How long the default run takes against the number of workers: on paper, and simulated with units that sleep.

`python -m benchmarks.width > benchmarks/width.txt` takes ten minutes and draws docs/width.png; with `--quick` it prints
the same rows on sizes that say nothing, and draws nothing. On paper there are the computation, the sampler and the
start of a stage. The simulation is the stages' own path (searches, chunks, result cache, Dask) with units that sleep.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from benchmarks import sleepers
from benchmarks.paper import Stage, batched, side_by_side, stages, total
from svvr.core.files import Arrays
from svvr.core.params import Params, load
from svvr.learn import work
from svvr.run import evaluate
from svvr.search import studies
from svvr.show import style, words

SIMULATED = {2: 0.05, 64: 1.0, 512: 1.0}  # workers -> how long a unit sleeps, against how long it would compute
BATCH = 5  # trials asked at once, instead of 1
COLORS = {
    "tune": "#D55E00",
    "train": "#0072B2",
    "budget": "#009E73",
    "diagnose": "#CC79A7",
    "dose_response": "#56B4E9",
    "replicate": "#E69F00",
}
WORKERS = sorted({round(2 ** (k / 8)) for k in range(81)})


def simulate(stage: Stage, params: Params, data: Arrays, n: int) -> float:
    """Return the seconds of a stage's rounds on the cluster of n workers that SVVR_SCHEDULER names, with all overhead.

    Sleep that the pace saves is put back as it is on paper.
    """
    ranges, untested = params.arms[stage.arm].ranges(params.tuning.space) if stage.arm else {}, dict(data)
    del untested["x_test"]
    with TemporaryDirectory() as folder, mock.patch.dict(os.environ, DVC_ROOT=folder):
        start = time.perf_counter()
        with evaluate.session(stage.name, stage.n_units) as session:
            if stage.name == "tune":
                with mock.patch.object(work, "WORK", sleepers.TRAIN):
                    losses = work.losses_of(params, stage.arm, session, untested)
                    studies.tune(0, stage.arm, ranges, params.tuning, "last_epoch", losses)
            else:
                for each in stage.rounds:
                    units = [replace(unit, seed=seed) for seed, unit in enumerate(each.units)]
                    session(units, each.work, data if each.tested else untested)
        took = time.perf_counter() - start
    return took + (1 - float(data["pace"])) * sum(each.seconds(n) for each in stage.rounds)


def simulation(params: Params, n: int, pace: float) -> dict[str, float]:
    """Print the seconds of each stage on n simulated workers, and return those of each kind.

    An arm without and one with the penalty stand for the others. Overhead is a unit's, in ms of the stage; the
    scheduler's is its processor time for a chunk.
    """
    shapes = {"x_train": (4000, 40), "x_validation": (1000, 40), "x_test": (params.data.n_test, 40)}
    data = {name: np.ones(shape, np.float32) for name, shape in shapes.items()} | {"pace": np.array(pace)}
    larger = batched(params, BATCH)
    todo = [(stage, params, stage.name) for stage in stages(params)]
    todo += [(stage, larger, batch_of(stage.name)) for stage in stages(larger) if stage.name == "tune"]
    alike = {arm: settings.penalty.name != "none" for arm, settings in params.arms.items()}
    first = {penalised: arm for arm, penalised in reversed(alike.items())}
    found = dict.fromkeys([name for _, _, name in todo], 0.0)
    with sleepers.cluster(n) as (address, pid), mock.patch.dict(os.environ, SVVR_SCHEDULER=address):
        for stage, settings, name in todo:
            if stage.arm not in ("", *first.values()):
                continue
            before = processor_seconds(pid)
            took, paper = simulate(stage, settings, data, n), stage.seconds(n)
            busy, n_chunks = processor_seconds(pid) - before, sum(len(each.chunks(n)) for each in stage.rounds)
            found[name] += took * (list(alike.values()).count(alike[stage.arm]) if stage.arm else 1)
            overhead = f"{1e3 * (took - paper) / stage.n_units:>9.1f} {1e3 * busy / n_chunks:>10.1f}"
            row = f"{n:>7} {name:<14} {stage.arm:<12} {stage.n_units:>6} {n_chunks:>7} {paper:>9.1f} {took:>10.1f}"
            print(row, overhead, flush=True)
    return found


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process so far (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def batch_of(name: str) -> str:
    """Return the name of the stage with the larger batch."""
    return f"{name}, batch {BATCH}"


@style.fixed()
def draw(params: Params, simulated: Mapping[int, Mapping[str, float]]) -> Figure:
    """Draw minutes against workers: each kind of stage, and the whole run with what would shorten it."""
    run, larger = list(stages(params)), list(stages(batched(params, BATCH)))
    figure, axes = style.panels(1, 2, 4.2)
    handles = []
    for name, color in COLORS.items():
        of = [stage for stage in run if stage.name == name]
        handles += _line(axes[0], partial(_seconds, of), color, words.name(name))
        axes[0].plot(list(simulated), [each[name] / 60 for each in simulated.values()], "o", color=color)
    starts = total(run, 1) - sum(stage.seconds(1) for stage in run)
    as_it_is = {n: starts + sum(each[name] for name in COLORS) for n, each in simulated.items()}
    quicker = {n: as_it_is[n] + each[batch_of("tune")] - each["tune"] for n, each in simulated.items()}
    handles += _line(axes[0], lambda n: starts, style.GREY, "starts, and stages without runs")
    handles += _line(axes[1], partial(total, run), style.PLAIN, "whole run")
    handles += _line(axes[1], partial(total, larger), "#D55E00", f"{BATCH} trials at once", "--")
    handles += _line(axes[1], partial(side_by_side, run), "#0072B2", "arms side by side (at least)", "--")
    handles += _line(axes[1], partial(side_by_side, larger), "#CC79A7", "both", "--")
    for found, color in ((as_it_is, style.PLAIN), (quicker, "#D55E00")):
        axes[1].plot(list(found), [seconds / 60 for seconds in found.values()], "o", color=color)
    for ax, title, ticks in zip(
        axes, ("Stages, all arms", "Whole run"), ((0.01, 0.1, 1, 10), (1, 2, 5, 10, 20, 50)), strict=True
    ):
        ax.set(xscale="log", yscale="log", title=title, ylabel="minutes", xlabel="workers")
        style.ticks(ax, {float(n): f"{n}" for n in (1, 2, 8, 24, 64, 128, 512)})
        ax.yaxis.set_major_locator(FixedLocator(ticks))
        ax.yaxis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
        ax.yaxis.set_minor_locator(NullLocator())
    handles.append(Line2D([], [], color=style.PLAIN, marker="o", linestyle="", label="simulated (lines: on paper)"))
    style.legend(figure, handles)
    return figure


def _seconds(of: Sequence[Stage], n: int) -> float:
    return sum(stage.seconds(n) for stage in of)


def _line(ax: Axes, seconds: Callable[[int], float], color: str, label: str, dash: str = "-") -> list[Line2D]:
    return ax.plot(WORKERS, [seconds(n) / 60 for n in WORKERS], color=color, label=label, linestyle=dash)


def small(params: Params) -> Params:
    """Return params of one arm and few units."""
    few: dict[str, dict[str, Any]] = {
        "tuning": {"studies": 2, "trials": 2},
        "final": {"seeds": 1},
        "budget": {"replicates": 1, "points": 2},
        "dose_response": {"seeds": 1, "settings": params.dose_response.settings[:1]},
        "replicate": {"seeds": 1},
    }
    arms = dict(list(params.arms.items())[:1])
    updates = {key: getattr(params, key).model_copy(update=of) for key, of in few.items()}
    return params.model_copy(update=updates | {"arms": arms})


def main(quick: bool) -> None:
    params, paces = load(Path("params.yaml")), SIMULATED
    if quick:
        params, paces = small(params), {2: 0.01}
    run, larger = list(stages(params)), list(stages(batched(params, BATCH)))
    print(f"on paper, minutes\nworkers  as it is  batch {BATCH}  side by side  both")
    for n in (1, 2, 8, 24, 64, 128, 512, 1024):
        row = total(run, n), total(larger, n), side_by_side(run, n), side_by_side(larger, n)
        print(f"{n:>7}  {row[0] / 60:>8.1f}  {row[1] / 60:>7.1f}  {row[2] / 60:>12.1f}  {row[3] / 60:>4.1f}")
    print("simulated, seconds; overhead in ms a unit, scheduler in ms of processor time a chunk")
    print("workers stage          arm           units  chunks     paper  simulated  overhead  scheduler")
    simulated = {n: simulation(params, n, pace) for n, pace in paces.items()}
    if not quick:
        style.save(draw(params, simulated), Path("docs/width.png"))


if __name__ == "__main__":
    main(sys.argv[1:] == ["--quick"])
