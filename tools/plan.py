"""Say before a run which stages would run, what they would train, what of it is kept, and about how long that takes.

`make plan` asks dvc what is out of date, looks runs up in the result cache by the keys that the stages use, and times
an epoch of a few runs on this machine's workers. It writes nothing.
"""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from dvc.exceptions import DvcException
from dvc.repo import Repo

from svvr.core import params as parameters
from svvr.core.files import Arrays
from svvr.core.params import Params
from svvr.core.seeds import final_seeds
from svvr.data import make
from svvr.judge import schemas
from svvr.learn import work
from svvr.learn.result import RULES
from svvr.learn.spec import Run
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE
from svvr.run import cache, evaluate
from svvr.run.cores import n_workers
from svvr.run.stage import answer
from svvr.search import design, studies
from tools import check

Kind: TypeAlias = tuple[str, str, str]
Search: TypeAlias = tuple[int, list[dict[str, Any]] | None]  # runs that are kept; the studies, None without all of them
# From units, what to do with them and which splits they see, to the result of each, None where it is not kept.
LookUp: TypeAlias = Callable[[Sequence[Any], evaluate.Work[Any, Any], str], list[Any]]
ALL, DEVELOPMENT, MEASURED = "train validation test", "train validation", "train test"
START = 2.5  # seconds of a stage beside its runs
FURTHER = {"prepare": 3.0, "compare": 2.0, "plot": 5.0}  # and where there is more to do
ASK = 0.006  # seconds in which the sampler chooses a trial, in one process
# What is not timed, in epochs of a run without a penalty while all workers are at work.
MEASUREMENT, PROBE = 33.0, 1.6  # the top eigenvalue of a Hessian; a random vector for its trace
TESTED = 0.5  # an example that is evaluated, against one of an epoch


@dataclass(frozen=True)
class Speed:
    """Seconds that an epoch of a run takes, with all workers at work: the time of many divided by their number.

    Attributes:
        plain: of a run without a penalty.
        of: each kind of run.
    """

    plain: float
    of: Mapping[Kind, float]

    def run(self, run: Run, n_test: int) -> float:
        """Return the seconds of a whole run, and of its evaluation on so many test examples."""
        before = self.run(run.start, 0) if run.start else 0.0
        epochs = run.epochs * self.of.get(kind(run), self.plain)
        return before + epochs + TESTED * n_test / make.N_TRAIN * self.plain

    def measurement(self, probes: int) -> float:
        """Return the seconds of measuring a run, with so many random vectors."""
        return (MEASUREMENT + PROBE * probes) * self.plain


def kind(run: Run) -> Kind:
    """Return what decides how long an epoch of a run takes, beside its shape."""
    return run.penalty, run.coupling, run.optimizer


def probe(runs: Iterable[Run], data: Arrays, executor: Executor) -> Speed:
    """Time an epoch of runs like each of these, of which the first has no penalty.

    Raises:
        ValueError: where a penalty cannot be used.
    """
    n = workers_of(executor)
    seconds = {}
    for run in runs:
        once = _timed(run, n, data, executor)  # with the start of the workers, and each one's check of the penalty
        stacked = n * max(1, min(evaluate.CHUNK, int(1 / once)))  # of slow ones fewer
        seconds[kind(run)] = min(_timed(run, stacked, data, executor) for _ in range(2)) / stacked
    return Speed(next(iter(seconds.values())), seconds)


def _timed(run: Run, n: int, data: Arrays, executor: Executor) -> float:
    """Return the seconds that an epoch of n runs takes, of two, as their start takes time as well."""
    started = time.monotonic()
    runs = [replace(run, seed=seed, epochs=2, start=None) for seed in range(n)]
    evaluate.evaluate(runs, work.WORK, data, executor)
    return (time.monotonic() - started) / 2


def workers_of(executor: Executor) -> int:
    """Return how many workers an executor has."""
    return getattr(executor, "n_workers", None) or n_workers()


