"""Singular value variance of the hidden layers: the head, which `sv_variance` penalises hardest, is left free."""

import torch
from torch import Tensor

from svvr.penalties import Layer
from svvr.polar import deviation


def penalty(W: Tensor, layer: Layer) -> Tensor:
    """Return the unbiased variance of the singular values of W (m, n), 0 for the head."""
    return W.new_zeros(()) if layer.is_head else torch.linalg.svdvals(W).var()


def gradient(W: Tensor, layer: Layer) -> Tensor:
    """Return 2 / (k - 1) (W - mean(s) Q) of W (K, m, n), 0 for the head."""
    return torch.zeros_like(W) if layer.is_head else deviation(W).mul_(2 / (min(W.shape[-2:]) - 1))
