"""Weigh the arms against each other: effects, intervals and verdicts."""

from svvr.run import lifetime

lifetime.begin("compare")

import sys
from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.judge import contrasts, results, schemas
from svvr.run import stage
from svvr.show import words

METRICS, SUMMARY = Path("metrics"), Path("metrics/summary.json")


def main(params: Params) -> None:
    records = schemas.read_arms(METRICS, params.arms)
    for path in schemas.left_over(METRICS, params.arms):
        stage.log.info("compare: %s belongs to no arm in params.yaml and is left out", path)
    losses = {arm: files.read_npz(Path(f"data/weights/{arm}.npz"), "test_losses")["test_losses"] for arm in params.arms}
    found = contrasts.summarise(params, records, losses)
    summary = words.with_sentences(found, params.compare.contrasts, params.tuning.trials)
    files.write_json(SUMMARY, summary)
    stage.log.info("%s", words.verdict_table(summary))


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        try:
            stage.answer("compare", words.verdict_table(schemas.read(SUMMARY, results.Summary)))
        except files.RecordError as error:
            sys.exit(f"compare: {error}")
    else:
        inputs = [*schemas.paths(METRICS), *Path("data/weights").glob("*.npz")]
        stage.run("compare", main, inputs, Path("params.yaml"))
