"""Draw the figures from the finished records."""

from pathlib import Path
from typing import Any

from svvr import figures, records, stage
from svvr.params import Params

SUMMARY, DOSE, REPLICATION = (Path("metrics", f"{name}.json") for name in ("summary", "dose_response", "replicate"))


def main(params: Params) -> None:
    tune, train, diagnose = (_gather(folder, params) for folder in ("tune", "train", "diagnose"))
    summary = records.read_json(SUMMARY, "contrasts", "arms")
    drawn = {
        "comparison": figures.comparison(train),
        "search": figures.search(tune, summary),
        "paired": figures.paired(summary),
        "links": figures.links(summary),
        "spectra": figures.spectra(diagnose),
        "dose_response": figures.dose_response(records.read_json(DOSE, "strengths")),
        "replication": figures.replication(records.read_json(REPLICATION, "rows")),
    }
    for name, figure in drawn.items():
        figures.save(figure, Path(f"plots/{name}.png"))


def _gather(folder: str, params: Params) -> dict[str, dict[str, Any]]:
    return {arm: records.read_json(Path("metrics", folder, f"{arm}.json"), "arm") for arm in params.arms}


if __name__ == "__main__":
    stage.run("plot", main, [SUMMARY, DOSE, REPLICATION], Path("params.yaml"))
