"""Compare the arms: effects, intervals and verdicts."""

from svvr.execution import stage

NAME = stage.begin("compare")

from pathlib import Path

from svvr import records
from svvr.analysis import contrasts, tables
from svvr.params import Params
from svvr.report import text


def main(params: Params) -> None:
    metrics, arms = Path("metrics"), list(params.arms)
    for left in sorted({path.stem for path in metrics.glob("*/[!.]*.json")} - set(arms)):
        print(f"compare: {left} is no arm in params.yaml; to remove its records: rm metrics/*/{left}.json")
    trials, runs = tables.trials(metrics, arms), tables.runs(metrics, arms)
    others = tables.design(metrics, arms), tables.diagnosed(metrics, arms), tables.activity(metrics)
    losses = {arm: records.read_npz(f"data/weights/{arm}.npz", "test_losses")["test_losses"] for arm in arms}
    summary = contrasts.summarise(params, trials, runs, *others, losses)
    records.write_tables("metrics/summary.json", {"overall": text.overall(summary, params), **summary})
    records.write_tables("metrics/verdicts.json", text.brief(summary))
    records.write_bytes("metrics/tables/runs.csv", tables.csv(runs))
    records.write_bytes("metrics/tables/trials.csv", tables.csv(trials))


stage.run(NAME, main)
