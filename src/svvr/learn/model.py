"""K multilayer perceptrons with ReLU, stacked: one tensor a layer, the model's index first.

Shapes: K models, B examples, C classes; layer l has `sizes[l]` inputs and `sizes[l + 1]` outputs. All parameters of a
model lie in one row of a flat (K, P) tensor, layer by layer, weight (out, in) row-major before bias (out,); the
layers' tensors are views of it, so that an optimizer or a norm sees a single tensor.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_through_relu = torch.ops.aten.threshold_backward.grad_input  # autograd's own, without a new tensor


@dataclass(frozen=True)
class Stack:
    """Parameters (or gradients) of K models.

    Attributes:
        flat: (K, P), the storage of all else.
        weights: a view (K, out, in) for each layer.
        biases: a view (K, out) for each layer.
    """

    flat: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]


def n_parameters(sizes: Sequence[int]) -> int:
    """Return P, the number of parameters of one model with the given layer sizes."""
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(sizes))


def layers(flat: Tensor, sizes: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """View flat parameters (..., P) as each layer's weight (..., out, in) and bias (..., out); nothing is copied.

    Differentiable, since the views are.
    """
    shapes = [(n_out, n_in) for n_in, n_out in itertools.pairwise(sizes)]
    parts = torch.split_with_sizes(flat, [length for m, n in shapes for length in (m * n, m)], -1)
    return [(parts[2 * i].view(*flat.shape[:-1], m, n), parts[2 * i + 1]) for i, (m, n) in enumerate(shapes)]


def stack(flat: Tensor, sizes: Sequence[int]) -> Stack:
    """View a (K, P) tensor as the layers of K models; nothing is copied.

    Raises:
        ValueError: where the tensor is not (K, P) for these sizes.
    """
    if flat.ndim != 2 or flat.shape[1] != n_parameters(sizes):
        raise ValueError(f"flat parameters: got shape {tuple(flat.shape)}, expected (K, {n_parameters(sizes)})")
    parts = layers(flat, sizes)
    return Stack(flat, tuple(weight for weight, _ in parts), tuple(bias for _, bias in parts))


def copy(flat: Tensor, sizes: Sequence[int]) -> Stack:
    """Return K models with a copy of parameters (K, P), every model's beginning at a multiple of 64 bytes.

    On some processors the last digits of a small matrix product depend on where its matrices lie.
    """
    k, p = flat.shape
    return stack(flat.new_zeros(k, -(-p // 16) * 16)[:, :p].copy_(flat), sizes)


def initial_weights(sizes: Sequence[int], seed: int) -> Tensor:
    """Draw one model's initial parameters as torch.nn.Linear does by default.

    Weights and biases of a layer are uniform within 1 / sqrt(fan_in); consumes a generator of its own.

    Returns:
        (P,) float32 on the CPU.
    """
    generator = torch.Generator().manual_seed(seed)
    layers = [
        torch.empty((n_in + 1) * n_out).uniform_(-1 / math.sqrt(n_in), 1 / math.sqrt(n_in), generator=generator)
        for n_in, n_out in itertools.pairwise(sizes)
    ]
    return torch.cat(layers)


def forward(models: Stack, x: Tensor) -> list[Tensor]:
    """Compute the activations of every layer.

    Args:
        models: K models.
        x: (K, B, sizes[0]), or (B, sizes[0]) for the same examples in every model.

    Returns:
        The inputs (K, B, sizes[0]), the hidden activations (K, B, width), and last the logits as (K, C, B): class
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
    """Write the gradient of a loss with respect to all parameters.

    Args:
        models: K models.
        activations: what `forward` returned for them.
        delta: (K, C, B), the loss's gradient with respect to the logits.
        gradient: overwritten.
    """
    last = len(models.weights) - 1
    torch.bmm(delta, activations[last], out=gradient.weights[last])
    torch.sum(delta, dim=2, out=gradient.biases[last])
    upstream = torch.bmm(delta.mT, models.weights[last])
    for layer in range(last - 1, -1, -1):
        _through_relu(upstream, activations[layer + 1], 0, grad_input=upstream)
        torch.bmm(upstream.mT, activations[layer], out=gradient.weights[layer])
        torch.sum(upstream, dim=1, out=gradient.biases[layer])
        if layer:
            upstream = torch.bmm(upstream, models.weights[layer])


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Compute each example's cross-entropy and the gradient of its mean over the batch.

    Args:
        logits: (K, C, B).
        labels: (K, B) or (B,) int64.

    Returns:
        Losses (K, B) in nats, and the gradient (K, C, B) of their mean over B with respect to the logits.
    """
    index = labels.expand(len(logits), labels.shape[-1])[:, None, :]
    log_probabilities = torch.log_softmax(logits, dim=1)
    losses = -log_probabilities.gather(1, index)[:, 0, :]
    delta = log_probabilities.exp_()
    delta.scatter_add_(1, index, torch.full_like(losses, -1.0)[:, None, :])
    return losses, delta.div_(labels.shape[-1])
