"""Where the default run's minutes go: a profile of each kind of work, times how often each stage does it.

What workers do is divided by their number. DVC's own time between the stages is left out.
"""

import cProfile
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from svvr.core import files
from svvr.core import params as parameters
from svvr.core.files import Arrays
from svvr.core.params import Params
from svvr.data import make
from svvr.learn import train, work
from svvr.learn.result import RULES
from svvr.learn.spec import Run
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE
from svvr.run.cores import n_workers
from svvr.run.evaluate import CHUNK, Work, evaluate
from svvr.search import studies
from tools import plan

Parts: TypeAlias = "pd.Series[float]"  # seconds of each part
STAGES = ("prepare", "tune", "train", "budget", "diagnose", "dose_response", "replicate", "compare", "tables", "plot")
LONG = ("tune", "train", "budget", "diagnose", "dose_response", "replicate")  # have columns of their own
OF_ARM = ("tune", "train", "budget", "diagnose")
# From a part to the functions whose time it is (file, name), with all that they call but what is another part.
PARTS = {
    "keys and cache": [("run/evaluate.py", "evaluate")],
    "batches and curves": [("learn/train.py", "_train")],
    "training": [("learn/train.py", "epoch")],
    "penalty": [("learn/penalty.py", "add"), ("learn/penalty.py", "add_to_all")],
    "evaluation": [("learn/train.py", "_validate"), ("learn/train.py", "_test")],
    "other measures": [("measure/unit.py", "measure")],
    "Hessian products": [("measure/hessian.py", "top_eigenvalue"), ("measure/hessian.py", "trace")],
}
WITHIN = {
    "batches and curves": "keys and cache",
    "training": "batches and curves",
    "penalty": "training",
    "evaluation": "batches and curves",
    "other measures": "keys and cache",
    "Hessian products": "other measures",
}


