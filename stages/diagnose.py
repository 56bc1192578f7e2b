"""Measure spectra, loss landscape, gradients and calibration of one arm's final runs, on the data loss."""

from svvr.run import lifetime

lifetime.begin("diagnose")

from pathlib import Path

from svvr import summaries
from svvr.core import files
from svvr.core.params import Params
from svvr.data import read
from svvr.judge import schemas
from svvr.measure import records
from svvr.measure.work import WORK
from svvr.run import evaluate, stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")
ARM = stage.arm("diagnose")
WEIGHTS, TRAINED = Path(f"data/weights/{ARM}.npz"), Path(f"metrics/train/{ARM}.json")


def main(params: Params) -> None:
    data = read.splits(DEVELOPMENT, "train") | read.splits(TEST, "test")
    trained = schemas.read(TRAINED, schemas.Training, ARM)["runs"]
    runs, units = records.chosen(trained, files.read_npz(WEIGHTS, "weights"), params.model.hidden, params.diagnose)
    measured = evaluate.compute(f"diagnose@{ARM}", units, WORK, data)
    rows = [records.record(*each, params.diagnose.last_epochs) for each in zip(runs, measured, strict=True)]
    for row in rows:
        if "reason" in row:
            where = f"study {row['study']}, seed {row['seed']}"
            stage.log.info("diagnose@%s: %s: not measured (%s)", ARM, where, row["reason"])
    record = {"arm": ARM, **summaries.of_measurements(rows, records.MEANS), "runs": rows}
    files.write_json(Path(f"metrics/diagnose/{ARM}.json"), record)


if __name__ == "__main__":
    stage.run(f"diagnose@{ARM}", main, [DEVELOPMENT, TEST, WEIGHTS, TRAINED], Path("params.yaml"))
