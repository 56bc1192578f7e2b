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

# Below this ratio of the smallest to the largest singular value, the Gram matrix has lost half its float64 digits.
GRAM_LIMIT = 1e-5


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
    result: Tensor = _Variance.apply(W)
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
    finite = torch.isfinite(W).all(-1).all(-1)[..., None, None]
    safe = W if bool(finite.all()) else torch.where(finite, W, 0.0)
    mean, Q = _polar(safe)
    result = torch.sub(W.double(), Q.mul_(mean[..., None, None])).mul_(2 / (k - 1)).to(W.dtype)
    return result if safe is W else torch.where(finite, result, torch.nan)


def _polar(W: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean singular value (...) and the polar factor (..., m, n) in float64.

    A float32 matrix goes through the eigenvectors of its smaller Gram matrix in float64: the vectors V of W'W give
    W V = U diag(s), whose columns are normalised. That squares the condition number, which float64 affords down to
    GRAM_LIMIT; matrices beyond, and float64 ones, take the SVD itself.
    """
    if W.dtype == torch.float64:
        return _polar_by_svd(W)
    wide = W.shape[-2] < W.shape[-1]
    tall = (W.mT if wide else W).double()
    V = torch.linalg.eigh(tall.mT @ tall).eigenvectors
    US = tall @ V
    s = torch.linalg.vector_norm(US, dim=-2)
    ill = s[..., 0] <= GRAM_LIMIT * s[..., -1]  # eigenvalues ascend
    Q = US.div_(s[..., None, :]) @ V.mT
    mean = s.mean(-1)
    if ill.any():
        mean[ill], Q[ill] = _polar_by_svd(tall[ill])
    return mean, Q.mT if wide else Q


def _polar_by_svd(W: Tensor) -> tuple[Tensor, Tensor]:
    U, s, Vh = torch.linalg.svd(W, full_matrices=False)
    return s.mean(-1), U @ Vh


class _Variance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, W: Tensor) -> Tensor:
        ctx.save_for_backward(W)
        return torch.linalg.svdvals(W).var(-1)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        (W,) = ctx.saved_tensors
        return upstream[0][..., None, None] * gradient(W)
