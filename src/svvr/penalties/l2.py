"""L2: F^2 / 2, half the squared Frobenius norm. Unlike decoupled decay it goes through Adam's scaling.

Source: Krogh & Hertz 1991, A simple weight decay can improve generalization.
"""

from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return F^2 / 2 of W (m, n)."""
    return W.square().sum() / 2


def gradient(W: Tensor) -> Tensor:
    """Return W itself (K, m, n)."""
    return W
