"""Decorrelated activations: squared covariances of hidden units. Source: DeCov, arXiv 1511.06068, equation 2."""

from torch import Tensor

from svvr.penalties import Network


def penalty(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """Return the sum over hidden layers of (||C||_F^2 - ||diag C||^2) / 2, C the covariance in the batch."""
    total = x.new_zeros(())
    for activations in network.activations:
        centred = activations - activations.mean(0)
        covariance = centred.mT @ centred / len(x)
        total = total + (covariance.square().sum() - covariance.diagonal().square().sum()) / 2
    return total
