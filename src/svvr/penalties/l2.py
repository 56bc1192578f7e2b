"""L2 on weights: half the squared Frobenius norm. Unlike decoupled decay it goes through Adam's scaling."""

from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return F^2 / 2 (...) for weights W of shape (..., m, n).

    Source: Krogh & Hertz 1991, A simple weight decay can improve generalization.
    """
    return W.square().sum((-2, -1)) / 2
