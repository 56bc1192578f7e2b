"""Singular value variation: the squared coefficient of variation of the singular values, whatever the scale of W."""

import torch
from torch import Tensor

from svvr.polar import deviation


def penalty(W: Tensor) -> Tensor:
    """Return k F^2 / nuclear^2 - 1 of W (m, n), k = min(m, n)."""
    nuclear: Tensor = torch.linalg.svdvals(W).sum()
    return min(W.shape) * W.square().sum() / nuclear.square() - 1


def gradient(W: Tensor) -> Tensor:
    """Return 2 (W - F^2 / (k mean^2) mean Q) / (k mean^2) of W (K, m, n), where <W, W - mean Q> = F^2 - k mean^2."""
    D = deviation(W)
    square = W.square().sum((-2, -1), keepdim=True)
    of_means = square - (W * D).sum((-2, -1), keepdim=True)  # k mean^2
    return 2 / of_means * (W - square / of_means * (W - D))
