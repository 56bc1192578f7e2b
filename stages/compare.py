"""Weigh the arms against each other: effects, intervals and verdicts."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from svvr import comparison, records, stage
from svvr.params import Params

SUMMARY = Path("metrics/summary.json")


def main(params: Params) -> None:
    tune, train, diagnose = (gather(folder, params) for folder in ("tune", "train", "diagnose"))
    losses = {arm: records.read_npz(Path(f"data/weights/{arm}.npz"), "test_losses")["test_losses"] for arm in train}
    summary = comparison.summarise(params, tune, train, diagnose, losses)
    records.write_json(SUMMARY, summary)
    stage.log.info("%s", comparison.verdict_table(summary))


def gather(folder: str, params: Params) -> dict[str, Mapping[str, Any]]:
    """Read the records of the arms in params.yaml, and name those of arms that are gone."""
    paths = sorted(Path("metrics", folder).glob("*.json"))
    for path in paths:
        if path.stem not in params.arms:
            stage.log.info("compare: %s belongs to no arm in params.yaml and is left out", path)
    return {arm: records.read_json(Path("metrics", folder, f"{arm}.json"), "arm") for arm in params.arms}


if __name__ == "__main__":
    if sys.argv[1:] == ["--show"]:
        sys.stdout.write(comparison.verdict_table(records.read_json(SUMMARY, "contrasts")) + "\n")
    else:
        stage.run("compare", main, [], Path("params.yaml"))
