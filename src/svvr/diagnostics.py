"""What a trained network looks like: spectra, curvature, gradients and calibration, always of the data loss alone."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import linalg
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from svvr.links import MEASURED
from svvr.params import Params
from svvr.records import Arrays, Row
from svvr.seeds import derive
from svvr.training import model

Array = npt.NDArray[Any]

# columns of metrics/diagnose
LINKS = tuple(link.name for link in MEASURED)
OTHERS = ("hessian_top", "calibration_error", "train_loss", "test_loss", "train_test_gap")
SPECTRA = ["singular_values", "initial_singular_values", "variance", "coefficient_of_variation"]
SPECTRA += ["stable_rank", "ln_condition"]
# Far more than Lanczos needs at a sensible tolerance; without a bound, one below float32's noise would run for hours.
MAX_RESTARTS = 200
# Lanczos vectors between restarts. The top eigenvalue stands well apart: ARPACK's 20 overshoot a tolerance of 1e-3.
N_VECTORS = 10


class UnmeasurableError(ValueError):
    """A trained network lacks a figure, such as a dead one whose Hessian is zero."""


@dataclass(frozen=True)
class Measurement:
    """A trained run to measure."""

    seed: int  # the run's, from which its initial weights and the start of Lanczos derive
    weights: npt.NDArray[np.float32] | None  # (P,) at the selected epoch; None if the run failed
    hidden: tuple[int, ...]
    tolerance: float  # relative, of the top Hessian eigenvalue
    test: bool = False  # whether to measure losses and calibration too, which takes the test split

    @classmethod
    def of(cls, params: Params, run: Mapping[str, Any], weights: npt.NDArray[np.float32], test: bool = False) -> Self:
        """Return the measurement of a run, given its row with `seed` and `state`."""
        own = weights if run["state"] == "complete" else None
        return cls(run["seed"], own, params.model.hidden, params.diagnose.tolerance, test)


@dataclass(frozen=True)
class Measured:
    """Figures and spectra by name, in plain types; or the reason why the run could not be measured."""

    figures: dict[str, Any] | None
    reason: str | None = None

    def arrays(self) -> Arrays:
        """Return it as one JSON text, which keeps every bit of a float; NaN is a ValueError."""
        return {"measured": np.array(json.dumps(asdict(self), allow_nan=False))}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Measured":
        """Return what `arrays` was made from."""
        return cls(**json.loads(str(arrays["measured"])))


def measure(units: Sequence[Measurement], data: Arrays) -> list[Measured]:
    """Measure trained runs, on one thread: the last digits of a sum depend on the number of threads.

    Figures are `conditioning`, `smoothness` and `hessian_top` on the train split, SPECTRA by layer;
    with `test` also losses and their gap (nats), and the calibration error on the test split.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)  # BLAS, in Lanczos; not undone, as another thread may still be measuring
    return [_measured(unit, data) for unit in units]


def _measured(unit: Measurement, data: Arrays) -> Measured:
    if unit.weights is None:
        return Measured(None, "the run failed")
    try:
        return Measured(_figures(unit, unit.weights, data))
    except UnmeasurableError as error:
        return Measured(None, str(error))


def _figures(unit: Measurement, weights: Array, data: Arrays) -> dict[str, Any]:
    x, y = data["x_train"], data["y_train"]
    sizes = (x.shape[1], *unit.hidden, int(y.max()) + 1)
    initial = model.initial_weights(sizes, derive("initial_weights", unit.seed)).numpy()
    layers = spectra(weights, initial, sizes)
    multiply = hessian_product(weights, sizes, x, y)
    top = top_eigenvalue(multiply, len(weights), unit.tolerance, derive("hessian_start", unit.seed))
    figures = {
        "conditioning": math.fsum(layers["ln_condition"]) / len(layers["ln_condition"]),
        "smoothness": math.log(top),
        "hessian_top": top,
    }
    if unit.test:
        train_loss, _ = evaluate(weights, sizes, x, y)
        test_loss, probabilities = evaluate(weights, sizes, data["x_test"], data["y_test"])
        figures |= {"train_loss": train_loss, "test_loss": test_loss, "train_test_gap": test_loss - train_loss}
        figures["calibration_error"] = calibration_error(probabilities, data["y_test"])
    for name, value in figures.items():
        if not math.isfinite(value):
            raise UnmeasurableError(f"{name} is {value}, expected a finite number")
    return figures | layers


def spectra(weights: Array, initial: Array, sizes: Sequence[int]) -> dict[str, list[Any]]:
    """Describe the singular values s (descending, k = min(m, n)) of every weight matrix, in float64; SPECTRA, by layer.

    `variance` is unbiased; `coefficient_of_variation` is the population standard deviation over the mean, its square
    k F^2 / nuclear^2 - 1; `stable_rank` is F^2 / s_1^2 (Rudelson and Vershynin 2007); `ln_condition` is ln(s_1 / s_k)
    with s_k at least float64's rank tolerance eps max(m, n) s_1.

    The parameters, trained and initial, are flat (P,); `sizes` are the number of inputs, hidden widths and classes.
    """
    trained, before = (model.layers(torch.tensor(flat, dtype=torch.float64), sizes) for flat in (weights, initial))
    layers = [_spectrum(matrix, start) for (matrix, _), (start, _) in zip(trained, before, strict=True)]
    return {name: [layer[name] for layer in layers] for name in SPECTRA}


