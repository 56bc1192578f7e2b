"""The measurement of one trained run as a unit of work."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from svvr.core.files import Arrays
from svvr.core.seeds import derive
from svvr.learn import model
from svvr.measure import gradients, hessian, network, spectrum
from svvr.measure.calibration import calibration_error
from svvr.measure.sharpness import adaptive_sharpness


@dataclass(frozen=True)
class Measurement:
    """What determines the measurement of a trained run, beside the data.

    Attributes:
        seed: the run's, from which its initial weights and the measurement's own streams derive.
        weights: (P,) float32 at the selected epoch; None of a failed run.
        hidden: widths of the hidden layers.
        tolerance: relative, of the top Hessian eigenvalue.
        probes: random vectors of the Hessian trace; 0 measures conditioning and smoothness alone.
    """

    seed: int
    weights: npt.NDArray[np.float32] | None
    hidden: tuple[int, ...]
    tolerance: float
    probes: int = 0


@dataclass(frozen=True)
class Measured:
    """What was measured of a run.

    Attributes:
        figures: by name, in plain types; None where the run cannot be measured.
        reason: why it cannot be measured, in a line; None where it was.
    """

    figures: dict[str, Any] | None
    reason: str | None = None

    def arrays(self) -> Arrays:
        """Return it as one JSON text, in which floats keep every bit."""
        return {"measured": np.array(json.dumps(asdict(self), allow_nan=False))}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Measured":
        """Return what `arrays` was made of."""
        return cls(**json.loads(str(arrays["measured"])))


def measure(units: Sequence[Measurement], data: Arrays) -> list[Measured]:
    """Measure trained runs one by one.

    Their bytes depend on the unit and the data alone: everything runs on one thread, because sums over several follow
    their number.

    Args:
        units: the runs.
        data: `x_train` (N, inputs) float32, `y_train` (N,) int64; and for units with probes the same for `test`.

    Returns:
        For each unit its figures: `conditioning` (the mean over layers of ln(s_1 / s_k)) and `smoothness` (ln of the
        Hessian's top eigenvalue). With probes also `hessian_top`, `hessian_residual`, `hessian_trace`,
        `hessian_trace_se`, `adaptive_sharpness`, `gradient_noise_trace` (all on the train split),
        `calibration_error` (test split), `train_loss`, `test_loss`, `train_test_gap` (test minus train), in nats, and
        `layers` (see `spectrum.spectra`). Or the reason alone, where the run failed, its model lacks one of these
        quantities, or one is not finite.

    Raises:
        ValueError: where a model and the data do not fit each other, or a setting is out of range.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)  # those of BLAS, which Lanczos' vector sums use; for good, as another thread may be measuring
    return [_measured(unit, data) for unit in units]


def _measured(unit: Measurement, data: Arrays) -> Measured:
    if unit.weights is None:
        return Measured(None, "the run failed")
    try:
        return Measured(_figures(unit, unit.weights, data))
    except network.UnmeasurableError as error:
        return Measured(None, str(error))


def _figures(unit: Measurement, weights: npt.NDArray[np.float32], data: Arrays) -> dict[str, Any]:
    x, y = data["x_train"], data["y_train"]
    sizes = (x.shape[1], *unit.hidden, int(y.max()) + 1)
    initial = model.initial_weights(sizes, derive("initial_weights", unit.seed)).numpy()
    layers = spectrum.spectra(weights, initial, sizes)
    top, residual, _ = hessian.top_eigenvalue(weights, sizes, x, y, unit.tolerance, derive("hessian_start", unit.seed))
    figures = {"conditioning": spectrum.conditioning(layers), "smoothness": hessian.smoothness(top)}
    if not unit.probes:
        return _finite(figures)
    trace, error = hessian.trace(weights, sizes, x, y, unit.probes, derive("hessian_probes", unit.seed))
    train_loss, _ = network.evaluate(weights, sizes, x, y)
    test_loss, probabilities = network.evaluate(weights, sizes, data["x_test"], data["y_test"])
    figures |= {
        "hessian_top": top,
        "hessian_residual": residual,
        "hessian_trace": trace,
        "hessian_trace_se": error,
        "adaptive_sharpness": adaptive_sharpness(weights, sizes, x, y),
        "gradient_noise_trace": gradients.noise_trace(weights, sizes, x, y),
        "calibration_error": calibration_error(probabilities, data["y_test"]),
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_test_gap": test_loss - train_loss,
    }
    return {**_finite(figures), "layers": layers}


def _finite(figures: Mapping[str, float]) -> dict[str, float]:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise network.UnmeasurableError(f"{name}: got {value!r}, expected a finite number")
    return dict(figures)
