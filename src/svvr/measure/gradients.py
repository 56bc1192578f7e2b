"""Gradients of the data loss: the noise of single examples' at the weights, and what training recorded of batches'."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from svvr.measure import network
from svvr.measure.network import Array, UnmeasurableError


def noise_trace(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> float:
    """Return the trace of the covariance of single examples' gradients, in float64.

    A dense layer's gradient for one example is the outer product of its output's gradient d with its input a, so
    that its squared norm with the bias is |d|^2 (|a|^2 + 1) and no example's gradient is ever formed.

    Args:
        weights: (P,) flat parameters.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.

    Returns:
        mean_i |g_i|^2 - |mean_i g_i|^2, at least 0 (squared nats per squared unit of weight).

    Raises:
        ValueError: for inputs that do not fit each other.

    Source:
        Goodfellow 2015 (per-example gradient norms); McCandlish et al. 2018, equation 2.9 (noise scale).
    """
    flat, features, labels = network.problem(weights, sizes, x, y, torch.float64)
    inputs, outputs = network.forward(flat.requires_grad_(), sizes, features)
    deltas = torch.autograd.grad(functional.cross_entropy(outputs[-1], labels, reduction="sum"), outputs)
    square_of_norm = norm_of_mean = 0.0
    with torch.no_grad():
        for delta, activation in zip(deltas, inputs, strict=True):
            square_of_norm += ((delta**2).sum(1) * ((activation**2).sum(1) + 1)).mean().item()
            mean = (delta.T @ activation / len(labels), delta.mean(0))
            norm_of_mean += sum((part**2).sum().item() for part in mean)
    return max(square_of_norm - norm_of_mean, 0.0)


def stability(means: npt.ArrayLike, sds: npt.ArrayLike, last_epochs: int) -> float:
    """Return the log of the coefficient of variation of minibatch gradient norms over the last epochs.

    Args:
        means: (epochs,) mean of the gradient norm over each epoch's minibatches.
        sds: (epochs,) population standard deviation of the same; every epoch has equally many minibatches.
        last_epochs: how many epochs count, from the last; all where there are fewer.

    Returns:
        ln(sqrt(mean(sd^2) + var(means)) / mean(means)); lower is more stable.

    Raises:
        ValueError: without epochs, for lists of unequal length, values that are not finite, or a negative one;
            UnmeasurableError for norms that do not vary at all.
    """
    centre, spread = np.asarray(means, np.float64), np.asarray(sds, np.float64)
    if centre.ndim != 1 or centre.shape != spread.shape or centre.size == 0:
        raise ValueError(f"gradient norms: got shapes {centre.shape} and {spread.shape}, expected (epochs,) twice")
    if last_epochs < 1:
        raise ValueError(f"last_epochs: got {last_epochs}, expected at least 1")
    centre, spread = centre[-last_epochs:], spread[-last_epochs:]
    if not (np.isfinite(centre).all() and (centre >= 0).all()):
        raise ValueError(f"mean gradient norms: got {centre.tolist()}, expected finite numbers of 0 or more")
    if not (np.isfinite(spread).all() and (spread >= 0).all()):
        raise ValueError(f"gradient norm deviations: got {spread.tolist()}, expected finite numbers of 0 or more")
    variance = float((spread**2).mean() + centre.var())
    if variance == 0 or centre.mean() == 0:
        raise UnmeasurableError("gradient norms: got norms that do not vary, expected a deviation above 0")
    return math.log(math.sqrt(variance) / float(centre.mean()))


def mean_cosine(cosines: Sequence[float | None], last_epochs: int) -> float | None:
    """Average the cosine between successive minibatches' gradients over the last epochs.

    Args:
        cosines: (epochs,) mean of each epoch; None where it has none.
        last_epochs: how many epochs count, from the last; all where there are fewer.

    Returns:
        The mean over the epochs that have one, in [-1, 1]; None where none has.
    """
    known = [cosine for cosine in cosines[-last_epochs:] if cosine is not None]
    return math.fsum(known) / len(known) if known else None