def _spectrum(matrix: Tensor, initial: Tensor) -> dict[str, Any]:
    s = torch.linalg.svdvals(matrix).numpy()
    if not s[0] > 0:
        raise UnmeasurableError(f"all weights of a {matrix.shape[0]} x {matrix.shape[1]} layer are zero")
    floor = float(np.finfo(np.float64).eps) * max(matrix.shape) * s[0]
    return {
        "singular_values": s.tolist(),
        "initial_singular_values": torch.linalg.svdvals(initial).tolist(),
        "variance": float(s.var(ddof=1)),
        "coefficient_of_variation": float(s.std() / s.mean()),
        "stable_rank": float(((s / s[0]) ** 2).sum()),
        "ln_condition": math.log(s[0] / max(s[-1], floor)),
    }


def hessian_product(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, dtype: torch.dtype = torch.float32
) -> Callable[[Array], Array]:
    """Return a function from a vector (P,) to its product with the loss's Hessian, float64 (Pearlmutter 1994).

    `dtype` is that of the arithmetic within. The first-order graph is built once.
    """
    flat = torch.tensor(weights, dtype=dtype).requires_grad_()
    loss = functional.cross_entropy(_logits(flat, sizes, x), torch.tensor(y)[None])
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)

    def multiply(vector: Array) -> Array:
        (product,) = torch.autograd.grad(gradient, flat, torch.tensor(vector, dtype=dtype), retain_graph=True)
        return product.double().numpy()

    return multiply


def top_eigenvalue(multiply: Callable[[Array], Array], p: int, tolerance: float, seed: int) -> float:
    """Find the largest (algebraic) eigenvalue of a symmetric (p, p) operator by restarted Lanczos (ARPACK).

    It stops at a relative residual of tolerance; float32 products support about 1e-6. Raises UnmeasurableError without
    convergence, or where the eigenvalue is not above 0.
    """
    operator = linalg.LinearOperator((p, p), matvec=lambda vector: multiply(vector.reshape(-1)), dtype=np.float64)
    rng = np.random.default_rng(seed)
    settings = {"k": 1, "which": "LA", "ncv": min(N_VECTORS, p), "tol": tolerance, "maxiter": MAX_RESTARTS}
    try:
        values, _ = linalg.eigsh(operator, v0=rng.standard_normal(p), rng=rng, **settings)
    except linalg.ArpackError as error:
        raise UnmeasurableError(f"no top Hessian eigenvalue: {type(error).__name__} ({error})") from error
    if not values[0] > 0:
        raise UnmeasurableError(f"the top Hessian eigenvalue is {values[0]}, expected a number above 0")
    return float(values[0])


def evaluate(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> tuple[float, Array]:
    """Return the mean cross-entropy in nats and the class probabilities (N, C), in float64."""
    logits = _logits(torch.tensor(weights, dtype=torch.float64), sizes, x)
    loss = functional.cross_entropy(logits, torch.tensor(y)[None]).item()
    return loss, functional.softmax(logits[0].T, 1).numpy()


def _logits(flat: Tensor, sizes: Sequence[int], x: Array) -> Tensor:
    models = model.stack(flat[None], sizes)
    *_, hidden, _ = model.forward(models, torch.tensor(x, dtype=flat.dtype))
    # again, example before class: the second derivative of the stack's order multiplies two transposed matrices, for
    # which MKL takes ten times as long on AMD
    return functional.linear(hidden, models.weights[-1][0]).mT + models.biases[-1][:, :, None]


def calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Return the expected calibration error in [0, 1] (Guo et al. 2017, equation 3).

    `probabilities` is (N, C), `labels` (N,); a bin of confidence is ((b - 1) / bins, b / bins].
    """
    confidence = probabilities.max(1)
    excess = (probabilities.argmax(1) == labels) - confidence
    # a sum of 1 + 1e-16 still belongs to the last bin
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(number, excess, bins)).sum() / len(labels))


def stability(means: npt.ArrayLike, sds: npt.ArrayLike, last_epochs: int) -> float:
    """Return ln of the coefficient of variation of minibatch gradient norms over the last epochs; lower is more stable.

    Takes each epoch's mean and population standard deviation over its minibatches, (epochs,) both. Raises
    UnmeasurableError where the norms do not vary.
    """
    centre, spread = (np.asarray(each, np.float64)[-last_epochs:] for each in (means, sds))
    variance = float((spread**2).mean() + centre.var())
    if variance == 0:
        raise UnmeasurableError("the gradient norms do not vary")
    return math.log(math.sqrt(variance) / float(centre.mean()))


def links(run: Mapping[str, Any], measured: Measured, last_epochs: int) -> Row:
    """Return a run's three links before generalisation, and the `reason`: null, or why all of them are null.

    `run` has the curves `gradient_norm_mean` and `gradient_norm_sd`, as a row of metrics/train does.
    """
    if measured.figures is None:
        return {**dict.fromkeys(LINKS), "reason": measured.reason}
    try:
        steady = stability(run["gradient_norm_mean"], run["gradient_norm_sd"], last_epochs)
    except UnmeasurableError as error:
        return {**dict.fromkeys(LINKS), "reason": str(error)}
    figures = measured.figures | {"gradient_stability": steady}
    return {**{name: figures[name] for name in LINKS}, "reason": None}


def row(run: Mapping[str, Any], measured: Measured, last_epochs: int) -> Row:
    """Return a run's row of metrics/diagnose from its row of metrics/train."""
    found = links(run, measured, last_epochs)
    reason = found.pop("reason")
    figures = (not reason and measured.figures) or {}
    others = {name: figures.get(name) for name in OTHERS}
    lists = {name: figures.get(name, []) for name in SPECTRA}
    return {"study": run["study"], "seed": run["seed"], **found, **others, "reason": reason, **lists}
