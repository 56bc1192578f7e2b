"""Singular value variance: the unbiased variance of a weight matrix's singular values.

With k = min(m, n), singular values s and the polar factor Q = U Vh,

    Var = (F^2 - nuclear^2 / k) / (k - 1),    dVar/dW = 2 / (k - 1) (W - mean(s) Q),

so a step needs the polar factor alone and never a backward pass through a decomposition. k Var_pop is the squared
distance from W to the nearest scaled partial isometry: the penalty decays W towards that isometry, not towards 0,
and 2 / (k - 1) makes a head with k = 10 feel it 14 times as hard per unit of distance as a 128 x 128 layer.
"""

import math
from bisect import bisect_left
from typing import Any

import torch
from torch import Tensor

SMALL = 16  # singular values: so few cost less in a decomposition of W'W than in many small products
# Beyond, float32 loses the direction of the smallest singular vectors: Frobenius norm of a square W times that of its
# inverse; and the bound on s_1 / s_n of a W (m, n) with m > n that W'W gives, whose condition is the square of W's.
CONDITION_LIMIT, TALL_LIMIT = 1e5, 40.0
# Steps X <- a X + X (b X'X + c (X'X)^2) as (reach, a, b, c), in their order: singular values in [1 / reach, 1] come
# within the reach of the next one, those of the last within 1e-7 of each other.
STEPS = (
    (322.9291, 4.244836441, -12.537430390, 9.292593949),
    (76.07789, 4.204714233, -12.204346908, 8.999632675),
    (18.10255, 4.035124670, -10.862015813, 7.826891143),
    (4.523318, 3.399233575, -6.708194991, 4.308961416),
    (1.467817, 2.267080577, -2.166690437, 0.899609860),
    (1.008655, 1.883098686, -1.266249927, 0.383151242),
)
STEPS_OF_TALL = STEPS[-3:]  # reach all that TALL_LIMIT lets through


def penalty(W: Tensor) -> Tensor:
    """Compute the unbiased variance of the singular values, `torch.var(torch.linalg.svdvals(W))`.

    Args:
        W: (..., m, n), float32 or float64, min(m, n) >= 2.

    Returns:
        (...), of W's dtype; differentiable once. Where a singular value is 0 or repeated, the gradient is one of the
        finite subgradients.

    Raises:
        ValueError: where min(m, n) < 2, or a weight is not finite.
    """
    if W.ndim < 2 or min(W.shape[-2:]) < 2:
        raise ValueError(f"weights of sv_variance: got shape {tuple(W.shape)}, expected (..., m, n) with m, n >= 2")
    if not torch.isfinite(W).all():
        raise ValueError(f"weights of sv_variance: got values that are not finite in {tuple(W.shape)}, expected finite")
    result: Tensor = _Variance.apply(W)  # type: ignore[no-untyped-call]
    return result


def gradient(W: Tensor) -> Tensor:
    """Compute the gradient of `penalty`.

    Args:
        W: (..., m, n), float32 or float64, min(m, n) >= 2. A matrix that is not finite gives NaN, and leaves its
            neighbours in the stack alone.

    Returns:
        (..., m, n), of W's dtype.
    """
    k = min(W.shape[-2:])
    finite = torch.isfinite(W.sum((-2, -1), keepdim=True))
    safe = W if bool(finite.all()) else torch.where(finite, W, 0.0)
    Q = polar_factor(safe)
    mean = (safe * Q).sum((-2, -1), keepdim=True) / k  # trace(Q' W) is the sum of the singular values
    result = torch.addcmul(safe, Q, mean, value=-1).mul_(2 / (k - 1))
    return result if safe is W else torch.where(finite, result, torch.nan)


def polar_factor(W: Tensor) -> Tensor:
    """Compute U Vh of the singular value decomposition W = U diag(s) Vh.

    In float32 by one step of Newton's iteration, and matrix products from there. The step X <- (c X + (c X)^+') / 2,
    with the transposed pseudo-inverse, maps a singular value s of c X to (s + 1/s) / 2 >= 1, and norms bound the
    largest one. The STEPS within whose reach that is bring all of them to 1: each is the odd polynomial of degree 5
    that stays nearest to 1 on what the one before has left, which no composition betters. A matrix that float32 cannot
    invert well enough takes the decomposition, in float64, and so does every matrix in float64.

    Args:
        W: (..., m, n), float32 or float64, finite.

    Returns:
        (..., m, n), of W's dtype, with orthonormal rows or columns, whichever are fewer.

    Source: Higham, Functions of Matrices (SIAM 2008), section 8.6 (Newton's iteration, its scaling c by norms);
        Amsel et al. 2025 (arXiv 2505.16932), theorem 3.1 (the best composition).
    """
    if W.dtype == torch.float64 or W.numel() == 0:
        return _by_svd(W)
    if W.shape[-2] < W.shape[-1]:
        return polar_factor(W.mT).mT
    flat = W.reshape(-1, *W.shape[-2:])
    if W.shape[-1] <= SMALL:
        return _by_eigenvectors(flat).view(W.shape)
    Q = _tall(flat) if W.shape[-2] > W.shape[-1] else _square(flat)
    # a common factor near 1 would weigh most where the singular values are nearly equal
    Q.mul_(math.sqrt(W.shape[-1]) / torch.linalg.matrix_norm(Q, keepdim=True))
    return Q.view(W.shape)


