"""Singular value variance of the hidden layers alone: the head, which `sv_variance` pulls hardest, is left free."""

import torch
from torch import Tensor

from svvr.penalties.helpers.isometry import deviation
from svvr.penalties.helpers.layer import Layer


def penalty(W: Tensor, layer: Layer) -> Tensor:
    """Return the unbiased variance of the singular values (...) of weights W (..., m, n), 0 for the head."""
    return 0 * W.sum((-2, -1)) if layer.is_head else torch.linalg.svdvals(W).var(-1)


def gradient(W: Tensor, layer: Layer) -> Tensor:
    """Return the gradient of `penalty` (..., m, n)."""
    return torch.zeros_like(W) if layer.is_head else deviation(W).mul_(2 / (min(W.shape[-2:]) - 1))
