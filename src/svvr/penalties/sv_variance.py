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

from svvr.penalties.helpers.isometry import deviation


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
    if not torch.isfinite(W.sum()) and not torch.isfinite(W).all():  # a sum costs little, and overflows where W is huge
        raise ValueError(f"weights of sv_variance: got values that are not finite in {tuple(W.shape)}, expected finite")
    result: Tensor = _Variance.apply(W)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def gradient(W: Tensor) -> Tensor:
    """Compute the gradient of `penalty`, of W's shape and dtype; W is as there."""
    return deviation(W).mul_(2 / (min(W.shape[-2:]) - 1))


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
