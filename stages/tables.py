"""Write the final runs and the trials of all arms as CSV, for people who open a spreadsheet."""

from svvr.run import lifetime

lifetime.begin("tables")

from pathlib import Path

from svvr import tables
from svvr.core import files
from svvr.core.params import Params
from svvr.judge import schemas
from svvr.run import stage

METRICS = Path("metrics")


def main(params: Params) -> None:
    records = schemas.read_arms(METRICS, params.arms, "tune", "train")
    files.write_bytes(METRICS / "tables/runs.csv", tables.csv(tables.runs(records)))
    files.write_bytes(METRICS / "tables/trials.csv", tables.csv(tables.trials(records)))


if __name__ == "__main__":
    stage.run("tables", main, schemas.paths(METRICS, "tune", "train"), Path("params.yaml"))
