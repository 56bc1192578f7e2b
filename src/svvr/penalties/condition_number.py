"""Condition number surrogate: how far the largest singular value lies above the mean square of all."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return s_1^2 / 2 - F^2 / (2 k) (...) for weights W of shape (..., m, n), k = min(m, n).

    It is 0 where all singular values are equal, and above 0 elsewhere.

    Raises:
        ValueError: where k < 2: a single singular value is always equal to itself.

    Source: Nenov et al. 2024 (arXiv 2410.00169).
    """
    k = min(W.shape[-2:])
    if k < 2:
        raise ValueError(f"weights of condition_number: got shape {tuple(W.shape)}, expected m, n >= 2")
    largest: Tensor = torch.linalg.svdvals(W)[..., 0]
    return largest.square() / 2 - W.square().sum((-2, -1)) / (2 * k)
