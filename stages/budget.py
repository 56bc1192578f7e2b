"""Train one arm's points of the random design that all arms share, to see what a budget buys."""

from svvr.run import lifetime

lifetime.begin("budget")

from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.learn.spec import Run
from svvr.learn.work import SCORE
from svvr.run import evaluate, stage
from svvr.search import design

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")
ARM = stage.arm("budget")


def main(params: Params) -> None:
    arm, data = params.arms[ARM], read.splits(DEVELOPMENT, "train", "validation") | read.splits(TEST, "test")
    trials = design.trials(params.seed, params.budget, arm.ranges(params.tuning.space))
    runs = [Run.of_arm(params, ARM, trial.knobs, trial.seed) for trial in trials]
    scores = evaluate.compute(f"budget@{ARM}", runs, SCORE, data)
    rows = [trial.record(score.validation_loss, score.test_loss) for trial, score in zip(trials, scores, strict=True)]
    head = {"arm": ARM, "penalty": arm.penalty.name, "selection": params.selection}
    counts = {"n_runs": len(rows), "n_failed": sum(row["state"] == "failed" for row in rows)}
    files.write_json(Path(f"metrics/budget/{ARM}.json"), {**head, **counts, "runs": rows})


if __name__ == "__main__":
    stage.run(f"budget@{ARM}", main, [DEVELOPMENT, TEST], Path("params.yaml"))
