"""Retrain each study's winner of one arm on new seeds, and evaluate it on the test split."""

from svvr.execution import stage

NAME = stage.begin("train")

from svvr import records
from svvr.execution import provenance, work, workers
from svvr.params import Params
from svvr.seeds import final_seeds
from svvr.training.run import Run, final_arrays, train_row


def main(params: Params) -> None:
    arm, data = NAME.partition("@")[2], records.read_npz("data/dev.npz") | records.read_npz("data/test.npz")
    tuned = records.read_rows(f"metrics/tune/{arm}.json", "study", "winner")
    winners = records.rows_of(tuned[tuned["winner"]].drop_duplicates("study"))
    plan = [(row, seed) for row in winners for seed in final_seeds(params.seed, row["study"], params.final.seeds)]
    names = params.arms[arm].ranges(params.tuning.space)
    runs = [Run.of_arm(params, arm, {name: row[name] for name in names}, seed) for row, seed in plan]
    results = work.compute(NAME, runs, work.TRAIN, data)
    studies = [row["study"] for row, _ in plan]
    records.write_npz(f"data/weights/{arm}.npz", final_arrays(studies, runs, results))
    records.write_rows(f"metrics/provenance/{arm}.json", [provenance.row(params.training.device, workers.n_workers())])
    rows = [*map(train_row, studies, runs, results)]
    records.write_rows(f"metrics/train/{arm}.json", stage.report(NAME, rows))


stage.run(NAME, main)
