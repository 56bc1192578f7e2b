"""Spectral norm: s_1^2 / 2, half the square of the largest singular value.

Source: Yoshida & Miyato 2017 (arXiv 1705.10941), equation 3; there by one power iteration, here exact.
"""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return s_1^2 / 2 of W (m, n)."""
    largest: Tensor = torch.linalg.svdvals(W)[0]
    return largest.square() / 2
