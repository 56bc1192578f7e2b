"""Log-determinant: the Stein divergence of the smaller Gram matrix G to the identity, (tr G - ln det(G + eps I) - k)/2.

In singular values half the sum of s^2 - ln(s^2 + eps) - 1. Source: Cichocki, Cruces & Amari 2015 (arXiv 1412.7146).
"""

import torch
from torch import Tensor


def penalty(W: Tensor, eps: float = 1e-6) -> Tensor:
    """Return (tr G - ln det(G + eps I) - k) / 2 of W (m, n), k = min(m, n)."""
    squares: Tensor = torch.linalg.svdvals(W).square()
    return (squares - (squares + eps).log() - 1).sum() / 2


def gradient(W: Tensor, eps: float | Tensor = 1e-6) -> Tensor:
    """Return W - (G + eps I)^-1 W of W (K, m, n), in float64 within: G has the square of W's condition number."""
    if W.shape[-2] > W.shape[-1]:
        return gradient(W.mT, eps).mT
    wide = W.double()
    gram = wide @ wide.mT + eps * torch.eye(W.shape[-2], dtype=wide.dtype, device=W.device)
    inverse: Tensor = torch.linalg.solve_ex(gram, wide).result
    return W - inverse.to(W.dtype)
