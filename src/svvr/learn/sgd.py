"""Stochastic gradient descent with momentum over a stack of models, each with its own learning rate and decay."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class SGD:
    """State of SGD for K models.

    The decay is decoupled and multiplied by the learning rate, as in AdamW: it does not go through the momentum, which
    is where `torch.optim.SGD(weight_decay=...)` differs.

    Attributes:
        lr: (K, 1) learning rates.
        kept: (K, 1) share of a parameter that one step's decay leaves, 1 - lr * weight_decay; None if all.
        momentum: of all models; 0 is plain gradient descent.
        velocity: (K, P) running sum of gradients, each step's weighed by momentum once more.

    Source: Polyak 1964 (momentum), in the form of torch.optim.SGD.
    """

    lr: Tensor
    kept: Tensor | None
    momentum: float
    velocity: Tensor

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        """Take one step: parameters (K, P) are updated in place, gradient (K, P) is only read."""
        if self.kept is not None:
            parameters.mul_(self.kept)
        self.velocity.mul_(self.momentum).add_(gradient)
        parameters.addcmul_(self.velocity, self.lr, value=-1)


def sgd(parameters: Tensor, lr: Tensor, weight_decay: Tensor, momentum: float) -> SGD:
    """Start the optimizer.

    Args:
        parameters: (K, P), only for shape, dtype and device.
        lr: (K,) learning rates.
        weight_decay: (K,) decoupled decays.
        momentum: from 0 to below 1.
    """
    column = lr.to(parameters.device, torch.float64)[:, None]
    kept = (1 - column * weight_decay.to(column)[:, None]).to(parameters.dtype) if weight_decay.any() else None
    return SGD(column.to(parameters.dtype), kept, momentum, torch.zeros_like(parameters))
