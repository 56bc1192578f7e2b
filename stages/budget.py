"""Train one arm's points of the random design that all arms share, to see what a budget buys."""

from svvr.execution import stage

NAME = stage.begin("budget")

from svvr import records, tuning
from svvr.execution import work
from svvr.params import Params
from svvr.training.run import score_row


def main(params: Params) -> None:
    arm, data = NAME.partition("@")[2], records.read_npz("data/dev.npz") | records.read_npz("data/test.npz")
    heads, runs = zip(*tuning.design(params, arm), strict=True)
    found = zip(heads, runs, work.compute(NAME, runs, work.SCORE, data), strict=True)
    rows = [head | score_row(run, score) for head, run, score in found]
    records.write_rows(f"metrics/budget/{arm}.json", stage.report(NAME, rows))


stage.run(NAME, main)
