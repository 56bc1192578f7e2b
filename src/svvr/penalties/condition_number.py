"""Condition number surrogate: s_1^2 / 2 - F^2 / (2 k), 0 where all k singular values are equal and above 0 elsewhere.

Source: Nenov et al. 2024 (arXiv 2410.00169).
"""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return s_1^2 / 2 - F^2 / (2 k) of W (m, n), k = min(m, n); s_1^2 from the smaller Gram matrix."""
    gram = W @ W.mT if W.shape[0] < W.shape[1] else W.mT @ W
    square: Tensor = torch.linalg.eigvalsh(gram)[-1]
    return square / 2 - W.square().sum() / (2 * len(gram))
