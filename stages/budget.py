"""Train one arm's points of the random design that all arms share, to see what a budget buys."""

from svvr.execution import stage

NAME = stage.begin("budget")

from svvr import records, tuning
from svvr.execution import work
from svvr.params import Params
from svvr.training.run import Run, score_row


def main(params: Params) -> None:
    arm, data = NAME.partition("@")[2], records.read_npz("data/dev.npz") | records.read_npz("data/test.npz")
    draws = tuning.design(params, arm)
    runs = [Run.of_arm(params, arm, draw.hyperparameters, draw.seed) for draw in draws]
    found = zip(draws, runs, work.compute(NAME, runs, work.SCORE, data), strict=True)
    rows = [{"replicate": draw.replicate, "point": draw.point, **score_row(run, score)} for draw, run, score in found]
    stage.report(NAME, rows)
    records.write_rows(f"metrics/budget/{arm}.json", rows)


stage.run(NAME, main)
