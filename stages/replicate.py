"""Repeat the published comparison on many seeds, as its text describes it and as it must have been run."""

from svvr.run import lifetime

lifetime.begin("replicate")

from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.judge import replication
from svvr.learn import work
from svvr.learn.result import record
from svvr.run import evaluate, stage

DATA = Path("data/dev.npz")


def main(params: Params) -> None:
    data = read.splits(DATA, "train", "validation")
    rows = work.replication(params)
    runs = [run for row in rows.values() for run in row]
    results = iter(evaluate.compute("replicate", runs, work.WORK, data))
    published = replication.as_published(params)
    records = [
        replication.row(name, [record(run, next(results)) for run in row], published) for name, row in rows.items()
    ]
    files.write_json(Path("metrics/replicate.json"), {"n_seeds": params.replicate.seeds, "rows": records})


if __name__ == "__main__":
    stage.run("replicate", main, [DATA], Path("params.yaml"))
