"""SGD and Adam over a stack of models, each model with a learning rate and a decoupled weight decay of its own."""

import math

import torch
from torch import Tensor

from svvr.polar import on_cpu

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # the defaults of torch.optim.AdamW


class SGD:
    """Gradient descent with momentum as in torch.optim.SGD, with the decay of AdamW: lr * weight_decay of all weights.

    `parameters` (K, P) are read for shape, dtype and device; lr and weight_decay are (K,), the attribute `lr` (K, 1).
    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101).
    """

    def __init__(self, parameters: Tensor, lr: Tensor, weight_decay: Tensor, momentum: float = 0.0) -> None:
        column = lr.to(parameters.device, torch.float64)[:, None]
        kept = (1 - column * weight_decay.to(column)[:, None]).to(parameters.dtype)
        self.lr, self._kept = column.to(parameters.dtype), kept if weight_decay.any() else None
        self._momentum, self._mean = momentum, torch.zeros_like(parameters)

    def step(self, parameters: Tensor, gradient: Tensor) -> None:
        """Take one step: parameters (K, P) are updated in place, gradient (K, P) is only read."""
        if self._kept is not None:
            parameters.mul_(self._kept)
        self._descend(parameters, gradient)

    def _descend(self, parameters: Tensor, gradient: Tensor) -> None:
        self._mean.mul_(self._momentum).add_(gradient)
        parameters.addcmul_(self._mean, self.lr, value=-1)


class Adam(SGD):
    """AdamW as in torch.optim. Source: Kingma & Ba 2015 (arXiv 1412.6980), algorithm 1."""

    def __init__(self, parameters: Tensor, lr: Tensor, weight_decay: Tensor) -> None:
        super().__init__(parameters, lr, weight_decay)
        self._square, self._scratch = torch.zeros_like(parameters), torch.zeros_like(parameters)
        # a replayed CUDA graph takes steps that Python does not see, so there the count is a tensor
        steps = torch.zeros((), dtype=torch.float64, device=parameters.device)
        self._n_steps: int | Tensor = 0 if on_cpu(parameters) else steps

    def _descend(self, parameters: Tensor, gradient: Tensor) -> None:
        self._n_steps += 1
        correction1, correction2 = 1 - BETA1**self._n_steps, 1 - BETA2**self._n_steps
        correction2 = correction2.sqrt() if isinstance(correction2, Tensor) else math.sqrt(correction2)
        self._mean.lerp_(gradient, 1 - BETA1)
        self._square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
        update = torch.sqrt(self._square, out=self._scratch)
        # mean / c1 / (sqrt(square) / c2 + eps), with both corrections pulled out of the tensors
        update.add_(EPSILON * correction2)
        torch.div(self._mean, update, out=update)
        scale = -correction2 / correction1
        if isinstance(scale, Tensor):
            parameters.addcmul_(update, (scale * self.lr).to(update.dtype))
        else:
            parameters.addcmul_(update, self.lr, value=scale)
