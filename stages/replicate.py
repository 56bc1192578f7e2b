"""Repeat the published comparison on many seeds, as its text describes it and as it must have been run."""

from dataclasses import replace
from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.core.seeds import derive
from svvr.data import read as splits
from svvr.judge import replication
from svvr.learn import train as training
from svvr.run import evaluate as execution
from svvr.run import stage

DEVELOPMENT = Path("data/dev.npz")


def main(params: Params) -> None:
    settings = params.replicate
    development = splits.read(DEVELOPMENT, "train", "validation")
    plain = training.Run(
        seed=0,
        lr=settings.baseline.lr,
        hidden=tuple(params.model.hidden),
        epochs=settings.epochs,
        batch_size=params.training.batch_size,
        device=params.training.device,
    )
    regularized = replace(
        plain, lr=settings.regularized.lr, strength=settings.regularized.strength, penalty="sv_variance"
    )
    rows: dict[str, list[training.Run]] = {name: [] for name in replication.ROWS}
    for index in range(settings.seeds):
        seed = derive("replicate", index)
        trained = replace(plain, seed=seed)
        rows["baseline"].append(trained)
        rows["regularized_fresh"].append(replace(regularized, seed=seed))
        rows["regularized_continued"].append(replace(regularized, seed=seed, start=trained))

    runs = [run for row in rows.values() for run in row]
    work = execution.Work(training.train, training.modules, training.stackable)
    count = stage.Progress("replicate", len(runs))
    with execution.workers() as executor:
        results = execution.evaluate(runs, work, development, executor, stage.cache_folder(), count)
    count.close()
    described = [training.record(run, result) for run, result in zip(runs, results, strict=True)]
    n = settings.seeds
    summaries = [replication.row(name, described[i * n : (i + 1) * n]) for i, name in enumerate(rows)]
    records.write_json(Path("metrics/replicate.json"), {"n_seeds": n, "rows": summaries})


if __name__ == "__main__":
    stage.run("replicate", main, [DEVELOPMENT], Path("params.yaml"))
