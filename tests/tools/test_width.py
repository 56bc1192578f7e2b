"""The paper on which the width of the default run is worked out, counted by hand; and that the simulation runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import paper, sleepers
from benchmarks.paper import Round, Stage
from svvr.core.params import load
from svvr.learn.spec import Run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def round_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack takes 1 s and 10 s a run, the sampler 0.1 s a trial."""
    monkeypatch.setattr(sleepers, "PLAIN", (1.0, 10.0))
    monkeypatch.setattr(paper, "ASK", 0.1)


@pytest.mark.parametrize(
    ("runs", "workers", "chunks", "seconds"),
    [
        (5, 2, [31, 21], 31),  # 3 and 2 runs
        (30, 2, [81, 81, 81, 61], 162),  # 8, 8, 8 and 6: two rounds, the longer pair decides
        (5, 8, [11] * 5, 11),  # more workers than runs
    ],
)
def test_a_round_is_cut_and_shared_out(runs: int, workers: int, chunks: list[float], seconds: float) -> None:
    found = Round([Run(0, 0.01)] * runs, sleepers.TRAIN, tested=False)
    assert found.chunks(workers) == chunks
    assert found.seconds(workers) == seconds


def test_rounds_wait_for_each_other() -> None:
    search = Stage("tune", "arm", [Round([Run(0, 0.01)] * 6, sleepers.TRAIN, False, asked=6)] * 4)
    assert search.seconds(2) == pytest.approx(4 * (0.6 + 31))
    assert search.seconds(99) == pytest.approx(4 * (0.6 + 11))


def test_a_larger_batch_makes_fewer_and_larger_rounds() -> None:
    params = paper.batched(load(ROOT / "params.yaml"), 8)
    tune = next(paper.stages(params))
    studies, trials = params.tuning.studies, params.tuning.trials
    assert [len(each.units) for each in tune.rounds] == [8 * studies, 8 * studies, (trials - 16) * studies]


def test_arms_side_by_side_take_as_long_as_all_work_or_as_the_longest_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paper, "START", 5.0)
    monkeypatch.setattr(paper, "OTHERS", 7.0)
    arms = [Stage("train", arm, [Round([Run(0, 0.01)] * n, sleepers.TRAIN, False)]) for arm, n in (("a", 2), ("b", 4))]
    assert paper.total(arms, 2) == 7 + 5 + 11 + 5 + 21
    assert paper.side_by_side(arms, 2) == 7 + 5 + (11 + 11 + 21 + 21) / 2
    assert paper.side_by_side(arms, 8) == 7 + 5 + 11  # each run has a worker of its own


@pytest.mark.slow
def test_the_simulation_prints_every_row() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.width", "--quick"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    for name in ("tune", "train", "budget", "diagnose", "dose_response", "replicate", "tune, batch 5"):
        assert re.search(rf"^ +2 {name} +(\w+)? +\d+ +\d+( +[-\d.]+){{4}}$", result.stdout, re.MULTILINE), name