@dataclass(frozen=True)
class Row:
    """What a stage would do.

    Attributes:
        stage: its name.
        n_runs: training runs that it needs.
        cached: how many of them are kept.
        certain: whether no more of them are; false where that depends on what is trained before.
        missing: the others, or where only their number is known, runs that take as long.
        n_measured, measured_cached: measurements that it needs, and how many of them are kept.
        probes: random vectors of a measurement.
        asked: trials that a sampler chooses.
        n_test: examples on which each run is evaluated.
    """

    stage: str
    n_runs: int = 0
    cached: int = 0
    certain: bool = True
    missing: Sequence[Run] = ()
    n_measured: int = 0
    measured_cached: int = 0
    probes: int = 0
    asked: int = 0
    n_test: int = 0

    def seconds(self, speed: Speed) -> float:
        """Return about how long the stage takes."""
        further = FURTHER.get(self.stage, 0) + ASK * self.asked
        measured = (self.n_measured - self.measured_cached) * speed.measurement(self.probes)
        return START + further + measured + sum(speed.run(run, self.n_test) for run in self.missing)


class _Missing(Exception):
    """A trial that is not kept; what the sampler asks for next is unknown."""


@dataclass(frozen=True)
class Forecast:
    """Counts what stages need, and what of it is kept.

    Attributes:
        params: of the pipeline.
        running: stages that would run, whose records do not count.
        look_up: finds kept results.
        metrics: folder of the records.
    """

    params: Params
    running: Sequence[str]
    look_up: LookUp
    metrics: Path
    searches: dict[str, Search] = field(default_factory=dict)  # repeated once for an arm

    def row(self, stage: str) -> Row:
        """Return what a stage would do.

        Raises:
            ValueError: where a record that it reads cannot be used.
        """
        script, _, arm = stage.partition("@")
        of_arm = {"tune": self._tune, "train": self._train, "budget": self._budget, "diagnose": self._diagnose}
        if script in of_arm:
            return of_arm[script](stage, arm)
        if stage == "replicate":
            return self._of_runs(
                stage, [run for row in work.replication(self.params).values() for run in row], DEVELOPMENT
            )
        if stage == "dose_response":
            return self._measured(stage, work.doses(self.params), 0)
        return Row(stage)

    def _of_runs(self, stage: str, runs: Sequence[Run], splits: str, what: evaluate.Work[Run, Any] = work.WORK) -> Row:
        found = self.look_up(runs, what, splits)
        missing = [run for run, result in zip(runs, found, strict=True) if result is None]
        n_test = self.params.data.n_test if splits == ALL else 0
        return Row(stage, len(runs), len(runs) - len(missing), missing=missing, n_test=n_test)

    def _tune(self, stage: str, arm: str) -> Row:
        cached, found = self._search(arm)
        asked = self.params.tuning.studies * self.params.tuning.trials
        n = asked * self.params.tuning.seeds_per_trial
        return Row(stage, n, cached, found is not None or not cached, [self.like(arm)] * (n - cached), asked=asked)

    def _train(self, stage: str, arm: str) -> Row:
        runs = self._final(arm)
        if runs is not None:
            return self._of_runs(stage, runs, ALL)
        n = self.params.tuning.studies * self.params.final.seeds
        return Row(stage, n, 0, False, [self.like(arm)] * n, n_test=self.params.data.n_test)

    def _budget(self, stage: str, arm: str) -> Row:
        ranges = self.params.arms[arm].ranges(self.params.tuning.space)
        trials = design.trials(self.params.seed, self.params.budget, ranges)
        runs = [Run.of_arm(self.params, arm, trial.knobs, trial.seed) for trial in trials]
        return self._of_runs(stage, runs, ALL, work.SCORE)

    def _diagnose(self, stage: str, arm: str) -> Row:
        settings, runs, per_study = self.params.diagnose, self._final(arm), self.params.final.seeds
        chosen = [run for place, run in enumerate(runs or ()) if place % per_study < settings.seeds]
        if not chosen:
            return Row(
                stage, n_measured=self.params.tuning.studies * min(settings.seeds, per_study), probes=settings.probes
            )
        row = self._measured(stage, chosen, settings.probes)
        return replace(row, n_runs=0, cached=0, missing=())

    def _measured(self, stage: str, runs: Sequence[Run], probes: int) -> Row:
        """Count runs and the measurement of each, which is kept only where the run is."""
        row, tolerance = self._of_runs(stage, runs, ALL), self.params.diagnose.tolerance
        units = [
            Measurement(run.seed, result.weights if result.complete else None, run.hidden, tolerance, probes)
            for run, result in zip(runs, self.look_up(runs, work.WORK, ALL), strict=True)
            if result is not None
        ]
        kept = self.look_up(units, MEASURE, MEASURED if probes else ALL)
        cached = sum(each is not None for each in kept)
        return replace(row, n_measured=len(runs), measured_cached=cached, probes=probes)

    def _final(self, arm: str) -> list[Run] | None:
        """Return the runs of an arm's winners, None where these are still to be found."""
        if f"tune@{arm}" in self.running:
            found = self._search(arm)[1]
        else:
            found = schemas.read(self.metrics / "tune" / f"{arm}.json", schemas.Tuning, arm)["studies"]
        if found is None:
            return None
        return [
            Run.of_arm(self.params, arm, study["best"], seed)
            for study in found
            for seed in final_seeds(self.params.seed, study["study"], self.params.final.seeds)
        ]

    def _search(self, arm: str) -> Search:
        """Repeat the search of an arm on kept results as far as it gets: how many runs it found, and its studies."""
        settings, cached = self.params.tuning, 0

        def losses(asked: studies.Asked) -> list[work.Losses]:
            nonlocal cached
            runs = [Run.of_arm(self.params, arm, knobs, seed) for knobs, seed in asked]
            found = [result for result in self.look_up(runs, work.WORK, DEVELOPMENT) if result is not None]
            cached += len(found)
            if len(found) < len(runs):
                raise _Missing
            return [{rule: result.validation_loss(rule) for rule in RULES} for result in found]

        if arm not in self.searches:
            ranges = self.params.arms[arm].ranges(settings.space)
            try:
                found = studies.tune(self.params.seed, arm, ranges, settings, self.params.selection, losses)
            except _Missing:
                found = None
            self.searches[arm] = cached, found
        return self.searches[arm]

    def like(self, arm: str) -> Run:
        """Return a run of an arm in the middle of its ranges, which takes as long as its others."""
        ranges = self.params.arms[arm].ranges(self.params.tuning.space)
        return Run.of_arm(self.params, arm, {knob: (low * high) ** 0.5 for knob, (low, high) in ranges.items()}, 0)


