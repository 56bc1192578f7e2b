"""Singular value variance: Var = (F^2 - nuclear^2 / k) / (k - 1), unbiased, of the k = min(m, n) singular values s.

Its gradient 2 / (k - 1) (W - mean(s) Q) needs the polar factor Q = U Vh alone (docs/protocol.md).
"""

import torch
from torch import Tensor

from svvr.polar import deviation


def penalty(W: Tensor) -> Tensor:
    """Return Var of W (m, n)."""
    return torch.linalg.svdvals(W).var()


def gradient(W: Tensor) -> Tensor:
    """Return 2 / (k - 1) (W - mean(s) Q) of W (K, m, n); finite where singular values are 0 or repeated."""
    return deviation(W).mul_(2 / (min(W.shape[-2:]) - 1))