class Here(Executor):
    """Computes in this process, where a profile sees it."""

    n_workers = 1

    def submit(self, compute: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return what has been computed."""
        future: Future[Any] = Future()
        future.set_result(compute(*args, **kwargs))
        return future


def profiled(units: Sequence[Any], what: Work[Any, Any], data: Arrays) -> Parts:
    """Return the seconds of each part for one unit of a stack, in one process."""
    what.compute(units[:1], data)  # imports, and the first look at a penalty
    with tempfile.TemporaryDirectory() as folder:
        profile = cProfile.Profile()
        profile.runcall(evaluate, units, what, data, Here(), Path(folder))
    whole = pd.Series(0.0, index=list(PARTS))
    for (file, _, name), (_, _, _, cumulative, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        for part, functions in PARTS.items():
            if any(file.endswith(where) and name == of for where, of in functions):
                whole[part] += cumulative / len(units)
    own = whole.copy()
    for part, enclosing in WITHIN.items():
        own[enclosing] -= whole[part]
    return own


@dataclass
class Costs:
    """The seconds of the parts of each kind of work, profiled when they are first asked for.

    Attributes:
        params: of the pipeline.
        data: all splits.
        n_runs, n_measured: how many units are profiled of a kind.
    """

    params: Params
    data: Arrays
    n_runs: int = CHUNK
    n_measured: int = 2
    known: dict[object, Parts] = field(default_factory=dict)

    def run(self, run: Run, n_test: int, what: Work[Run, Any]) -> Parts:
        """Return those of a training run."""
        key = plan.kind(run), run.epochs, n_test, what.result
        if key not in self.known:
            runs = [replace(run, seed=seed, start=None) for seed in range(self.n_runs)]
            data = {name: array for name, array in self.data.items() if n_test or not name.endswith("test")}
            self.known[key] = profiled(runs, what, data)
        return self.known[key] + (self.run(run.start, 0, what) if run.start else 0)

    def measurement(self, probes: int) -> Parts:
        """Return those of the measurement of a run."""
        if probes not in self.known:
            runs = [Run(seed, 0.004, epochs=self.params.training.epochs) for seed in range(self.n_measured)]
            units = [
                Measurement(run.seed, each.weights, run.hidden, self.params.diagnose.tolerance, probes)
                for run, each in zip(runs, train.train(runs, self.data), strict=True)
            ]
            self.known[probes] = profiled(units, MEASURE, self.data)
        return self.known[probes]


def of_stages(costs: Costs) -> pd.DataFrame:
    """Return the seconds of each part (rows) of each stage (columns) of the default run."""
    arms = {stage: list(costs.params.arms) if stage in OF_ARM else [""] for stage in STAGES}
    names = {stage: [f"{stage}@{arm}" if arm else stage for arm in arms[stage]] for stage in STAGES}
    running = [name for each in names.values() for name in each]
    forecast = plan.Forecast(costs.params, running, lambda units, *_: [None] * len(units), Path("metrics"))
    found = {}
    for stage in STAGES:
        rows = [forecast.row(name) for name in names[stage]]
        what = work.SCORE if stage == "budget" else work.WORK
        n_test = costs.params.data.n_test if stage == "dose_response" else rows[0].n_test
        units = pd.Series(0.0, index=list(PARTS))
        for row in rows:
            units += sum(costs.run(run, n_test, what) for run in row.missing)
            if row.n_measured:
                units += row.n_measured * costs.measurement(row.probes)
        units /= n_workers()
        units["search"] = sum(row.asked for row in rows) * (asking(costs.params) if stage == "tune" else 0)
        units["starts"] = len(rows) * start(stage)
        units["records"] = writing(Path("metrics"), stage)
        found[stage] = units
    return pd.DataFrame(found)


def asking(params: Params) -> float:
    """Return the seconds in which a study asks for a trial and is told its loss."""
    settings, (arm, *_) = params.tuning.model_copy(update={"studies": 1}), params.arms

    def losses(asked: studies.Asked) -> list[work.Losses]:
        return [dict.fromkeys(RULES, abs(knobs["lr"] - 0.004)) for knobs, _ in asked]

    started = time.perf_counter()
    studies.tune(0, arm, params.arms[arm].ranges(settings.space), settings, params.selection, losses)
    return (time.perf_counter() - started) / settings.trials


def start(stage: str) -> float:
    """Return the seconds in which a stage's process starts and imports."""
    script = f"import runpy; runpy.run_path('stages/{stage}.py', run_name='started')"
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", script, "baseline"], check=True)
    return time.perf_counter() - started


def writing(metrics: Path, stage: str) -> float:
    """Return the seconds in which a stage's committed records are written."""
    paths = [metrics / f"{stage}.json"] if (metrics / f"{stage}.json").exists() else (metrics / stage).glob("*.json")
    seconds = 0.0
    for record in map(files.read_json, paths):
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            files.write_json(Path(folder) / "record.json", record)
            seconds += time.perf_counter() - started
    return seconds


def table(found: pd.DataFrame) -> str:
    """Return the minutes of the parts, largest first, of each stage and of all, as lines of text."""
    minutes = found[list(LONG)] / 60
    minutes["others"] = found.drop(columns=list(LONG)).sum(axis=1) / 60
    minutes["all"] = found.sum(axis=1) / 60
    minutes = minutes.sort_values("all", ascending=False)
    minutes.loc["all"] = minutes.sum()
    share = [f"{each:.1%}" for each in minutes["all"] / minutes["all"].iloc[-1]]
    return minutes.assign(share=share).rename_axis(columns="minutes").to_string(float_format="{:.2f}".format)


def main() -> None:
    """Print where the default run's minutes go, on otherwise idle cores."""
    params = parameters.load(Path("params.yaml"))
    development, test = make.splits(params.data.seed, params.data.n_test, params.data.test_seed)
    print(table(of_stages(Costs(params, development | test))))


if __name__ == "__main__":
    main()
