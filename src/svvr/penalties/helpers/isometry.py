"""How far a matrix is from the nearest scaled partial isometry, a matrix with equal singular values."""

import torch
from torch import Tensor

from svvr.penalties.helpers import device, lockstep, polar


@torch.no_grad()
def deviation(W: Tensor) -> Tensor:
    """Return W - mean(s) Q of W (..., m, n), with the singular values s and the polar factor Q.

    Its squared Frobenius norm is the sum of (s - mean(s))^2. On an accelerator nothing is read back, and singular
    values near 0 have a share in Q between 0 and 1; see `lockstep`.

    Raises:
        ValueError: where min(m, n) < 2.
    """
    if W.ndim < 2 or min(W.shape[-2:]) < 2:
        raise ValueError(f"weights of sv_variance: got shape {tuple(W.shape)}, expected (..., m, n) with m, n >= 2")
    exact = device.at_hand(W) or W.dtype != torch.float32
    Q = polar.polar_factor(W) if exact else lockstep.polar_factor(W)
    result = W * Q
    mean = result.sum((-2, -1), keepdim=True) / min(W.shape[-2:])  # trace(Q' W) is the sum of the singular values
    return torch.addcmul(W, Q, mean, value=-1, out=result)
