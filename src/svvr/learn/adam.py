"""Adam and AdamW over a stack of models, each with a learning rate and a decay of its own."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from svvr.penalties.helpers import device

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the defaults of torch.optim.AdamW


@dataclass
class Adam:
    """State of AdamW for K models; Adam where the decay is 0.

    The decay is decoupled and multiplied by the learning rate, and applies to every parameter, biases included, as
    in `torch.optim.AdamW(model.parameters())`.

    Attributes:
        lr: (K, 1) learning rates.
        kept: (K, 1) share of a parameter that one step's decay leaves, 1 - lr * weight_decay; None if all.
        mean: (K, P) running mean of the gradient.
        square: (K, P) running mean of its square.
        scratch: (K, P) working memory.
        n_steps: steps taken; a number on the processor, and a tensor () on an accelerator, where a captured graph may
            take steps that this code does not see.

    Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1; Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2.
    """

    lr: Tensor
    kept: Tensor | None
    mean: Tensor
    square: Tensor
    scratch: Tensor
    n_steps: int | Tensor = 0

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        """Take one step: parameters (K, P) are updated in place, gradient (K, P) is only read."""
        self.n_steps += 1
        correction1, correction2 = _correction(BETA1, self.n_steps), _correction(BETA2, self.n_steps)
        correction2 = correction2.sqrt() if isinstance(correction2, Tensor) else math.sqrt(correction2)
        if self.kept is not None:
            parameters.mul_(self.kept)
        self.mean.lerp_(gradient, 1 - BETA1)
        self.square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        update = torch.sqrt(self.square, out=self.scratch)
        # mean / c1 / (sqrt(square) / c2 + eps), with both corrections pulled out of the tensors
        update.add_(EPSILON * correction2)
        torch.div(self.mean, update, out=update)
        if isinstance(correction1, Tensor):
            parameters.addcmul_(update, (-correction2 / correction1 * self.lr).to(update.dtype))
        else:
            parameters.addcmul_(update, self.lr, value=-correction2 / correction1)


def _correction(beta: float, n_steps: int | Tensor) -> Any:
    return 1 - beta**n_steps if isinstance(n_steps, int) else -torch.expm1(n_steps * math.log(beta))


def adam(parameters: Tensor, lr: Tensor, weight_decay: Tensor) -> Adam:
    """Start the optimizer.

    Args:
        parameters: (K, P), only for shape, dtype and device.
        lr: (K,) learning rates.
        weight_decay: (K,) decoupled decays, 0 for plain Adam.

    Raises:
        ValueError: where lr or weight_decay is not (K,).
    """
    for name, value in (("lr", lr), ("weight_decay", weight_decay)):
        if value.shape != parameters.shape[:1]:
            raise ValueError(f"{name}: got shape {tuple(value.shape)}, expected ({len(parameters)},)")
    column = lr.to(parameters.device, torch.float64)[:, None]
    kept = (1 - column * weight_decay.to(column)[:, None]).to(parameters.dtype) if weight_decay.any() else None
    mean, square, scratch = (torch.zeros_like(parameters) for _ in range(3))
    n_steps = 0 if device.at_hand(parameters) else torch.zeros((), dtype=torch.float64, device=parameters.device)
    return Adam(column.to(parameters.dtype), kept, mean, square, scratch, n_steps)
