"""The measurement of a trained run as a unit of work, and its record."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from svvr.core.files import Arrays, array_hash, finite_or_none
from svvr.core.seeds import derive
from svvr.learn import model
from svvr.measure import diagnostics
from svvr.run.evaluate import Work

LINKS = ("conditioning", "smoothness", "gradient_stability")
MEANS = (*LINKS, "calibration_error", "train_test_gap")


@dataclass(frozen=True)
class Measurement:
    """What determines the measurement of a trained run, beside the data.

    Attributes:
        seed: the run's, from which its initial weights and the measurement's own streams derive.
        weights: (P,) float32 at the selected epoch.
        hidden: widths of the hidden layers.
        tolerance: relative, of the top Hessian eigenvalue.
        probes: random vectors of the Hessian trace; 0 measures conditioning and smoothness alone.
    """

    seed: int
    weights: npt.NDArray[np.float32]
    hidden: tuple[int, ...]
    tolerance: float
    probes: int = 0


def measure(units: Sequence[Measurement], data: Arrays) -> list[Arrays]:
    """Measure runs one by one.

    See `diagnostics.measure` and `diagnostics.links` for what a result holds; it is a `reason` alone where a run's
    model does not have what is measured.
    """
    with threadpool_limits(1):  # Lanczos' vector sums would follow the number of BLAS threads
        return [{"record": np.array(json.dumps(_measure_or_say_why_not(unit, data)))} for unit in units]


def _measure_or_say_why_not(unit: Measurement, data: Arrays) -> dict[str, Any]:
    try:
        return _measure(unit, data)
    except diagnostics.UnmeasurableError as error:
        return {"reason": str(error)}


def _measure(unit: Measurement, data: Arrays) -> dict[str, Any]:
    sizes = (data["x_train"].shape[1], *unit.hidden, int(data["y_train"].max()) + 1)
    initial = model.initial_weights(sizes, derive("initial_weights", unit.seed)).numpy()
    if unit.probes:
        return diagnostics.measure(
            unit.weights, initial, sizes, data, probes=unit.probes, tolerance=unit.tolerance, seed=unit.seed
        )
    x, y = data["x_train"], data["y_train"]
    return dict(diagnostics.links(unit.weights, initial, sizes, x, y, unit.tolerance, unit.seed))


WORK = Work(
    measure,
    modules=lambda unit: ["svvr.measure.unit", "svvr.measure.diagnostics", "svvr.learn.model", "svvr.core.seeds"],
    stackable=lambda unit: 0,
    chunk=1,
)


def measured(result: Arrays) -> dict[str, Any]:
    """Return what a unit measured."""
    record: dict[str, Any] = json.loads(str(result["record"]))
    return record


def first_seeds(runs: Sequence[Mapping[str, Any]], n: int) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the first n runs of each study with their places among all runs."""
    taken: dict[int, int] = {}
    chosen = []
    for index, run in enumerate(runs):
        taken[run["study"]] = taken.get(run["study"], 0) + 1
        if taken[run["study"]] <= n:
            chosen.append((index, run))
    return chosen


def weights_of(runs: Sequence[Mapping[str, Any]], arrays: Arrays) -> npt.NDArray[np.float32]:
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


def gradient_figures(run: Mapping[str, Any], last_epochs: int) -> dict[str, float | None]:
    """Take the figures of the last epochs from a train record: stability (ln CV) and mean cosine of gradients."""
    means, sds, cosines = (
        run[name][-last_epochs:] for name in ("gradient_norm_mean", "gradient_norm_sd", "gradient_cosine")
    )
    known = [cosine for cosine in cosines if cosine is not None]
    return {
        "gradient_stability": finite_or_none(diagnostics.gradient_stability(means, sds, last_epochs)),
        "gradient_cosine": math.fsum(known) / len(known) if known else None,
    }


def figures(run: Mapping[str, Any], measurement: Mapping[str, Any] | None, last_epochs: int) -> dict[str, Any]:
    """Join what was measured (None of a failed run) with the gradient's figures.

    Returns:
        All figures, or the `reason` alone why anything cannot be had.
    """
    if measurement is None:
        return {"reason": "the run failed"}
    if "reason" in measurement:
        return dict(measurement)
    try:
        links = {name: measurement[name] for name in ("conditioning", "smoothness")}
        return {**links, **gradient_figures(run, last_epochs), **measurement}
    except diagnostics.UnmeasurableError as error:
        return {"reason": str(error)}


def record(run: Mapping[str, Any], measurement: Mapping[str, Any] | None, last_epochs: int) -> dict[str, Any]:
    """Describe a diagnosed run; the links of one that failed or cannot be measured are None, with the `reason`."""
    key = {name: run[name] for name in ("study", "seed", "initial_weights")}
    found = figures(run, measurement, last_epochs)
    if "reason" in found:
        return {**key, **dict.fromkeys(MEANS), "gradient_cosine": None, "layers": [], **found}
    return {**key, **found}


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the flat figures: means over the runs that could be measured, None without any."""
    means: dict[str, float | None] = {"n_runs": len(rows)}
    for name in MEANS:
        values = [row[name] for row in rows if row[name] is not None]
        means[name] = math.fsum(values) / len(values) if values else None
    return means
