"""K multilayer perceptrons with ReLU, stacked: one tensor a layer, the model's index first.

Shapes: K models, B examples, C classes; layer l has `sizes[l]` inputs and `sizes[l + 1]` outputs. A model's parameters
are a row of a flat (K, P) tensor, layer by layer, weight (out, in) row-major before bias (out,); layers are its views.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_relu_backward = torch.ops.aten.threshold_backward.grad_input  # autograd's own, without a new tensor


@dataclass(frozen=True)
class Stack:
    """Parameters (or gradients) of K models: `flat` (K, P), and views of it for each layer, (K, out, in), (K, out)."""

    flat: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of inputs, then of outputs of every layer."""
        return self.weights[0].shape[2], *(weight.shape[1] for weight in self.weights)


def layers(flat: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """View flat parameters (..., P) as each layer's weight (..., out, in) and bias (..., out); differentiable."""
    shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
    parts = torch.split_with_sizes(flat, [length for m, n in shapes for length in (m * n, m)], -1)
    return [(parts[2 * i].view(*flat.shape[:-1], m, n), parts[2 * i + 1]) for i, (m, n) in enumerate(shapes)]


def stack(flat: Tensor, sizes: Sequence[int]) -> Stack:
    """View a (K, P) tensor as K models; nothing is copied."""
    weights, biases = zip(*layers(flat, sizes), strict=True)
    return Stack(flat, weights, biases)


def copy(flat: Tensor, sizes: Sequence[int]) -> Stack:
    """Return K models with a copy of parameters (K, P), each model starting at a multiple of 64 bytes.

    On some CPUs the last digits of a small matrix product depend on where its matrices lie.
    """
    k, p = flat.shape
    return stack(flat.new_zeros(k, -(-p // 16) * 16)[:, :p].copy_(flat), sizes)


def initial_weights(sizes: Sequence[int], seed: int) -> Tensor:
    """Draw one model's parameters (P,) as torch.nn.Linear does by default: uniform within 1 / sqrt(fan_in)."""
    generator = torch.Generator().manual_seed(seed)
    parts = [(torch.empty((n_in + 1) * n_out), 1 / math.sqrt(n_in)) for n_in, n_out in itertools.pairwise(sizes)]
    return torch.cat([part.uniform_(-bound, bound, generator=generator) for part, bound in parts])


def forward(models: Stack, x: Tensor) -> list[Tensor]:
    """Compute activations at x (K, B, inputs), or (B, inputs) for all models; differentiable, twice too.

    Returns the inputs (K, B, inputs), the hidden activations (K, B, width), and last the logits as (K, C, B): class
    before example, since reductions over a short last axis are slow.
    """
    activations = [x.expand(len(models.flat), *x.shape) if x.ndim == 2 else x]
    for weight, bias in zip(models.weights[:-1], models.biases[:-1], strict=True):
        hidden = torch.bmm(activations[-1], weight.mT)
        activations.append(hidden.add_(bias[:, None, :]).relu_())
    logits = torch.bmm(models.weights[-1], activations[-1].mT)
    activations.append(logits.add_(models.biases[-1][:, :, None]))
    return activations


def backward(models: Stack, activations: Sequence[Tensor], delta: Tensor, gradient: Stack) -> None:
    """Write a loss's gradient from `forward`'s activations and delta (K, C, B), the gradient at the logits."""
    last = len(models.weights) - 1
    torch.bmm(delta, activations[last], out=gradient.weights[last])
    torch.sum(delta, dim=2, out=gradient.biases[last])
    upstream = torch.bmm(delta.mT, models.weights[last])
    for layer in range(last - 1, -1, -1):
        _relu_backward(upstream, activations[layer + 1], 0, grad_input=upstream)
        torch.bmm(upstream.mT, activations[layer], out=gradient.weights[layer])
        torch.sum(upstream, dim=1, out=gradient.biases[layer])
        if layer:
            upstream = torch.bmm(upstream, models.weights[layer])


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return losses (K, B) in nats, and the gradient (K, C, B) of their mean over B, at logits (K, C, B).

    Labels are (K, B) or (B,).
    """
    index = labels.expand(len(logits), labels.shape[-1])[:, None, :]
    log_probabilities = torch.log_softmax(logits, dim=1)
    losses = -log_probabilities.gather(1, index)[:, 0, :]
    delta = log_probabilities.exp_()
    delta.scatter_add_(1, index, torch.full_like(losses, -1.0)[:, None, :])
    return losses, delta.div_(labels.shape[-1])
