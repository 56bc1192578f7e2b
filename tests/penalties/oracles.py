"""Matrices to compute on, and what a decomposition in float64 says of them."""

import torch
from torch import Tensor


def matrices(*shape: int, seed: int = 0) -> Tensor:
    """Draw standard normal matrices in float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_singular_values(s: Tensor, m: int, n: int) -> Tensor:
    """Draw matrices (K, m, n) in float32 with the singular values s (K, min(m, n))."""
    U, _, Vh = torch.linalg.svd(matrices(len(s), m, n), full_matrices=False)
    return ((U * s[:, None, :]) @ Vh).float()


def polar_factor(W: Tensor) -> Tensor:
    """Return U Vh of W (..., m, n) in float64."""
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    return U @ Vh


def deviation(W: Tensor) -> Tensor:
    """Return W - mean(s) U Vh of W (..., m, n) in float64."""
    return W.double() - torch.linalg.svdvals(W.double()).mean(-1)[..., None, None] * polar_factor(W)


def relative_error(got: Tensor, expected: Tensor) -> float:
    """Return the largest distance of a matrix of a stack from the expected one, over that one's norm."""
    norms = torch.linalg.matrix_norm(got.double() - expected) / torch.linalg.matrix_norm(expected)
    return float(norms.max())
