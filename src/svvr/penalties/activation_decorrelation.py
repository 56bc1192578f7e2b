"""Decorrelated activations: the squared covariances between the hidden units of a layer, their variances left out."""

from typing import Any

from torch import Tensor


def penalty(network: Any, x: Tensor, y: Tensor) -> Tensor:
    """Return the sum over hidden layers of (||C||_F^2 - ||diag C||^2) / 2 (K,), C the covariance in a batch.

    Args:
        network: K networks, of which the activations (K, B, width) of the hidden layers are read.
        x: (K, B, inputs), not read.
        y: (K, B), not read.

    Source: Cogswell et al. 2016 (arXiv 1511.06068), equation 2 (DeCov).
    """
    total: Tensor = 0 * network.logits.sum((1, 2))
    for activations in network.activations:
        centred = activations - activations.mean(1, keepdim=True)
        covariance = centred.mT @ centred / activations.shape[1]
        squares = covariance.square()
        total = total + (squares.sum((1, 2)) - squares.diagonal(dim1=1, dim2=2).sum(1)) / 2
    return total
