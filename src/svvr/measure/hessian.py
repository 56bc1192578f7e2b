"""The curvature of the data loss: its Hessian's top eigenvalue and trace, from products with vectors."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from scipy.sparse import linalg
from torch import Tensor

from svvr.measure import network
from svvr.measure.network import Array, UnmeasurableError

# Far more than Lanczos needs at a sensible tolerance; without a bound, one below float32's noise would run for hours.
MAX_RESTARTS = 200
# Lanczos vectors between restarts. The top eigenvalue stands well apart: ARPACK's 20 overshoot a tolerance of 1e-3.
N_VECTORS = 10


def product(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, dtype: torch.dtype = torch.float32
) -> Callable[[Tensor], Tensor]:
    """Return a function that multiplies a vector (P,) by the Hessian; the first-order graph is built once.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        dtype: of the products, and of the vectors that they take.

    Raises:
        ValueError: for inputs that do not fit each other.

    Source:
        Pearlmutter 1994.
    """
    flat, features, labels = network.problem(weights, sizes, x, y, dtype)
    loss = network.loss(flat.requires_grad_(), sizes, features, labels)
    (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
    return lambda vector: torch.autograd.grad(gradient, flat, vector, retain_graph=True)[0]


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
        ValueError: for inputs that do not fit each other, or a tolerance that is not above 0; UnmeasurableError where
            ARPACK fails (ArpackNoConvergence after MAX_RESTARTS restarts).
    """
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance: got {tolerance!r}, expected a number above 0 and below 1")
    multiply = product(weights, sizes, x, y, dtype)
    n_products = 0

    def matvec(vector: Array) -> Array:
        nonlocal n_products
        n_products += 1
        return multiply(torch.tensor(vector.reshape(-1), dtype=dtype)).double().numpy()

    value, vector = lanczos(matvec, np.size(weights), tolerance, seed)
    residual = float(np.linalg.norm(matvec(vector) - value * vector))
    return value, residual / max(abs(value), float(np.finfo(np.float64).tiny)), n_products


def lanczos(matvec: Callable[[Array], Array], p: int, tolerance: float, seed: int) -> tuple[float, Array]:
    """Find the largest (algebraic) eigenvalue of a symmetric (p, p) operator.

    Args:
        matvec: from a vector, (p,) or (p, 1), to the operator's product with it (p,); float64.
        p: the operator's size.
        tolerance: relative residual at which to stop.
        seed: of the starting vector.

    Returns:
        The eigenvalue and its unit eigenvector (p,).

    Raises:
        UnmeasurableError: where ARPACK fails.

    Source:
        Lehoucq, Sorensen and Yang 1998 (ARPACK).
    """
    operator = linalg.LinearOperator((p, p), matvec=matvec, dtype=np.float64)
    generator = np.random.default_rng(seed)  # also feeds ARPACK's restarts, which would be random without it
    start = generator.standard_normal(p)
    try:
        values, vectors = linalg.eigsh(
            operator,
            k=1,
            which="LA",
            ncv=min(N_VECTORS, p),
            tol=tolerance,
            v0=start,
            maxiter=MAX_RESTARTS,
            rng=generator,
        )
    except linalg.ArpackError as error:
        raise UnmeasurableError(
            f"top eigenvalue: got {type(error).__name__} ({error}), expected convergence"
        ) from error
    return float(values[0]), vectors[:, 0]


def smoothness(top: float) -> float:
    """Return the log of the top eigenvalue; lower is smoother.

    Raises:
        UnmeasurableError: where it is not above 0.
    """
    if not top > 0:
        raise UnmeasurableError(f"hessian_top: got {top!r}, expected a number above 0, of which smoothness is the log")
    return math.log(top)


def trace(weights: Array, sizes: Sequence[int], x: Array, y: Array, probes: int, seed: int) -> tuple[float, float]:
    """Estimate the trace of the data loss's Hessian from random signs, with float32 products.

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
    multiply = product(weights, sizes, x, y)
    generator = np.random.default_rng(seed)
    estimates = np.empty(probes)
    for number in range(probes):
        signs = torch.from_numpy(generator.choice(np.array([-1, 1], np.float32), np.size(weights)))
        estimates[number] = (signs.double() @ multiply(signs).double()).item()
    return float(estimates.mean()), float(estimates.std(ddof=1) / math.sqrt(probes))
