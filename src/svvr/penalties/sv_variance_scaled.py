"""Singular value variance times (k - 1) / 2: every layer feels the same pull per unit of distance.

The gradient of the unbiased variance is 2 / (k - 1) (W - mean(s) Q), so a head with k = 10 singular values is pulled 14
times as hard towards its isometry as a 128 x 128 layer. Here the pull is W - mean(s) Q, whatever k.
"""

import torch
from torch import Tensor

from svvr.penalties.helpers.isometry import deviation


def penalty(W: Tensor) -> Tensor:
    """Return half the sum of the singular values' squared deviations from their mean (...), for W (..., m, n)."""
    variance: Tensor = torch.linalg.svdvals(W).var(-1)
    return variance * ((min(W.shape[-2:]) - 1) / 2)


def gradient(W: Tensor) -> Tensor:
    """Return the gradient of `penalty`, W - mean(s) Q (..., m, n)."""
    return deviation(W)
