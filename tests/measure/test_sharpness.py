"""Adaptive sharpness against a loop over parameters."""

import math

import numpy as np
import pytest
import torch

from svvr.measure.sharpness import adaptive_sharpness
from tests.measure import problems
from tests.measure.problems import SIZES, P


def test_adaptive_sharpness_agrees_with_a_loop() -> None:
    weights, _, x, y = problems.small()
    w, features, labels = problems.tensors(weights, x, y)
    gradient = problems.dense_gradient(w, SIZES, features, labels)
    norm = math.sqrt(sum((float(a) * float(g)) ** 2 for a, g in zip(w, gradient, strict=True)))
    step = [0.2 * float(a) ** 2 * float(g) / norm for a, g in zip(w, gradient, strict=True)]
    moved = w + torch.tensor(step, dtype=torch.float64)
    expected = problems.loss(moved, SIZES, features, labels) - problems.loss(w, SIZES, features, labels)
    value = adaptive_sharpness(weights, SIZES, x, y, 0.2)
    assert value == pytest.approx(float(expected), rel=1e-9)
    assert value > 0


def test_adaptive_sharpness_is_zero_without_a_direction() -> None:
    _, _, x, y = problems.small()
    assert adaptive_sharpness(np.zeros(P, np.float32), SIZES, x, y) == 0


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_relu_rescaling_leaves_it_as_it_was(factor: float) -> None:
    weights, _, x, y = problems.small()
    moved = problems.rescaled(weights, SIZES, 0, factor)
    flat, features, labels = problems.tensors(weights, x, y)
    losses = [float(problems.loss(each, SIZES, features, labels)) for each in (flat, torch.from_numpy(moved))]
    assert losses[1] == pytest.approx(losses[0])
    before, after = (adaptive_sharpness(each, SIZES, x, y) for each in (weights, moved))
    assert after == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("radius", [0, -1, math.inf, math.nan])
def test_a_radius_out_of_range_is_an_error(radius: float) -> None:
    weights, _, x, y = problems.small()
    with pytest.raises(ValueError, match="radius: got"):
        adaptive_sharpness(weights, SIZES, x, y, radius)
