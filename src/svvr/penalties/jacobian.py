"""Jacobian norm: half the mean over a batch of ||d logits / d x||_F^2, how strongly the logits respond to the input.

Source: Hoffman, Roberts & Yaida 2019 (arXiv 1908.02729), equation 4; there by random projections, here exact, as the
product of the weights without the columns of inactive units.
"""

from torch import Tensor

from svvr.penalties import Network


def penalty(network: Network, x: Tensor, y: Tensor) -> Tensor:
    """Return half the mean of ||d logits / d x||_F^2 over the batch."""
    product = network.weights[-1]  # (C, width), from the first step on (B, C, width)
    for weight, activations in zip(network.weights[-2::-1], network.activations[::-1], strict=True):
        active = (activations.detach() > 0).to(weight.dtype)
        product = (product * active[:, None, :]) @ weight
    return product.square().sum() / (2 * len(x))
