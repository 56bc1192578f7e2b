"""Small problems, and a network written out by hand: independent of the package's own layout and loss."""

import itertools
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from svvr.core.files import Arrays
from svvr.measure.unit import Measurement

Array = npt.NDArray[Any]
Flat = TypeVar("Flat", Array, Tensor)

SIZES = (4, 5, 3)
P = 4 * 5 + 5 + 5 * 3 + 3


def small(sizes: Sequence[int] = SIZES, n: int = 60, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return weights, initial weights, features and labels of a small random problem."""
    generator = np.random.default_rng(seed)
    p = sum(m * (n_in + 1) for n_in, m in itertools.pairwise(sizes))
    weights, initial = generator.normal(0, 0.7, (2, p)).astype(np.float32)
    x = generator.normal(size=(n, sizes[0])).astype(np.float32)
    return weights, initial, x, generator.integers(0, sizes[-1], n)


def split(flat: Flat, sizes: Sequence[int]) -> list[tuple[Flat, Flat]]:
    """Cut flat parameters into each layer's weight and bias."""
    layers, at = [], 0
    for n_in, m in itertools.pairwise(sizes):
        layers.append((flat[at : at + m * n_in].reshape(m, n_in), flat[at + m * n_in : at + m * n_in + m]))
        at += m * (n_in + 1)
    return layers


def tensors(weights: Array, x: Array, y: Array) -> tuple[Tensor, Tensor, Tensor]:
    return torch.tensor(weights, dtype=torch.float64), torch.tensor(x, dtype=torch.float64), torch.tensor(y)


def loss(flat: Tensor, sizes: Sequence[int], x: Tensor, y: Tensor) -> Tensor:
    """Write the loss out with primitive operations on tensors."""
    out = x
    for number, (weight, bias) in enumerate(split(flat, sizes)):
        out = out @ weight.T + bias
        out = out if number == len(sizes) - 2 else out.clamp(min=0)
    return (torch.logsumexp(out, 1) - out[torch.arange(len(y)), y]).mean()


def dense_gradient(flat: Tensor, sizes: Sequence[int], x: Tensor, y: Tensor) -> Tensor:
    leaf = flat.clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, sizes, x, y), leaf)[0]


def dense_hessian(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> Array:
    w, features, labels = tensors(weights, x, y)
    (gradient,) = torch.autograd.grad(loss(w.requires_grad_(), sizes, features, labels), w, create_graph=True)
    return torch.stack([torch.autograd.grad(each, w, retain_graph=True)[0] for each in gradient]).numpy()


def rescaled(weights: Array, sizes: Sequence[int], layer: int, factor: float) -> Array:
    """Multiply a layer by a factor and divide the next layer's weight by it: the function stays."""
    layers = [(weight.copy(), bias.copy()) for weight, bias in split(weights.astype(np.float64), sizes)]
    layers[layer][0][:] *= factor
    layers[layer][1][:] *= factor
    layers[layer + 1][0][:] /= factor
    return np.concatenate([part.ravel() for pair in layers for part in pair])


def small_data(sizes: Sequence[int] = SIZES) -> Arrays:
    """Return a train split of 60 examples and a test split of 40, with all classes in both."""
    _, _, x, y = small(sizes)
    _, _, x_test, y_test = small(sizes, 40, seed=1)
    return {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


def measurement(sizes: Sequence[int] = SIZES, probes: int = 8, seed: int = 7) -> Measurement:
    """Return a unit of work on `small_data`."""
    return Measurement(seed, small(sizes)[0], tuple(sizes[1:-1]), 1e-4, probes)
