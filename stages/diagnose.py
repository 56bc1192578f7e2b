"""Measure spectra, loss landscape, gradients and calibration of one arm's final runs, on the data loss."""

from svvr.execution import stage

NAME = stage.begin("diagnose")

from svvr import diagnostics, records
from svvr.execution import work
from svvr.params import Params


def main(params: Params) -> None:
    arm, data = NAME.partition("@")[2], records.read_npz("data/dev.npz") | records.read_npz("data/test.npz")
    trained = records.read_rows(f"metrics/train/{arm}.json", "study", "state")
    kept = trained.groupby("study", sort=False).head(params.diagnose.seeds)
    weights = records.read_npz(f"data/weights/{arm}.npz", "weights")["weights"][kept.index]
    runs = records.rows_of(kept)
    units = [diagnostics.Measurement.of(params, *each, test=True) for each in zip(runs, weights, strict=True)]
    measured = work.compute(NAME, units, work.Work(diagnostics.measure, diagnostics.Measured), data)
    rows = [diagnostics.row(*each, params.diagnose.last_epochs) for each in zip(runs, measured, strict=True)]
    records.write_rows(f"metrics/diagnose/{arm}.json", stage.report(NAME, rows))


stage.run(NAME, main)
