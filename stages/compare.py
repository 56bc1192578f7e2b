"""Weigh the arms against each other: effects, intervals and verdicts."""

import sys
from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.judge import contrasts as comparison
from svvr.judge import schemas
from svvr.run import stage

SUMMARY = Path("metrics/summary.json")


def main(params: Params) -> None:
    folders = {Path("metrics", name): schema for name, schema in schemas.OF_ARMS.items()}
    found = {path.name for folder in folders for path in folder.glob("*.json")}
    for name in sorted(found - {f"{arm}.json" for arm in params.arms}):
        stage.log.info("compare: metrics/*/%s belongs to no arm in params.yaml and is left out", name)
    tune, train, diagnose = (schemas.read_arms(folder, schema, params.arms) for folder, schema in folders.items())
    losses = {arm: records.read_npz(Path(f"data/weights/{arm}.npz"), "test_losses")["test_losses"] for arm in train}
    summary = comparison.summarise(params, tune, train, diagnose, losses)
    records.write_json(SUMMARY, summary)
    stage.log.info("%s", comparison.verdict_table(summary))


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        try:
            sys.stdout.write(comparison.verdict_table(schemas.read(SUMMARY, schemas.Summary)) + "\n")
        except records.RecordError as error:
            sys.exit(f"compare: {error}")
    else:
        inputs = [path for name in schemas.OF_ARMS for path in Path("metrics", name).glob("*.json")]
        stage.run("compare", main, [*inputs, *Path("data/weights").glob("*.npz")], Path("params.yaml"))
