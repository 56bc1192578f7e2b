"""Jacobian norm: how strongly the logits answer to a small change of the input."""

from typing import Any

from torch import Tensor


def penalty(network: Any, x: Tensor, y: Tensor) -> Tensor:
    """Return half the mean over a batch of ||d logits / d x||_F^2 (K,).

    Exact, where the source draws random projections: between two ReLUs the network is linear, so that the Jacobian is
    the product of the weights with the columns of inactive units taken out.

    Args:
        network: K networks, of which weights and activations are read.
        x: (K, B, inputs), not read.
        y: (K, B), not read.

    Source: Hoffman, Roberts & Yaida 2019 (arXiv 1908.02729), equation 4.
    """
    product = network.weights[-1][:, None]  # (K, 1, C, width)
    for weight, activations in zip(network.weights[-2::-1], network.activations[::-1], strict=True):
        active = (activations.detach() > 0).to(weight.dtype)[:, :, None]  # (K, B, 1, width)
        product = (product * active) @ weight[:, None]
    squares: Tensor = product.square().sum((2, 3))
    return squares.mean(1) / 2
