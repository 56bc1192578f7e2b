"""Retrain each study's winner of one arm on new seeds, and evaluate it on the test split."""

from svvr.run import lifetime

lifetime.begin("train")

from pathlib import Path

from svvr import summaries
from svvr.core import files
from svvr.core.params import Params
from svvr.core.seeds import final_seeds
from svvr.data import read
from svvr.judge import schemas
from svvr.learn import result
from svvr.learn.spec import Run
from svvr.learn.work import WORK
from svvr.run import evaluate, platform, stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")
ARM = stage.arm("train")
WINNERS = Path(f"metrics/tune/{ARM}.json")


def main(params: Params) -> None:
    tuned, penalty = schemas.read(WINNERS, schemas.Tuning, ARM)["studies"], params.arms[ARM].penalty.name
    data = read.splits(DEVELOPMENT, "train", "validation") | read.splits(TEST, "test")
    plan = [(study, seed) for study in tuned for seed in final_seeds(params.seed, study["study"], params.final.seeds)]
    runs = [Run.of_arm(params, ARM, study["best"], seed) for study, seed in plan]
    results = evaluate.compute(f"train@{ARM}", runs, WORK, data)

    studies = [study["study"] for study, _ in plan]
    rows, arrays = result.final_records(studies, runs, results), result.final_arrays(studies, runs, results)
    head = {"arm": ARM, "penalty": penalty, "selection": params.selection}
    tail = {"test_losses": [files.array_hash(arrays["test_losses"])], "runs": rows}
    record = {**head, **summaries.of_runs(rows), **tail}
    files.write_npz(Path(f"data/weights/{ARM}.npz"), arrays)
    files.write_json(Path(f"metrics/provenance/{ARM}.json"), platform.describe(params.training.device))
    files.write_json(Path(f"metrics/train/{ARM}.json"), record)


if __name__ == "__main__":
    stage.run(f"train@{ARM}", main, [DEVELOPMENT, TEST, WINNERS], Path("params.yaml"))
