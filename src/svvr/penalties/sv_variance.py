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

# Frobenius norm of W times that of its inverse: beyond, float32 loses the smallest singular vectors' direction.
CONDITION_LIMIT = 1e5
# Sum of s^2 - 1 at which three Newton-Schulz steps reach float32 precision: s <= 1.14 becomes 1 within 3e-6.
NEAR = 0.3
MAX_STEPS = 10


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

    float64 goes through the decomposition. float32 takes Newton's iteration, on the triangular factor of W where it
    is not square; the few matrices on which that loses precision take the decomposition, in float64.

    Args:
        W: (..., m, n), float32 or float64, finite.

    Returns:
        (..., m, n), of W's dtype, with orthonormal rows or columns, whichever are fewer.
    """
    if W.dtype == torch.float64:
        return _by_svd(W)
    if W.shape[-2] < W.shape[-1]:
        return polar_factor(W.mT).mT
    if W.shape[-2] == W.shape[-1]:
        return _newton(W.reshape(-1, *W.shape[-2:])).view(W.shape)
    factors = torch.linalg.qr(W)
    Q: Tensor = factors.Q @ polar_factor(factors.R)
    return Q


def _newton(W: Tensor) -> Tensor:
    """Iterate X <- (c X + (c X)^-T) / 2 on square W (K, n, n), each matrix for as long as it needs.

    A step maps the singular values of c X from s to (s + 1/s) / 2 >= 1, so the norms of X and its inverse give the
    sum of s^2 - 1 after it: once that is small, three steps of Newton-Schulz, which need no inverse, do the rest.
    The scaling c that equates both norms makes even badly conditioned matrices converge within a few steps.

    Source: Higham, Functions of Matrices (SIAM 2008), section 8.6 (scaling) and 8.3 (Newton-Schulz).
    """
    n = W.shape[-1]
    X, left = W, torch.arange(len(W), device=W.device)
    near = torch.empty_like(W)
    found = torch.zeros(len(W), dtype=torch.bool, device=W.device)
    for _ in range(MAX_STEPS):
        inverse = torch.linalg.inv_ex(X).inverse.mT
        norm, inverse_norm = torch.linalg.matrix_norm(X), torch.linalg.matrix_norm(inverse)
        condition = norm * inverse_norm
        half_scale = 0.5 * (inverse_norm / norm).sqrt()[:, None, None]
        X = torch.addcmul(X * half_scale, inverse, 0.25 / half_scale)
        done = (condition - n) / 2 < NEAR
        near[left[done]], found[left[done]] = X[done], True
        going = ~done & (condition < CONDITION_LIMIT)  # False for NaN too
        if not going.any():
            break
        if not going.all():
            X, left = X[going], left[going]
    for _ in range(3):
        near = torch.baddbmm(near, near, near.mT @ near, beta=1.5, alpha=-0.5)
    if not found.all():
        near[~found] = _by_svd(W[~found].double()).to(W.dtype)
    return near


def _by_svd(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W, full_matrices=False)
    Q: Tensor = U @ Vh
    return Q


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
