"""Measure spectra, loss landscape, gradients and calibration of one arm's final runs, on the data loss."""

from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.data import read as splits
from svvr.judge import schemas
from svvr.measure import unit as diagnosis
from svvr.run import evaluate as execution
from svvr.run import stage

DEVELOPMENT, TEST = Path("data/dev.npz"), Path("data/test.npz")
ARM = stage.arm("diagnose")
WEIGHTS, TRAINED = Path(f"data/weights/{ARM}.npz"), Path(f"metrics/train/{ARM}.json")


def main(params: Params) -> None:
    data = splits.read(DEVELOPMENT, "train") | splits.read(TEST, "test")
    trained = schemas.read(TRAINED, schemas.Training, ARM)["runs"]
    weights = diagnosis.weights_of(trained, records.read_npz(WEIGHTS, "weights"))
    runs = diagnosis.first_seeds(trained, params.diagnose.seeds)
    units = [
        diagnosis.Measurement(
            seed=run["seed"],
            weights=weights[index],
            hidden=tuple(params.model.hidden),
            probes=params.diagnose.probes,
            tolerance=params.diagnose.tolerance,
        )
        for index, run in runs
        if run["state"] == "complete"
    ]
    count = stage.Progress(f"diagnose@{ARM}", len(units))
    with execution.workers() as executor:
        results = execution.evaluate(units, diagnosis.WORK, data, executor, stage.cache_folder(), count)
    count.close()
    measured = {unit.seed: diagnosis.measured(result) for unit, result in zip(units, results, strict=True)}
    rows = [diagnosis.record(run, measured.get(run["seed"]), params.diagnose.last_epochs) for _, run in runs]
    for row in rows:
        if "reason" in row:
            where = f"study {row['study']}, seed {row['seed']}"
            stage.log.info("diagnose@%s: %s: not measured (%s)", ARM, where, row["reason"])
    records.write_json(Path(f"metrics/diagnose/{ARM}.json"), {"arm": ARM, **diagnosis.summary(rows), "runs": rows})


if __name__ == "__main__":
    stage.run(f"diagnose@{ARM}", main, [DEVELOPMENT, TEST, WEIGHTS, TRAINED], Path("params.yaml"))
