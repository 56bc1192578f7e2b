"""Draw the figures, and write the interactive charts' rows, from the finished records."""

from svvr.run import lifetime

lifetime.begin("plot")

from pathlib import Path

from svvr.core import files
from svvr.core.params import Params
from svvr.judge import results, schemas
from svvr.run import stage
from svvr.show import charts, figures

METRICS = Path("metrics")
SUMMARY, DOSE, REPLICATION = (METRICS / f"{name}.json" for name in ("summary", "dose_response", "replicate"))


def main(params: Params) -> None:
    records = schemas.read_arms(METRICS, params.arms)
    summary, dose = schemas.read(SUMMARY, results.Summary), schemas.read(DOSE, results.DoseResponse)
    replication = schemas.read(REPLICATION, results.Replication)
    for name, figure, rows in (
        ("budget", figures.budget(summary), charts.budget(summary)),
        ("comparison", figures.comparison(records), charts.comparison(records)),
        ("search", figures.search(records, summary), charts.search(records)),
        ("paired", figures.paired(summary), charts.paired(summary)),
        ("links", figures.links(summary), charts.links(summary)),
        ("spectra", figures.spectra(records), charts.spectra(records)),
        ("dose_response", figures.dose_response(dose), charts.dose_response(dose)),
        ("replication", figures.replication(replication), charts.replication(replication)),
    ):
        figures.save(figure, Path(f"plots/{name}.png"))
        files.write_json(Path(f"plots/interactive/{name}.json"), {"rows": rows})


if __name__ == "__main__":
    stage.run("plot", main, [SUMMARY, DOSE, REPLICATION, *schemas.paths(METRICS)], Path("params.yaml"))
