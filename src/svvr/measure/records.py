"""From the record of trained runs to what is measured of them, and from there to their records."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from svvr.core.files import Arrays, array_hash
from svvr.links import MEASURED
from svvr.measure import gradients
from svvr.measure.network import UnmeasurableError
from svvr.measure.unit import Measured, Measurement

if TYPE_CHECKING:
    from svvr.core.params import Diagnose

Record = Mapping[str, Any]

LINKS = tuple(link.name for link in MEASURED)
MEANS = (*LINKS, "calibration_error", "train_test_gap")  # the figures that are averaged over an arm's runs


def weights_of(runs: Sequence[Record], arrays: Arrays) -> npt.NDArray[np.float32]:
    """Return the weights (runs, P) of all runs of a train record.

    Args:
        runs: of the record, with the hash of their `weights`.
        arrays: `weights` (runs, P) float32, in the record's order.

    Raises:
        ValueError: where they are those of other runs; it names the first.
    """
    weights = arrays["weights"]
    if weights.ndim != 2 or len(weights) != len(runs) or weights.dtype != np.float32:
        raise ValueError(f"weights: got {weights.dtype} {weights.shape}, expected float32 ({len(runs)}, parameters)")
    for run, row in zip(runs, weights, strict=True):
        if array_hash(row) != run["weights"]:
            where = f"study {run['study']}, seed {run['seed']}"
            raise ValueError(f"weights of {where}: got others than the train record's, expected those of one run")
    return weights


def first_seeds(runs: Sequence[Record], n: int) -> list[int]:
    """Return the places of the first n runs of each study, in the order of the record."""
    taken: dict[int, int] = {}
    places = []
    for place, run in enumerate(runs):
        taken[run["study"]] = taken.get(run["study"], 0) + 1
        if taken[run["study"]] <= n:
            places.append(place)
    return places


def chosen(
    runs: Sequence[Record], arrays: Arrays, hidden: Sequence[int], settings: "Diagnose"
) -> tuple[list[Record], list[Measurement]]:
    """Choose the runs of a train record that are measured.

    Args:
        runs: of the record.
        arrays: its weights; see `weights_of`.
        hidden: widths of the hidden layers.
        settings: how many runs of a study, and how precisely.

    Returns:
        The runs, and what is to be measured of each, in the same order.

    Raises:
        ValueError: where the weights are those of other runs.
    """
    weights = weights_of(runs, arrays)
    places = first_seeds(runs, settings.seeds)
    units = [
        Measurement(
            seed=runs[place]["seed"],
            weights=weights[place] if runs[place]["state"] == "complete" else None,
            hidden=tuple(hidden),
            tolerance=settings.tolerance,
            probes=settings.probes,
        )
        for place in places
    ]
    return [runs[place] for place in places], units


def links(run: Record, measured: Measured, last_epochs: int) -> dict[str, Any]:
    """Return a run's links alone.

    Args:
        run: its train record, of which the gradients' curves are read.
        measured: of it.
        last_epochs: over which the gradients count.

    Returns:
        The LINKS; all None, with the `reason`, where the run failed or one cannot be measured.
    """
    found = _figures(run, measured, last_epochs)
    return {**dict.fromkeys(LINKS), **found} if "reason" in found else {name: found[name] for name in LINKS}


def record(run: Record, measured: Measured, last_epochs: int) -> dict[str, Any]:
    """Describe a diagnosed run.

    Args:
        run: its train record.
        measured: of it, with probes.
        last_epochs: over which the gradients count.

    Returns:
        `study`, `seed`, `initial_weights`, the LINKS, `gradient_cosine` (the mean of successive batches' gradients)
        and all that was measured; the averaged figures None, `layers` empty and the `reason`, where the run failed or
        a link cannot be measured.
    """
    key = {name: run[name] for name in ("study", "seed", "initial_weights")}
    found = _figures(run, measured, last_epochs)
    if "reason" in found:
        return {**key, **dict.fromkeys(MEANS), "gradient_cosine": None, "layers": [], **found}
    return {**key, **found}


def _figures(run: Record, measured: Measured, last_epochs: int) -> dict[str, Any]:
    """Join what was measured with the gradients' figures; or return the `reason` alone."""
    if measured.figures is None:
        return {"reason": measured.reason}
    try:
        stability = gradients.stability(run["gradient_norm_mean"], run["gradient_norm_sd"], last_epochs)
    except UnmeasurableError as error:
        return {"reason": str(error)}
    return {
        "conditioning": measured.figures["conditioning"],
        "smoothness": measured.figures["smoothness"],
        "gradient_stability": stability,
        "gradient_cosine": gradients.mean_cosine(run["gradient_cosine"], last_epochs),
        **measured.figures,
    }
