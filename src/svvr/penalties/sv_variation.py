"""Singular value variation: the squared coefficient of variation of the singular values, free of scale."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return k F^2 / nuclear^2 - 1 (...) for weights W of shape (..., m, n), k = min(m, n).

    That is the population variance of the singular values over the square of their mean, so scaling W leaves it as it
    is, where `sv_variance` also shrinks W.

    Raises:
        ValueError: where k < 2: a single singular value has no variation.
    """
    k = min(W.shape[-2:])
    if k < 2:
        raise ValueError(f"weights of sv_variation: got shape {tuple(W.shape)}, expected m, n >= 2")
    nuclear: Tensor = torch.linalg.svdvals(W).sum(-1)
    return k * W.square().sum((-2, -1)) / nuclear.square() - 1
