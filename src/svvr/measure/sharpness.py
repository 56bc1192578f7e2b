"""How much the data loss rises close to the weights."""

import math
from collections.abc import Sequence

import torch

from svvr.measure import network
from svvr.measure.network import Array


def adaptive_sharpness(weights: Array, sizes: Sequence[int], x: Array, y: Array, radius: float = 0.5) -> float:
    """Measure how much the loss rises over one ascent step that is scaled by each parameter's size.

    The step is eps = radius w^2 g / |w g| with the gradient g, elementwise and over all parameters, in float64.
    Rescaling a ReLU layer and undoing it in the next leaves the result as it was.

    Args:
        weights: (P,) flat parameters w.
        sizes: number of inputs, hidden widths and classes.
        x: (N, sizes[0]) features.
        y: (N,) labels.
        radius: length of the step in units of each parameter's size, above 0.

    Returns:
        L(w + eps) - L(w) in nats; 0 where every w g is 0.

    Raises:
        ValueError: for inputs that do not fit each other, or a radius that is not above 0.

    Source:
        Kwon et al. 2021, equations 4 and 8 (ASAM), with the normalisation |w| and no term added to it.
    """
    if not (math.isfinite(radius) and radius > 0):
        raise ValueError(f"radius: got {radius!r}, expected a finite number above 0")
    flat, features, labels = network.problem(weights, sizes, x, y, torch.float64)
    loss = network.loss(flat.requires_grad_(), sizes, features, labels)
    (gradient,) = torch.autograd.grad(loss, flat)
    with torch.no_grad():
        scaled = flat * gradient
        norm = torch.linalg.vector_norm(scaled)
        if norm == 0:
            return 0.0
        return float(network.loss(flat + radius * flat * scaled / norm, sizes, features, labels) - loss)
