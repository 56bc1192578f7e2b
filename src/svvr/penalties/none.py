"""No penalty: 0 for every weight matrix."""

from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return zeros (...) for weights W of shape (..., m, n)."""
    return W.sum((-2, -1)) * 0
