"""What a trained model looks like at its weights: spectrum, curvature, sharpness, gradient noise, calibration.

Everything is measured on the data loss, mean cross-entropy in nats, and never through a penalty. Models are ReLU
networks given as flat parameters: for each layer its weight (out, in) row by row, then its bias (out,).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import linalg
from torch import Tensor
from torch.nn import functional

from svvr.core.seeds import derive

Array = npt.NDArray[Any]


class UnmeasurableError(ValueError):
    """A trained model without the quantity asked for, such as a dead network whose Hessian is zero."""


# Far more than Lanczos needs at a sensible tolerance; without a bound, one below float32's noise would run for hours.
MAX_RESTARTS = 200


def spectrum(weights: Array, initial: Array, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Describe the singular values of every weight matrix, in float64.

    Args:
        weights: (P,) flat parameters.
        initial: (P,) flat parameters before training.
        sizes: number of inputs, hidden widths and classes.

    Returns:
        For each layer, from 1, with k = min(m, n) singular values s: `layer`, `m` (outputs), `n` (inputs),
        `singular_values` and `initial_singular_values` (k floats each, descending), their unbiased `variance`,
        `coefficient_of_variation` (population standard deviation / mean; its square is k F^2 / nuclear^2 - 1 with
        the Frobenius norm F), `stable_rank` F^2 / s_1^2, and `ln_condition` ln(s_1 / s_k). In the last, s_k is held
        at or above float64's rank tolerance eps max(m, n) s_1, so that a matrix without full rank has a finite one.

    Raises:
        ValueError: where parameters do not fit the sizes or are not finite, where a layer has one singular value
            only, or where a matrix is zero.

    Source:
        Rudelson and Vershynin 2007 (stable rank); Press et al., Numerical Recipes (rank tolerance).
    """
    torch.set_num_threads(1)
    pairs = zip(_matrices("weights", weights, sizes), _matrices("initial", initial, sizes), strict=True)
    return [_layer(number, matrix, before) for number, (matrix, before) in enumerate(pairs, 1)]


def _layer(number: int, matrix: Tensor, before: Tensor) -> dict[str, Any]:
    m, n = matrix.shape
    values = torch.linalg.svdvals(matrix).numpy()
    if len(values) < 2:
        raise ValueError(f"singular values of layer {number}: got {len(values)}, expected at least 2")
    if not values[0] > 0:
        raise UnmeasurableError(f"weights of layer {number}: got all zeros, expected a matrix of rank 1 or more")
    floor = float(np.finfo(np.float64).eps) * max(m, n) * values[0]
    return {
        "layer": number,
        "m": m,
        "n": n,
        "singular_values": values.tolist(),
        "initial_singular_values": torch.linalg.svdvals(before).tolist(),
        "variance": float(values.var(ddof=1)),
        "coefficient_of_variation": float(values.std() / values.mean()),
        "stable_rank": float(((values / values[0]) ** 2).sum()),
        "ln_condition": math.log(values[0] / max(values[-1], floor)),
    }