def to_run(changed: Mapping[str, Sequence[Any]], after: Mapping[str, set[str]]) -> list[str]:
    """Return the stages that `dvc repro` would run, as far as can be known before, in their order.

    A stage that only lacks outputs gives the same again, so what depends on them stays as it is.

    Args:
        changed: what `dvc status` says of the stages that are not up to date.
        after: each stage, in the order of dvc.yaml -> all that depend on its outputs.
    """
    lacking = {("changed outs", "deleted"), ("changed outs", "not in cache"), ("changed deps", "deleted")}
    running = set()
    for stage, entries in changed.items():
        found = {pair for entry in entries for pair in _changes(entry)}
        if found - {("changed deps", "deleted")}:  # those come back with the stage that makes them
            running.add(stage)
        if found - lacking:
            running |= after[stage]
    return [stage for stage in after if stage in running]


def _changes(entry: Any) -> list[tuple[str, str]]:
    if not isinstance(entry, dict):  # such as "changed command"
        return [(str(entry), "")]
    return [(what, str(state)) for what, states in entry.items() for state in states.values()]


def stages_to_run() -> list[str]:
    """Ask dvc which stages of the repository in the working directory would run; see `to_run`.

    Raises:
        ValueError: where dvc cannot tell.
    """
    try:
        with Repo() as repo:
            graph = repo.index.graph  # from a stage to those that it depends on
            stages = {stage.addressing: stage for stage in repo.index.stages}
            direct = {name: [each.addressing for each in graph.predecessors(stage)] for name, stage in stages.items()}
            return to_run(repo.status(), {name: _reached(name, direct) for name in stages})
    except DvcException as error:
        raise ValueError(f"dvc: {' '.join(str(error).split())}") from error


