"""Soft orthogonality: ||G - I||_F^2 of the smaller Gram matrix G, in singular values the sum of (s^2 - 1)^2.

Source: Bansal et al. 2018 (arXiv 1810.09102), soft orthogonality.
"""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return ||G - I||_F^2 of W (m, n), G = W W' where m < n, else W' W."""
    gram = W @ W.mT if W.shape[0] < W.shape[1] else W.mT @ W
    return (gram - torch.eye(len(gram), dtype=W.dtype, device=W.device)).square().sum()


def gradient(W: Tensor) -> Tensor:
    """Return 4 W (G - I), or 4 (G - I) W, of W (K, m, n)."""
    if W.shape[-2] < W.shape[-1]:
        return gradient(W.mT).mT
    distance = W.mT @ W
    distance.diagonal(dim1=-2, dim2=-1).sub_(1)
    return 4 * W @ distance
