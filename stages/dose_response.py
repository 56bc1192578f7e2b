"""Measure all four links against the penalty's strength, with and without weight decay."""

from svvr.run import lifetime

lifetime.begin("dose_response")

from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.judge import dose
from svvr.learn import work
from svvr.learn.result import dose_record, record
from svvr.measure import records
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK
from svvr.run import evaluate, stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")


def main(params: Params) -> None:
    last_epochs, tolerance = params.diagnose.last_epochs, params.diagnose.tolerance
    data = read.splits(DEVELOPMENT, "train", "validation") | read.splits(TEST, "test")
    runs = work.doses(params)
    with evaluate.session("dose_response", 2 * len(runs)) as session:
        results = session(runs, work.WORK, data)
        kept = [result.weights if result.complete else None for result in results]
        units = [Measurement(run.seed, weights, run.hidden, tolerance) for run, weights in zip(runs, kept, strict=True)]
        measured = session(units, WORK, data)
    rows = [
        dose_record(run, result) | records.links(record(run, result), each, last_epochs)
        for run, result, each in zip(runs, results, measured, strict=True)
    ]
    for row in rows:
        if "reason" in row:
            where = f"strength {row['strength']:g}, weight decay {row['weight_decay']:g}, seed {row['seed']}"
            stage.log.info("dose_response: %s: %s", where, row["reason"])
    files.write_json(Path("metrics/dose_response.json"), dose.record(rows, params.dose_response))


if __name__ == "__main__":
    stage.run("dose_response", main, [DEVELOPMENT, TEST], Path("params.yaml"))
