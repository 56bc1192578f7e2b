"""Retrain each study's winner of one arm on new seeds, and evaluate it on the test split."""

from pathlib import Path

import numpy as np

from svvr.core import files as records
from svvr.core.params import Params
from svvr.core.seeds import final_seeds
from svvr.data import read as splits
from svvr.judge import schemas
from svvr.learn import spec as arms
from svvr.learn import train as training
from svvr.run import evaluate as execution
from svvr.run import platform as provenance
from svvr.run import stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")
ARM = stage.arm("train")
WINNERS = Path(f"metrics/tune/{ARM}.json")


def main(params: Params) -> None:
    studies = schemas.read(WINNERS, schemas.Tuning, ARM)["studies"]
    development, test = splits.read(DEVELOPMENT, "train", "validation"), splits.read(TEST, "test")
    plan = [(study, seed) for study in studies for seed in final_seeds(study["study"], params.final.seeds)]
    runs = [arms.run_of(params, ARM, study["best"], seed) for study, seed in plan]
    work = execution.Work(training.train, training.modules, training.stackable)
    count = stage.Progress(f"train@{ARM}", len(runs))
    with execution.workers() as executor:
        results = execution.evaluate(runs, work, development, executor, stage.cache_folder(), count)
    count.close()

    rows, losses = [], np.zeros((len(studies), len(test["y_test"])))
    for (study, _), run, result in zip(plan, runs, results, strict=True):
        row = {"study": study["study"], **training.record(run, result), "test_loss": None, "test_accuracy": None}
        row["weights"] = records.array_hash(result["weights"])
        if row["state"] == "complete":
            each, hit = training.test_losses(result["weights"], training.layer_sizes(run, development), **test)
            row |= {"test_loss": float(each.mean()), "test_accuracy": float(hit.mean())}
            losses[study["study"]] += each
        rows.append(row)
    n_complete = [sum(r["state"] == "complete" for r in rows if r["study"] == s["study"]) for s in studies]
    weights = {
        "study": np.array([row["study"] for row in rows]),
        "seed": np.array([run.seed for run in runs]),
        "weights": np.stack([result["weights"] for result in results]),
        "test_losses": (losses / np.maximum(n_complete, 1)[:, None]).astype(np.float32),
    }
    head = {"arm": ARM, "penalty": params.arms[ARM].penalty.name, "selection": params.selection}
    hashes = [records.array_hash(weights["test_losses"])]
    records.write_npz(Path(f"data/weights/{ARM}.npz"), weights)
    records.write_json(Path(f"metrics/provenance/{ARM}.json"), provenance.describe())
    record = {**head, **training.summary(rows), "test_losses": hashes, "runs": rows}
    records.write_json(Path(f"metrics/train/{ARM}.json"), record)


if __name__ == "__main__":
    stage.run(f"train@{ARM}", main, [DEVELOPMENT, TEST, WINNERS], Path("params.yaml"))
