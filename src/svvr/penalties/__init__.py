"""Penalties: one file each, found by name, with a function of ONE matrix or ONE network that returns a scalar.

`penalty(W)` of each weight matrix (m, n), `penalty(W, layer)`, or `penalty(network, x, y)`: see docs/penalties.md.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """A layer's `index`, from 0 at the inputs, and `n_layers` of the network; the last one is the head."""

    index: int
    n_layers: int

    @property
    def is_head(self) -> bool:
        """True for the last layer, whose outputs are the logits."""
        return self.index == self.n_layers - 1


@dataclass(frozen=True)
class Network:
    """One network and its response to a batch, differentiable in the parameters.

    weights (m, n) and biases (m,) by layer, activations (B, width) by hidden layer after the ReLU, logits (B, C).
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activations: tuple[Tensor, ...]
    logits: Tensor
