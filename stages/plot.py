"""Draw the figures, and write the interactive charts' rows, from the finished records."""

from pathlib import Path
from typing import Any

from svvr import charts, figures, records, stage
from svvr.params import Params

SUMMARY, DOSE, REPLICATION = (Path("metrics", f"{name}.json") for name in ("summary", "dose_response", "replicate"))


def main(params: Params) -> None:
    tune, train, diagnose = (_gather(folder, params) for folder in ("tune", "train", "diagnose"))
    summary = records.read_json(SUMMARY, "contrasts", "arms")
    dose, replication = records.read_json(DOSE, "strengths"), records.read_json(REPLICATION, "rows")
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


def _gather(folder: str, params: Params) -> dict[str, dict[str, Any]]:
    return {arm: records.read_json(Path("metrics", folder, f"{arm}.json"), "arm") for arm in params.arms}


if __name__ == "__main__":
    stage.run("plot", main, [SUMMARY, DOSE, REPLICATION], Path("params.yaml"))
