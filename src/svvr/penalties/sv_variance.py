"""Singular value variance: the unbiased variance of a weight matrix's singular values.

With k = min(m, n), singular values s and the polar factor Q = U Vh,

    Var = (F^2 - nuclear^2 / k) / (k - 1),    dVar/dW = 2 / (k - 1) (W - mean(s) Q),

so a step needs the polar factor alone and never a backward pass through a decomposition. k Var_pop is the squared
distance from W to the nearest scaled partial isometry: the penalty decays W towards that isometry, not towards 0,
and 2 / (k - 1) makes a head with k = 10 feel it 14 times as hard per unit of distance as a 128 x 128 layer.
"""

from typing import Any

import torch
from torch import Tensor

SMALL = 16  # singular values: so few cost less in a decomposition than in many small products
STACK = 8  # matrices that take the iteration together: no more than a core's cache holds
# Frobenius norm of W times that of its inverse: beyond, float32 loses the smallest singular vectors' direction. Below,
# the spread is at most sqrt(1 + limit / 2) = 224, which the STEPS reach.
CONDITION_LIMIT = 1e5
# Singular values in [1 / NEAR, 1] come to 1 within 2e-8 by one step X <- X (I + E / 2 + 3 E^2 / 8) with E = I - X'X.
NEAR = 1.002
# Steps X <- X (a I + b X'X + c (X'X)^2) as (reach, a, b, c), in their order: singular values in [1 / reach, 1] come
# within the reach of the next one, those of the last within NEAR.
STEPS = (
    (238.8637, 4.240496310, -12.501108758, 9.260612448),
    (56.33209, 4.186244761, -12.053037537, 8.866792776),
    (13.46869, 3.958536409, -10.289753270, 7.331216861),
    (3.451707, 3.169616379, -5.518659220, 3.349042842),
    (1.264356, 2.108025039, -1.761502378, 0.653477338),
)


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

    float64 goes through the decomposition, and so do small matrices, in float64. Larger ones in float32 take an
    iteration, on the triangular factor of W where it is not square.

    Args:
        W: (..., m, n), float32 or float64, finite.

    Returns:
        (..., m, n), of W's dtype, with orthonormal rows or columns, whichever are fewer.
    """
    if W.dtype == torch.float64 or min(W.shape[-2:]) <= SMALL or W.numel() == 0:
        return _by_svd(W)
    if W.shape[-2] < W.shape[-1]:
        return polar_factor(W.mT).mT
    if W.shape[-2] == W.shape[-1]:
        flat = W.reshape(-1, *W.shape[-2:])
        parts = [_by_products(flat[start : start + STACK]) for start in range(0, len(flat), STACK)]
        return torch.cat(parts).view(W.shape)
    factors = torch.linalg.qr(W)
    Q: Tensor = factors.Q @ polar_factor(factors.R)
    return Q


def _by_products(W: Tensor) -> Tensor:
    """Compute the polar factor of square W (K, n, n) float32: one step of Newton's iteration, then products alone.

    Newton's step X <- (c X + (c X)^-T) / 2 maps a singular value s of c X to (s + 1/s) / 2 >= 1. Two bounds say how
    far they spread from there: the sum of s^2 - 1 is known from the norms of W and its inverse, and |X'X|_F^(1/2) is
    the fourth root of the sum of s^4. The smaller one decides how many of the STEPS bring all of them to 1. Each is
    the odd polynomial of degree 5 that stays nearest to 1 on what the one before has left, which no composition
    betters; the last is the Taylor polynomial, exact where all are equal. A matrix that float32 cannot invert well
    enough takes the decomposition, in float64.

    Source: Higham, Functions of Matrices (SIAM 2008), section 8.6 (Newton's iteration, its scaling c by norms);
        Amsel et al. 2025 (arXiv 2505.16932), theorem 3.1 (the best composition).
    """
    inverse = torch.linalg.inv_ex(W).inverse.mT
    norm, inverse_norm = torch.linalg.matrix_norm(W), torch.linalg.matrix_norm(inverse)
    condition = norm * inverse_norm
    half_scale = 0.5 * (inverse_norm / norm).sqrt()[:, None, None]
    X = torch.addcmul(W * half_scale, inverse, 0.25 / half_scale)
    gram = X.mT @ X
    excess = (condition - W.shape[-1]).clamp(min=0) / 2
    spread = torch.minimum((1 + excess).sqrt(), torch.linalg.matrix_norm(gram).sqrt())
    reaches = spread.new_tensor([NEAR, *(reach for reach, *_ in reversed(STEPS))])
    n_steps = torch.bucketize(spread, reaches)
    lost = ~(condition < CONDITION_LIMIT)  # NaN too
    n_steps[lost] = 0
    Q = _converge(X.div_(spread[:, None, None]), gram.div_(spread.square()[:, None, None]), n_steps)
    if lost.any():
        Q[lost] = _by_svd(W[lost])
    return Q


def _converge(X: Tensor, gram: Tensor, n_steps: Tensor) -> Tensor:
    """Take the last n_steps (K,) of STEPS, and then the Taylor step, from X (K, n, n) with its X'X.

    The stack is ordered by n_steps, so that each step takes its leading part and leaves what needs fewer alone.
    """
    n_steps, order = n_steps.sort(descending=True)
    X, gram, needs = X[order], gram[order], n_steps.tolist()
    factor, product = torch.empty_like(X), torch.empty_like(X)
    for left in range(needs[0], 0, -1):
        taken = slice(sum(need >= left for need in needs))
        _, a, b, c = STEPS[-left]
        torch.baddbmm(gram[taken], gram[taken], gram[taken], beta=b, alpha=c, out=factor[taken])
        factor[taken].diagonal(dim1=-2, dim2=-1).add_(a)
        X[taken] = torch.bmm(X[taken], factor[taken], out=product[taken])
        torch.bmm(X[taken].mT, X[taken], out=gram[taken])
    E = gram.neg_()
    E.diagonal(dim1=-2, dim2=-1).add_(1)
    torch.baddbmm(E, E, E, beta=0.5, alpha=0.375, out=factor)
    Q: Tensor = torch.baddbmm(X, X, factor)[order.argsort()]
    return Q


def _by_svd(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    Q: Tensor = U @ Vh
    return Q.to(W.dtype)


class _Variance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, W: Tensor) -> Tensor:
        ctx.save_for_backward(W)
        value: Tensor = torch.linalg.svdvals(W).var(-1)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        slope: Tensor = upstream[0][..., None, None] * gradient(ctx.saved_tensors[0])
        return slope
