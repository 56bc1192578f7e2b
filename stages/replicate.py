"""Repeat the published comparison on many seeds, as its text describes it and as it must have been run."""

from svvr.execution import stage

NAME = stage.begin("replicate")

from svvr import records
from svvr.execution import work
from svvr.params import Params
from svvr.training.run import replication, train_row


def main(params: Params) -> None:
    runs = replication(params) if params.data.name == "mnist1d" else []
    if not runs:
        print(f"{NAME}: left out, since the published comparison is of mnist1d and data.name is {params.data.name}")
    results = work.compute(NAME, [run for _, run in runs], work.TRAIN, records.read_npz("data/dev.npz"))
    columns = ("seed", "initial_weights", "lr", "strength", "state", "validation_loss_curve")
    found = [(name, train_row(0, run, result)) for (name, run), result in zip(runs, results, strict=True)]
    rows = [{"row": name} | {key: row[key] for key in columns} for name, row in found]
    records.write_rows("metrics/replicate.json", rows)


stage.run(NAME, main)
