"""Spectral norm: half the square of the largest singular value."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return s_1^2 / 2 (...) for weights W of shape (..., m, n).

    Source: Yoshida & Miyato 2017 (arXiv 1705.10941), eq. 3, there with one power iteration, here exactly.
    """
    largest: Tensor = torch.linalg.svdvals(W)[..., 0]
    return largest.square() / 2
