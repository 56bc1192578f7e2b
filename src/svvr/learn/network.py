"""K networks as a penalty of the whole network sees them: weights, biases, and what a batch makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from svvr.learn import model


@dataclass(frozen=True)
class Network:
    """K stacked networks and their answer to a batch; everything is differentiable with respect to the parameters.

    Attributes:
        weights: (K, out, in) of each layer.
        biases: (K, out) of each layer.
        activations: (K, B, width) of each hidden layer, after the ReLU.
        logits: (K, B, C).
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    activations: tuple[Tensor, ...]
    logits: Tensor


def network(flat: Tensor, sizes: Sequence[int], x: Tensor) -> Network:
    """Show parameters flat (K, P) a batch x (K, B, inputs)."""
    models = model.stack(flat, sizes)
    outputs, signal = [], x
    for weight, bias in zip(models.weights, models.biases, strict=True):
        outputs.append(torch.bmm(signal, weight.mT) + bias[:, None, :])
        signal = outputs[-1].relu()
    hidden = tuple(output.relu() for output in outputs[:-1])
    return Network(models.weights, models.biases, hidden, outputs[-1])
