"""Measure all four links against the strength of penalties."""

from svvr.execution import stage

NAME = stage.begin("dose_response")

from svvr import diagnostics, records
from svvr.execution import work
from svvr.params import Params
from svvr.training.run import doses, score_row


def main(params: Params) -> None:
    data, runs = records.read_npz("data/dev.npz") | records.read_npz("data/test.npz"), doses(params)
    with work.session(NAME, 2 * len(runs), params.training.device) as session:
        results = session(runs, work.TRAIN, data)
        rows = [{"penalty": run.penalty} | score_row(run, r.score()) for run, r in zip(runs, results, strict=True)]
        units = [diagnostics.Measurement.of(params, row, r.weights) for row, r in zip(rows, results, strict=True)]
        measured = session(units, work.Work(diagnostics.measure, diagnostics.Measured), data)
    found = zip(rows, results, measured, strict=True)
    rows = [row | diagnostics.links(result.curves, each, params.diagnose.last_epochs) for row, result, each in found]
    records.write_rows("metrics/dose_response.json", stage.report(NAME, rows))


stage.run(NAME, main)