def _reached(start: str, direct: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    open_ends = [start]
    while open_ends:
        new = set(direct[open_ends.pop()]) - found
        found |= new
        open_ends += new
    return found


def one_more_arm(params: Params, run: Run, speed: Speed) -> tuple[int, float]:
    """Return how many runs the comparison of one more arm trains, and the seconds until its verdict.

    Args:
        params: of the pipeline.
        run: one of the arm.
        speed: of runs like it.
    """
    tuning, budget, n_test = params.tuning, params.budget, params.data.n_test
    asked = tuning.studies * tuning.trials
    n_tuned, n_final = asked * tuning.seeds_per_trial, tuning.studies * params.final.seeds
    n_design = budget.replicates * budget.points * budget.seeds
    n_measured = tuning.studies * min(params.diagnose.seeds, params.final.seeds)
    rows = [
        Row("tune", n_tuned, missing=[run] * n_tuned, asked=asked),
        Row("train", n_final, missing=[run] * n_final, n_test=n_test),
        Row("budget", n_design, missing=[run] * n_design, n_test=n_test),
        Row("diagnose", n_measured=n_measured, probes=params.diagnose.probes),
        *map(Row, ("compare", "tables", "plot")),
    ]
    return sum(row.n_runs for row in rows), sum(row.seconds(speed) for row in rows)


def table(rows: Sequence[Row], speed: Speed) -> str:
    """Return the rows as lines of text, and their total."""
    head = ("stage", "runs", "kept", "measurements", "kept", "about")
    body = [
        (
            row.stage,
            *_counts(row.n_runs, row.cached, row.certain),
            *_counts(row.n_measured, row.measured_cached, True),
            spoken(row.seconds(speed)),
        )
        for row in rows
    ]
    n, cached = sum(row.n_runs for row in rows), sum(row.cached for row in rows)
    measured, kept = sum(row.n_measured for row in rows), sum(row.measured_cached for row in rows)
    certain = all(row.certain for row in rows)
    total = spoken(sum(row.seconds(speed) for row in rows))
    lines = [head, *body, ("total", *_counts(n, cached, certain), *_counts(measured, kept, True), total)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _counts(n: int, cached: int, certain: bool) -> tuple[str, str]:
    return (str(n), str(cached) if certain else f"{cached} or more") if n else ("-", "-")


def spoken(seconds: float) -> str:
    """Return a duration in words."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def kept(splits: Arrays) -> LookUp:
    """Return the look-up in the result cache for units that see these splits."""
    folder = cache.folder()

    def look_up(units: Sequence[Any], what: evaluate.Work[Any, Any], names: str) -> list[Any]:
        if folder is None or not units:
            return [None] * len(units)
        data = {f"{axis}_{name}": splits[f"{axis}_{name}"] for name in names.split() for axis in "xy"}
        arrays = [cache.look_up(folder, key) for key in evaluate.unit_keys(units, what, data)]
        return [None if each is None else what.result.from_arrays(each) for each in arrays]

    return look_up


def main() -> str:
    """Return what `dvc repro` would do in the working directory.

    Raises:
        ValueError: where params, a record, a penalty or dvc.lock cannot be used.
    """
    params = parameters.load(Path("params.yaml"))
    check.lock(Path("dvc.lock"))
    running = stages_to_run()
    if not running:
        return "nothing would run: everything is up to date"
    development, test = make.splits(params.data.seed, params.data.n_test, params.data.test_seed)
    forecast = Forecast(params, running, kept(development | test), Path("metrics"))
    rows = [forecast.row(stage) for stage in running]
    kinds = {kind(run): run for row in rows for run in row.missing}
    plain = Run.of(params, "none", {"lr": 0.002}, 0)
    with evaluate.workers() as executor:
        speed = probe([plain, *(run for key, run in kinds.items() if key != kind(plain))], development, executor)
        n = workers_of(executor)
    notes = [f"Times are for {n} workers: an epoch of a run takes {_speeds(speed)}."]
    if not all(row.certain for row in rows):
        notes.append("Where more may be kept, the search that comes before decides.")
    return "\n".join([table(rows, speed), *notes])


def _speeds(speed: Speed) -> str:
    usual = ("coupled", "adam")
    return ", ".join(
        f"{1000 * seconds:.1f} ms with {' '.join([name, *(each for each in rest if each not in usual)])}"
        for (name, *rest), seconds in speed.of.items()
    )


if __name__ == "__main__":
    try:
        answer("plan", main())
    except ValueError as error:
        sys.exit(f"plan: {error}")
    except KeyboardInterrupt:
        sys.exit("plan: stopped")
