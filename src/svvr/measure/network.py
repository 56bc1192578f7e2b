"""One model on its data: the checks, the forward pass that autograd can follow, and the mean loss.

A model is a ReLU network given as flat parameters (P,) in the layout of `svvr.learn.model`. Its loss is the data loss,
mean cross-entropy in nats; no penalty is ever part of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from svvr.learn import model

Array = npt.NDArray[Any]


class UnmeasurableError(ValueError):
    """A trained model without the quantity asked for, such as a dead network whose Hessian is zero."""


def parameters(name: str, weights: Array, sizes: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Copy flat parameters (P,) into a tensor after checking them.

    Args:
        name: what they are called in an error.
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        dtype: of the tensor.

    Raises:
        ValueError: where they do not fit the sizes or are not finite.
    """
    if len(sizes) < 2 or min(sizes) < 1:
        raise ValueError(f"sizes: got {tuple(sizes)}, expected two or more positive layer sizes")
    p = model.n_parameters(sizes)
    if np.shape(weights) != (p,):
        raise ValueError(f"{name}: got shape {np.shape(weights)}, expected ({p},) for layer sizes {tuple(sizes)}")
    if not np.isfinite(weights).all():
        raise ValueError(f"{name}: got values that are not finite, expected finite parameters")
    return torch.tensor(weights, dtype=dtype)


def problem(
    weights: Array, sizes: Sequence[int], x: Array, y: Array, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Copy a model and its data into tensors after checking one against the other.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        dtype: of the parameters and features.

    Returns:
        The parameters (P,), the features (N, sizes[0]) and the labels (N,) int64.

    Raises:
        ValueError: where they do not fit each other.
    """
    flat = parameters("weights", weights, sizes, dtype)
    if np.ndim(x) != 2 or np.shape(x)[1] != sizes[0] or len(x) == 0:
        raise ValueError(f"x: got shape {np.shape(x)}, expected (N, {sizes[0]}) with N above 0")
    check_labels("y", y, len(x), sizes[-1])
    return flat, torch.tensor(x, dtype=dtype), torch.tensor(y, dtype=torch.int64)


def check_labels(name: str, labels: Array, n: int, n_classes: int) -> None:
    """Check that labels are n integers below the number of classes.

    Raises:
        ValueError: where they are not.
    """
    if np.shape(labels) != (n,) or not np.issubdtype(np.asarray(labels).dtype, np.integer):
        raise ValueError(f"{name}: got {np.asarray(labels).dtype} {np.shape(labels)}, expected integers ({n},)")
    if np.min(labels) < 0 or np.max(labels) >= n_classes:
        raise ValueError(f"{name}: got labels {np.min(labels)} to {np.max(labels)}, expected 0 to {n_classes - 1}")


def forward(flat: Tensor, sizes: Sequence[int], x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Return every layer's input (N, in) and output (N, out) before the ReLU; the last output is the logits."""
    inputs, outputs = [x], list[Tensor]()
    for weight, bias in model.layers(flat, sizes):
        if outputs:
            inputs.append(functional.relu(outputs[-1]))
        outputs.append(functional.linear(inputs[-1], weight, bias))
    return inputs, outputs


def loss(flat: Tensor, sizes: Sequence[int], x: Tensor, y: Tensor) -> Tensor:
    """Return the mean cross-entropy, a scalar tensor in nats."""
    return functional.cross_entropy(forward(flat, sizes, x)[1][-1], y)


def evaluate(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> tuple[float, Array]:
    """Compute a model's mean loss and its classes' probabilities, in float64.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.

    Returns:
        The mean cross-entropy in nats, and the probabilities (N, C).

    Raises:
        ValueError: for inputs that do not fit each other.
    """
    flat, features, labels = problem(weights, sizes, x, y, torch.float64)
    logits = forward(flat, sizes, features)[1][-1]
    return functional.cross_entropy(logits, labels).item(), functional.softmax(logits, 1).numpy()
