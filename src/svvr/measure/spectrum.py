"""The singular values of weight matrices, and the conditioning of a network."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from svvr.learn import model
from svvr.measure.network import Array, UnmeasurableError, parameters


def spectra(weights: Array, initial: Array, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Describe the singular values of every weight matrix, in float64.

    Args:
        weights: (P,) flat parameters.
        initial: (P,) flat parameters before training.
        sizes: number of inputs, hidden widths and classes.

    Returns:
        For each layer, from 1, with k = min(m, n) singular values s: `layer`, `m` (outputs), `n` (inputs),
        `singular_values` and `initial_singular_values` (k floats each, descending), their unbiased `variance`,
        `coefficient_of_variation` (population standard deviation / mean; its square is k F^2 / nuclear^2 - 1 with
        the Frobenius norm F), `stable_rank` F^2 / s_1^2, and `ln_condition` ln(s_1 / s_k). In the last, s_k is held
        at or above float64's rank tolerance eps max(m, n) s_1, so that a matrix without full rank has a finite one.

    Raises:
        ValueError: where parameters do not fit the sizes or are not finite, or where a layer has one singular value
            only; UnmeasurableError where a trained matrix is zero.

    Source:
        Rudelson and Vershynin 2007 (stable rank); Press et al., Numerical Recipes (rank tolerance).
    """
    trained, before = (
        model.layers(parameters(name, flat, sizes, torch.float64), sizes)
        for name, flat in (("weights", weights), ("initial", initial))
    )
    pairs = zip(trained, before, strict=True)
    return [_layer(number, matrix, start) for number, ((matrix, _), (start, _)) in enumerate(pairs, 1)]


def _layer(number: int, matrix: Tensor, before: Tensor) -> dict[str, Any]:
    m, n = matrix.shape
    values = torch.linalg.svdvals(matrix).numpy()
    if len(values) < 2:
        raise ValueError(f"singular values of layer {number}: got {len(values)}, expected at least 2")
    if not values[0] > 0:
        raise UnmeasurableError(f"weights of layer {number}: got all zeros, expected a matrix of rank 1 or more")
    floor = float(np.finfo(np.float64).eps) * max(m, n) * values[0]
    return {
        "layer": number,
        "m": m,
        "n": n,
        "singular_values": values.tolist(),
        "initial_singular_values": torch.linalg.svdvals(before).tolist(),
        "variance": float(values.var(ddof=1)),
        "coefficient_of_variation": float(values.std() / values.mean()),
        "stable_rank": float(((values / values[0]) ** 2).sum()),
        "ln_condition": math.log(values[0] / max(values[-1], floor)),
    }


def conditioning(layers: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean of `ln_condition` over the layers that `spectra` describes."""
    return math.fsum(layer["ln_condition"] for layer in layers) / len(layers)
