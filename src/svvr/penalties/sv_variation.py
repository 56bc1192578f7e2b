"""Singular value variation: the squared coefficient of variation of the singular values, whatever the scale of W."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return k F^2 / nuclear^2 - 1 of W (m, n), k = min(m, n)."""
    nuclear: Tensor = torch.linalg.svdvals(W).sum()
    return min(W.shape) * W.square().sum() / nuclear.square() - 1
