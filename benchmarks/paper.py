"""How long the default run takes on so many workers, on paper: computation, sampler and starts, without overhead."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import sleepers
from benchmarks.sleepers import MEASURED, SCORE, TRAIN
from svvr.core.params import Params
from svvr.learn import work
from svvr.learn.spec import Run
from svvr.measure.unit import Measurement
from svvr.run import evaluate

START, OTHERS = 2.5, 17.5  # seconds of a stage beside its runs; prepare, compare, tables and plot, as in tools/plan.py
ASK = 0.003  # seconds in which the sampler chooses a trial, one after the other in the stage's process
WEIGHTS = np.ones(sleepers.PARAMETERS, np.float32)


@dataclass(frozen=True)
class Round:
    """Units that can all be computed at once, after the sampler has chosen so many trials."""

    units: Sequence[Any]
    work: evaluate.Work[Any, Any]
    tested: bool = True
    asked: int = 0

    def chunks(self, n: int) -> list[float]:
        """Return the seconds of each chunk, as the stages cut them for n workers."""
        found = evaluate.chunks(self.units, range(len(self.units)), self.work, n)
        return [sleepers.seconds([self.units[i] for i in chunk], self.tested) for chunk in found]

    def seconds(self, n: int) -> float:
        """Return the seconds until the last of n workers is done, each taking the next chunk as it gets free."""
        free = [0.0] * n
        for chunk in self.chunks(n):
            heapq.heapreplace(free, free[0] + chunk)
        return max(free)


@dataclass(frozen=True)
class Stage:
    """A stage's rounds, one after the other."""

    name: str
    arm: str
    rounds: Sequence[Round]

    def seconds(self, n: int) -> float:
        """Return the seconds of its rounds and its sampler on n workers, on paper."""
        return sum(ASK * each.asked + each.seconds(n) for each in self.rounds)

    @property
    def n_units(self) -> int:
        """Number of runs and measurements."""
        return sum(len(each.units) for each in self.rounds)


def stages(params: Params) -> Iterator[Stage]:
    """Return the stages that compute, in their order."""
    tuning, budget = params.tuning, params.budget
    for arm, settings in params.arms.items():
        middle = {knob: (low * high) ** 0.5 for knob, (low, high) in settings.ranges(tuning.space).items()}
        run, per_trial = Run.of_arm(params, arm, middle, 0), tuning.seeds_per_trial
        asked = [min(tuning.batch, tuning.trials - start) for start in range(0, tuning.trials, tuning.batch)]
        search = [Round([run] * (tuning.studies * n * per_trial), TRAIN, False, tuning.studies * n) for n in asked]
        measured = Measurement(0, WEIGHTS, run.hidden, params.diagnose.tolerance, params.diagnose.probes)
        n_measured = tuning.studies * min(params.diagnose.seeds, params.final.seeds)
        yield Stage("tune", arm, search)
        yield Stage("train", arm, [Round([run] * (tuning.studies * params.final.seeds), TRAIN)])
        yield Stage("budget", arm, [Round([run] * (budget.replicates * budget.points * budget.seeds), SCORE)])
        yield Stage("diagnose", arm, [Round([measured] * n_measured, MEASURED)])
    doses = work.doses(params)
    links = [Measurement(0, WEIGHTS, doses[0].hidden, params.diagnose.tolerance)] * len(doses)
    yield Stage("dose_response", "", [Round(doses, TRAIN), Round(links, MEASURED)])
    published = [run for row in work.replication(params).values() for run in row]
    yield Stage("replicate", "", [Round(published, TRAIN, False)])


def batched(params: Params, batch: int) -> Params:
    """Return params with so many trials asked at once."""
    return params.model_copy(update={"tuning": params.tuning.model_copy(update={"batch": batch})})


def total(run: Sequence[Stage], n: int) -> float:
    """Return the seconds of the default run on n workers, on paper."""
    return OTHERS + sum(START + stage.seconds(n) for stage in run)


def side_by_side(run: Sequence[Stage], n: int) -> float:
    """Return the least that the default run takes where the arms share the workers: the longest arm, or all work."""
    arms = [[stage for stage in run if stage.arm == arm] for arm in dict.fromkeys(stage.arm for stage in run) if arm]
    longest = max(sum(START + stage.seconds(n) for stage in arm) for arm in arms)
    busy = sum(chunk for arm in arms for stage in arm for each in stage.rounds for chunk in each.chunks(n)) / n
    return max(longest, START + busy) + total([stage for stage in run if not stage.arm], n)