def _tall(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, m, n) with m > n, all matrices at once and by the same steps."""
    gram = torch.bmm(W.mT, W)
    inverse = torch.linalg.inv_ex(gram).inverse
    largest, smallest = torch.linalg.matrix_norm(gram, keepdim=True), torch.linalg.matrix_norm(inverse, keepdim=True)
    condition = (largest * smallest).sqrt()  # at least s_1 / s_n, since |gram|_F >= s_1^2 and |inverse|_F >= s_n^-2
    scale = (smallest / largest) ** 0.25
    spread = condition.sqrt() + condition.rsqrt()  # twice what Newton's step leaves
    X = torch.addcmul(W * (scale / spread), torch.bmm(W, inverse), 1 / (scale * spread))
    for _, a, b, c in STEPS_OF_TALL:
        gram = torch.bmm(X.mT, X)
        X = torch.baddbmm(X, X, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), beta=a)
    lost = ~(condition < TALL_LIMIT).view(-1)  # NaN too
    if lost.any():
        X[lost] = _by_svd(W[lost])
    return X


def _square(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, n, n), one after the other: each stays in a core's cache, by its own steps."""
    inverse = torch.linalg.inv_ex(W).inverse.mT
    norms, inverse_norms = torch.linalg.matrix_norm(W).tolist(), torch.linalg.matrix_norm(inverse).tolist()
    Q = torch.empty_like(W)
    for k, (norm, inverse_norm) in enumerate(zip(norms, inverse_norms, strict=True)):
        well = norm * inverse_norm < CONDITION_LIMIT  # false for NaN
        Q[k] = _by_products(W[k], inverse[k], norm, inverse_norm) if well else _by_svd(W[k])
    return Q


def _by_products(W: Tensor, inverse: Tensor, norm: float, inverse_norm: float) -> Tensor:
    """Compute the polar factor of W (n, n) from its transposed inverse and the Frobenius norms of both."""
    half_scale = 0.5 * math.sqrt(inverse_norm / norm)
    X = torch.mul(W, half_scale).add_(inverse, alpha=0.25 / half_scale)
    gram = torch.mm(X.T, X)
    square = torch.mm(gram, gram)
    excess = max(norm * inverse_norm - len(W), 0) / 2  # the sum of s^2 - 1
    spread = min(math.sqrt(1 + excess), float(torch.linalg.vector_norm(square)) ** 0.25)
    n_steps = 1 + bisect_left([reach for reach, *_ in reversed(STEPS)], spread)
    (_, a, b, c), *others = STEPS[-n_steps:]
    factor = square.mul_(c / spread**5).add_(gram, alpha=b / spread**3)
    other = X
    X = torch.addmm(X, X, factor, beta=a / spread)
    for _, a, b, c in others:
        torch.mm(X.T, X, out=gram)
        torch.addmm(gram, gram, gram, beta=b, alpha=c, out=factor)
        X, other = torch.addmm(X, X, factor, beta=a, out=other), X
    return X


def _by_eigenvectors(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, m, n), n few, as W (W'W)^(-1/2) in float64."""
    exact = W.double()
    values, V = torch.linalg.eigh(exact.mT @ exact)
    Q: Tensor = (exact @ (V * values.rsqrt()[:, None, :]) @ V.mT).to(W.dtype)
    lost = ~(values[:, 0] * CONDITION_LIMIT**2 > values[:, -1])  # NaN too
    if lost.any():
        Q[lost] = _by_svd(W[lost])
    return Q


def _by_svd(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    Q: Tensor = U @ Vh
    return Q.to(W.dtype)


class _Variance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, W: Tensor) -> Tensor:
        slope = gradient(W)
        ctx.save_for_backward(slope)
        # |W - mean(s) Q|^2 is the sum of (s - mean(s))^2, which F^2 - nuclear^2 / k would lose where the s are alike
        value: Tensor = slope.square().sum((-2, -1)) * ((min(W.shape[-2:]) - 1) / 4)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        slope: Tensor = upstream[0][..., None, None] * ctx.saved_tensors[0]
        return slope
