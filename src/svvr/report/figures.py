"""All figures of a folder of metrics."""

from pathlib import Path

from matplotlib.figure import Figure

from svvr import records
from svvr.analysis import dose_response as doses
from svvr.analysis import replication as published
from svvr.analysis import tables
from svvr.params import Params
from svvr.report import budget, comparison, dose_response, forest, links, paired, replication, search, spectra


def draw(params: Params, metrics: Path = Path("metrics")) -> dict[str, Figure]:
    """Return name -> figure."""
    arms, summary, repeated = params.arms, records.read_json(metrics / "summary.json"), tables.replicate(metrics)
    return {
        "forest": forest.draw(summary),
        "comparison": comparison.draw(tables.curves(tables.runs(metrics, arms)), summary),
        "budget": budget.draw(summary),
        "search": search.draw(tables.trials(metrics, arms)),
        "paired": paired.draw(summary),
        "links": links.draw(summary),
        "spectra": spectra.draw(tables.spectra(tables.diagnosed(metrics, arms)), summary),
        "dose_response": dose_response.draw(doses.curves(tables.dose_response(metrics))),
        "replication": replication.draw(repeated, published.summarise(repeated, params)),
    }
