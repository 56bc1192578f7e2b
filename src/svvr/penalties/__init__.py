"""Penalties: one file each, found by name, with a function of ONE matrix or ONE network that returns a scalar.

    penalty(W)              W (m, n), each weight matrix in turn
    penalty(W, layer)       and its `Layer`
    penalty(network, x, y)  the whole `Network` and its batch, x (B, inputs), y (B,)

Other parameters are hyperparameters, set in params.yaml. `gradient`, with the same ones, supplies a closed form for a
stack W (K, m, n), where a tuned hyperparameter is (K, 1, 1).
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
