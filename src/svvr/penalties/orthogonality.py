"""Soft orthogonality: the squared distance of the smaller Gram matrix from the identity."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return ||W' W - I||_F^2 (...) for weights W of shape (..., m, n), with W W' where m < n.

    In singular values: the sum of (s^2 - 1)^2.

    Source: Bansal et al. 2018 (arXiv 1810.09102), soft orthogonality.
    """
    gram = W @ W.mT if W.shape[-2] < W.shape[-1] else W.mT @ W
    identity = torch.eye(gram.shape[-1], dtype=W.dtype, device=W.device)
    return (gram - identity).square().sum((-2, -1))