def top_eigenvalue(
    weights: Array,
    sizes: Sequence[int],
    x: Array,
    y: Array,
    tolerance: float,
    seed: int,
    dtype: torch.dtype = torch.float32,
) -> tuple[float, float, int]:
    """Find the largest (algebraic) eigenvalue of the data loss's Hessian by restarted Lanczos.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        tolerance: relative residual at which to stop, above 0; float32 products support about 1e-6.
        seed: of the starting vector.
        dtype: of the Hessian-vector products; the Lanczos vectors are float64.

    Returns:
        The eigenvalue (nats per squared unit of weight), the relative residual |H v - value v| / |value| as
        recomputed from the eigenvector, and the number of Hessian-vector products.

    Raises:
        ValueError: for inputs that do not fit each other, a tolerance that is not above 0, or where ARPACK fails
            (ArpackNoConvergence after MAX_RESTARTS restarts).

    Source:
        Pearlmutter 1994 (exact products with the Hessian); Lehoucq, Sorensen and Yang 1998 (ARPACK).
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: got {tolerance!r}, expected a number above 0 and below 1")
    product = _hessian_product(weights, sizes, x, y, dtype)
    n_products = 0

    def matvec(vector: Array) -> Array:
        nonlocal n_products
        n_products += 1
        return product(torch.tensor(vector.reshape(-1), dtype=dtype)).double().numpy()

    value, vector = _lanczos(matvec, np.size(weights), tolerance, seed)
    residual = float(np.linalg.norm(matvec(vector) - value * vector))
    return value, residual / max(abs(value), float(np.finfo(np.float64).tiny)), n_products


def _lanczos(matvec: Callable[[Array], Array], p: int, tolerance: float, seed: int) -> tuple[float, Array]:
    """Return the largest eigenvalue of a symmetric (p, p) operator and its unit eigenvector (p,)."""
    operator = linalg.LinearOperator((p, p), matvec=matvec, dtype=np.float64)
    generator = np.random.default_rng(seed)  # also feeds ARPACK's restarts, which would be random without it
    start = generator.standard_normal(p)
    try:
        values, vectors = linalg.eigsh(
            operator, k=1, which="LA", tol=tolerance, v0=start, maxiter=MAX_RESTARTS, rng=generator
        )
    except linalg.ArpackError as error:
        raise UnmeasurableError(
            f"top eigenvalue: got {type(error).__name__} ({error}), expected convergence"
        ) from error
    return float(values[0]), vectors[:, 0]


def hessian_trace(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, probes: int, seed: int
) -> tuple[float, float]:
    """Estimate the trace of the data loss's Hessian from random signs.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        probes: number of sign vectors, at least 2.
        seed: of the signs.

    Returns:
        The mean of v' H v over the probes (nats per squared unit of weight) and its standard error.

    Raises:
        ValueError: for inputs that do not fit each other, or fewer than 2 probes.

    Source:
        Hutchinson 1990.
    """
    if probes < 2:
        raise ValueError(f"probes: got {probes}, expected at least 2")
    product = _hessian_product(weights, sizes, x, y, torch.float32)
    generator = np.random.default_rng(seed)
    estimates = np.empty(probes)
    for number in range(probes):
        signs = torch.from_numpy(generator.choice(np.array([-1, 1], np.float32), np.size(weights)))
        estimates[number] = (signs.double() @ product(signs).double()).item()
    return float(estimates.mean()), float(estimates.std(ddof=1) / math.sqrt(probes))


def adaptive_sharpness(weights: Array, sizes: Sequence[int], x: Array, y: Array, radius: float = 0.5) -> float:
    """Measure how much the loss rises over one ascent step that is scaled by each parameter's size.

    The step is eps = radius w^2 g / |w g| with the gradient g, elementwise and over all parameters, in float64.
    Rescaling a ReLU layer and undoing it in the next leaves the result as it was.

    Args:
        weights: (P,) flat parameters w.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        radius: length of the step in units of each parameter's size, above 0.

    Returns:
        L(w + eps) - L(w) in nats; 0 where every w g is 0.

    Raises:
        ValueError: for inputs that do not fit each other, or a radius that is not above 0.

    Source:
        Kwon et al. 2021, equations 4 and 8 (ASAM), with the normalisation |w| and no term added to it.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise ValueError(f"radius: got {radius!r}, expected a finite number above 0")
    flat, features, labels = _problem(weights, sizes, x, y, torch.float64)
    loss = _loss(flat.requires_grad_(), sizes, features, labels)
    (gradient,) = torch.autograd.grad(loss, flat)
    with torch.no_grad():
        scaled = flat * gradient
        norm = torch.linalg.vector_norm(scaled)
        if norm == 0:
            return 0.0
        return float(_loss(flat + radius * flat * scaled / norm, sizes, features, labels) - loss)


