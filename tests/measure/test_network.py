"""One model on its data: the forward pass, and what does not fit."""

import math
from collections.abc import Sequence
from typing import TypedDict, Unpack

import numpy as np
import pytest
import torch

from svvr.measure import network
from tests.measure import problems
from tests.measure.problems import SIZES, Array, P


class Case(TypedDict, total=False):
    weights: Array
    sizes: Sequence[int]
    x: Array
    y: Array


def problem(**change: Unpack[Case]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    weights, _, x, y = problems.small()
    case = Case(weights=weights, sizes=SIZES, x=x, y=y) | change
    return network.problem(case["weights"], case["sizes"], case["x"], case["y"], torch.float64)


@pytest.mark.parametrize("sizes", [(4, 3), SIZES, (4, 5, 6, 3)])
def test_loss_and_probabilities_are_those_of_a_network_by_hand(sizes: tuple[int, ...]) -> None:
    weights, _, x, y = problems.small(sizes)
    flat, features, labels = problems.tensors(weights, x, y)
    expected = problems.loss(flat, sizes, features, labels)
    torch.testing.assert_close(network.loss(flat, sizes, features, labels), expected, rtol=1e-12, atol=0)
    loss, probabilities = network.evaluate(weights, sizes, x, y)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert -np.log(probabilities[np.arange(len(y)), y]).mean() == pytest.approx(loss)


def test_forward_gives_each_layer_s_input_and_output() -> None:
    sizes = (4, 5, 6, 3)
    weights, _, x, y = problems.small(sizes)
    flat, features, _ = problems.tensors(weights, x, y)
    inputs, outputs = network.forward(flat, sizes, features)
    assert inputs[0] is features
    for given, output, (weight, bias) in zip(inputs, outputs, problems.split(flat, sizes), strict=True):
        torch.testing.assert_close(output, given @ weight.T + bias)
    for output, given in zip(outputs[:-1], inputs[1:], strict=True):
        assert torch.equal(given, output.clamp(min=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (Case(sizes=(4,)), "sizes: got"),
        (Case(sizes=(4, 0, 3)), "sizes: got"),
        (Case(weights=np.zeros(P - 1, np.float32)), r"weights: got shape \(42,\), expected \(43,\)"),
        (Case(weights=np.full(P, math.nan, np.float32)), "weights: got values that are not finite"),
        (Case(x=np.zeros((60, 5), np.float32)), "x: got shape"),
        (Case(x=np.zeros(4, np.float32)), "x: got shape"),
        (Case(x=np.zeros((0, 4), np.float32)), "x: got shape"),
        (Case(y=np.zeros(59, int)), "y: got int64"),
        (Case(y=np.zeros(60)), "y: got float64"),
        (Case(y=np.full(60, 3)), "y: got labels 3 to 3"),
        (Case(y=np.full(60, -1)), "y: got labels -1 to -1"),
    ],
)
def test_a_model_and_its_data_must_fit(change: Case, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        problem(**change)


def test_tensors_are_copies() -> None:
    weights, _, x, y = problems.small()
    for tensor, array in zip(network.problem(weights, SIZES, x, y, torch.float32), (weights, x, y), strict=True):
        before = array.copy()
        tensor.zero_()
        np.testing.assert_array_equal(array, before)
