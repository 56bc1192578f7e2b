"""Draw the figures, and write the interactive charts' rows, from the finished records."""

from pathlib import Path

from svvr.core import files as records
from svvr.core.params import Params
from svvr.judge import schemas
from svvr.run import stage
from svvr.show import charts, figures

SUMMARY, DOSE, REPLICATION = (Path("metrics", f"{name}.json") for name in ("summary", "dose_response", "replicate"))


def main(params: Params) -> None:
    tune, train, diagnose = (
        schemas.read_arms(Path("metrics", folder), schema, params.arms) for folder, schema in schemas.OF_ARMS.items()
    )
    summary, dose = schemas.read(SUMMARY, schemas.Summary), schemas.read(DOSE, schemas.DoseResponse)
    replication = schemas.read(REPLICATION, schemas.Replication)
    drawn = {
        "comparison": figures.comparison(train),
        "search": figures.search(tune, summary),
        "paired": figures.paired(summary),
        "links": figures.links(summary),
        "spectra": figures.spectra(diagnose),
        "dose_response": figures.dose_response(dose),
        "replication": figures.replication(replication),
    }
    for name, figure in drawn.items():
        figures.save(figure, Path(f"plots/{name}.png"))
    interactive = {
        "comparison": charts.curves(train),
        "search": charts.search(tune),
        "paired": charts.paired(summary),
        "links": charts.links(summary),
        "spectra": charts.spectra(diagnose),
        "dose_response": charts.dose_response(dose),
    }
    for name, rows in interactive.items():
        records.write_json(Path(f"plots/interactive/{name}.json"), {"rows": rows})


if __name__ == "__main__":
    inputs = [path for name in schemas.OF_ARMS for path in Path("metrics", name).glob("*.json")]
    stage.run("plot", main, [SUMMARY, DOSE, REPLICATION, *inputs], Path("params.yaml"))