def gradient_noise(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> float:
    """Return the trace of the covariance of single examples' gradients, in float64.

    A dense layer's gradient for one example is the outer product of its output's gradient d with its input a, so
    that its squared norm with the bias is |d|^2 (|a|^2 + 1) and no example's gradient is ever formed.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.

    Returns:
        mean_i |g_i|^2 - |mean_i g_i|^2, at least 0 (squared nats per squared unit of weight).

    Raises:
        ValueError: for inputs that do not fit each other.

    Source:
        Goodfellow 2015 (per-example gradient norms); McCandlish et al. 2018, equation 2.9 (noise scale).
    """
    flat, features, labels = _problem(weights, sizes, x, y, torch.float64)
    inputs, outputs = _forward(flat.requires_grad_(), sizes, features)
    deltas = torch.autograd.grad(functional.cross_entropy(outputs[-1], labels, reduction="sum"), outputs)
    square_of_norm = norm_of_mean = 0.0
    with torch.no_grad():
        for delta, activation in zip(deltas, inputs, strict=True):
            square_of_norm += ((delta**2).sum(1) * ((activation**2).sum(1) + 1)).mean().item()
            mean = (delta.T @ activation / len(labels), delta.mean(0))
            norm_of_mean += sum((part**2).sum().item() for part in mean)
    return max(square_of_norm - norm_of_mean, 0.0)


def gradient_stability(means: npt.ArrayLike, sds: npt.ArrayLike, last_epochs: int) -> float:
    """Return the log of the coefficient of variation of minibatch gradient norms over the last epochs.

    Args:
        means: (epochs,) mean of the gradient norm over each epoch's minibatches.
        sds: (epochs,) population standard deviation of the same; every epoch has equally many minibatches.
        last_epochs: how many epochs count, from the last; all where there are fewer.

    Returns:
        ln(sqrt(mean(sd^2) + var(means)) / mean(means)); lower is more stable.

    Raises:
        ValueError: without epochs, for lists of unequal length, values that are not finite, or a negative one;
            UnmeasurableError for norms that do not vary at all.
    """
    centre, spread = np.asarray(means, np.float64), np.asarray(sds, np.float64)
    if centre.ndim != 1 or centre.shape != spread.shape or centre.size == 0:
        raise ValueError(f"gradient norms: got shapes {centre.shape} and {spread.shape}, expected (epochs,) twice")
    if last_epochs < 1:
        raise ValueError(f"last_epochs: got {last_epochs}, expected at least 1")
    centre, spread = centre[-last_epochs:], spread[-last_epochs:]
    if not (np.isfinite(centre).all() and (centre >= 0).all()):
        raise ValueError(f"mean gradient norms: got {centre.tolist()}, expected finite numbers of 0 or more")
    if not (np.isfinite(spread).all() and (spread >= 0).all()):
        raise ValueError(f"gradient norm deviations: got {spread.tolist()}, expected finite numbers of 0 or more")
    variance = float((spread**2).mean() + centre.var())
    if variance == 0 or centre.mean() == 0:
        raise UnmeasurableError("gradient norms: got norms that do not vary, expected a deviation above 0")
    return math.log(math.sqrt(variance) / float(centre.mean()))


def calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width.

    Args:
        probabilities: (N, C), rows that sum to 1.
        labels: (N,) integers in [0, C).
        bins: number of bins of confidence, ((b - 1) / bins, b / bins] each.

    Returns:
        sum over bins of their share of examples times |accuracy - mean confidence|, in [0, 1].

    Raises:
        ValueError: for shapes or labels that do not fit, rows that are no probabilities, or fewer than 1 bin.

    Source:
        Guo et al. 2017, equation 3.
    """
    table, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if bins < 1:
        raise ValueError(f"bins: got {bins}, expected at least 1")
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"probabilities: got shape {table.shape}, expected (N, C) with N and C above 0")
    _check_labels("labels", truth, *table.shape)
    if not ((table >= 0).all() and np.allclose(table.sum(1), 1, rtol=0, atol=1e-4)):
        raise ValueError("probabilities: got rows that are no distributions, expected 0 or more with a sum of 1")
    confidence = table.max(1)
    excess = (table.argmax(1) == truth) - confidence
    # A bin is closed above; a sum of 1 + 1e-16 still belongs to the last.
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(number, excess, bins)).sum() / len(truth))


def links(
    weights: Array, initial: Array, sizes: Sequence[int], x_train: Array, y_train: Array, tolerance: float, seed: int
) -> dict[str, float]:
    """Measure conditioning and smoothness alone, the same values as `measure` gives.

    Args:
        weights: (P,) flat parameters.
        initial: (P,) flat parameters before training.
        sizes: number of inputs, hidden widths and classes.
        x_train: (N, sizes[0]) features.
        y_train: (N,) labels.
        tolerance: relative residual of the eigenvalue.
        seed: the run's, from which the starting vector's stream is derived.

    Returns:
        `conditioning`, the mean over layers of ln(s_1 / s_k), and `smoothness`, ln of the Hessian's top eigenvalue.

    Raises:
        ValueError: as `spectrum` and `top_eigenvalue` do, or where the eigenvalue is not above 0.
    """
    layers = spectrum(weights, initial, sizes)
    top, _, _ = top_eigenvalue(weights, sizes, x_train, y_train, tolerance, derive("hessian_start", seed))
    return _links(layers, top)


def _links(layers: Sequence[Mapping[str, Any]], top: float) -> dict[str, float]:
    if not top > 0:
        raise UnmeasurableError(f"hessian_top: got {top!r}, expected a number above 0, of which smoothness is the log")
    return {
        "conditioning": math.fsum(layer["ln_condition"] for layer in layers) / len(layers),
        "smoothness": math.log(top),
    }


def measure(
    weights: Array,
    initial: Array,
    sizes: Sequence[int],
    data: Mapping[str, Array],
    *,
    probes: int,
    tolerance: float,
    seed: int,
) -> dict[str, Any]:
    """Measure everything that this module knows about one trained model.

    Args:
        weights: (P,) flat parameters.
        initial: (P,) flat parameters before training.
        sizes: number of inputs, hidden widths and classes.
        data: `x_train`, `y_train`, `x_test`, `y_test`, shaped as in `links`.
        probes: sign vectors for the Hessian's trace.
        tolerance: relative residual of the Hessian's top eigenvalue.
        seed: the run's, from which the streams of starting vector and signs are derived.

    Returns:
        `conditioning`, `smoothness` (see `links`), `layers` (see `spectrum`), `hessian_top`, `hessian_residual`,
        `hessian_trace`, `hessian_trace_se`, `adaptive_sharpness`, `gradient_noise_trace` (all on the train split),
        `calibration_error` (test split), `train_loss`, `test_loss` and `train_test_gap`, test minus train, in nats.

    Raises:
        ValueError: for inputs that do not fit each other; UnmeasurableError naming the quantity that is not finite, or
            that this model does not have.
    """
    x, y = data["x_train"], data["y_train"]
    layers = spectrum(weights, initial, sizes)
    top, residual, _ = top_eigenvalue(weights, sizes, x, y, tolerance, derive("hessian_start", seed))
    trace, error = hessian_trace(weights, sizes, x, y, probes, derive("hessian_probes", seed))
    train_loss, _ = _evaluate(weights, sizes, x, y)
    test_loss, probabilities = _evaluate(weights, sizes, data["x_test"], data["y_test"])
    figures = {
        **_links(layers, top),
        "hessian_top": top,
        "hessian_residual": residual,
        "hessian_trace": trace,
        "hessian_trace_se": error,
        "adaptive_sharpness": adaptive_sharpness(weights, sizes, x, y),
        "gradient_noise_trace": gradient_noise(weights, sizes, x, y),
        "calibration_error": calibration_error(probabilities, data["y_test"]),
        "train_loss": train_loss,
        "test_loss": test_loss,
        "train_test_gap": test_loss - train_loss,
    }
    _check_finite(figures)
    return {**figures, "layers": layers}


def _check_finite(figures: Mapping[str, float]) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            raise UnmeasurableError(f"{name}: got {value!r}, expected a finite number")


def _evaluate(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> tuple[float, Array]:
    """Return the mean loss in nats and the (N, C) probabilities, in float64."""
    flat, features, labels = _problem(weights, sizes, x, y, torch.float64)
    logits = _forward(flat, sizes, features)[1][-1]
    return functional.cross_entropy(logits, labels).item(), functional.softmax(logits, 1).numpy()


def _hessian_product(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, dtype: torch.dtype
) -> Callable[[Tensor], Tensor]:
    """Return a function that multiplies a (P,) vector by the Hessian; the first-order graph is built once."""
    flat, features, labels = _problem(weights, sizes, x, y, dtype)
    loss = _loss(flat.requires_grad_(), sizes, features, labels)
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
    return lambda vector: torch.autograd.grad(gradient, flat, vector, retain_graph=True)[0]


def _loss(flat: Tensor, sizes: Sequence[int], x: Tensor, y: Tensor) -> Tensor:
    return functional.cross_entropy(_forward(flat, sizes, x)[1][-1], y)


def _forward(flat: Tensor, sizes: Sequence[int], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return every layer's input (N, in) and output (N, out) before the ReLU."""
    inputs, outputs = [x], list[Tensor]()
    for weight, bias in _layers(flat, sizes):
        if outputs:
            inputs.append(functional.relu(outputs[-1]))
        outputs.append(functional.linear(inputs[-1], weight, bias))
    return inputs, outputs


def _layers(flat: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Split flat parameters into views: each layer's weight (out, in) and bias (out,)."""
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    parts = torch.split_with_sizes(flat, [size for m, n in shapes for size in (m * n, m)])
    return [(weight.view(m, n), bias) for (m, n), weight, bias in zip(shapes, parts[::2], parts[1::2], strict=True)]


def _matrices(name: str, weights: Array, sizes: Sequence[int]) -> list[Tensor]:
    return [weight for weight, _ in _layers(_flat(name, weights, sizes, torch.float64), sizes)]


def _flat(name: str, weights: Array, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes: got {tuple(sizes)}, expected two or more positive layer sizes")
    n = sum(m * (n + 1) for m, n in zip(sizes[1:], sizes[:-1], strict=True))
    if np.shape(weights) != (n,):
        raise ValueError(f"{name}: got shape {np.shape(weights)}, expected ({n},) for layer sizes {tuple(sizes)}")
    if not np.isfinite(weights).all():
        raise ValueError(f"{name}: got values that are not finite, expected finite parameters")
    return torch.tensor(weights, dtype=dtype)


def _problem(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Check a model against its data and return both as tensors."""
    torch.set_num_threads(1)  # sums then run in the same order on every machine
    flat = _flat("weights", weights, sizes, dtype)
    if np.ndim(x) != 2 or np.shape(x)[1] != sizes[0] or len(x) == 0:
        raise ValueError(f"x: got shape {np.shape(x)}, expected (N, {sizes[0]}) with N above 0")
    _check_labels("y", y, len(x), sizes[-1])
    return flat, torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=torch.int64)


def _check_labels(name: str, labels: Array, n: int, n_classes: int) -> None:
    if np.shape(labels) != (n,) or not np.issubdtype(np.asarray(labels).dtype, np.integer):
        raise ValueError(f"{name}: got {np.asarray(labels).dtype} {np.shape(labels)}, expected integers ({n},)")
    if np.min(labels) < 0 or np.max(labels) >= n_classes:
        raise ValueError(f"{name}: got labels {np.min(labels)} to {np.max(labels)}, expected 0 to {n_classes - 1}")
