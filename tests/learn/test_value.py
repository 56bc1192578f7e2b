"""A penalty's value at finished runs, against the penalty of one plain network at a time."""

import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from svvr.core.files import Arrays
from svvr.core.params import Params, load
from svvr.learn import model, value
from svvr.penalties.helpers.layer import Layer

PARAMS = load(Path(__file__).parents[2] / "params.yaml")
SIZES = (6, 128, 128, 3)
CONTRASTS = [("regularized", "baseline"), ("weight_decay", "baseline")]


def flat(n: int) -> npt.NDArray[np.float32]:
    return torch.stack([model.initial_weights(SIZES, seed) for seed in range(n)]).numpy()


def with_penalty(name: str) -> Params:
    arm = PARAMS.arms["regularized"]
    own = arm.model_copy(update={"penalty": arm.penalty.model_copy(update={"name": name})})
    return PARAMS.model_copy(update={"arms": PARAMS.arms | {"regularized": own}})


def finals(weights: npt.NDArray[np.float32]) -> Arrays:
    n = len(weights)
    return {"study": np.arange(n) // 2, "seed": np.arange(n), "weights": weights}


@pytest.mark.parametrize("name", ["l2", "orthogonality", "sv_variance_hidden"])
def test_the_value_is_the_sum_over_the_matrices_of_each_network(name: str) -> None:
    weights, penalty = flat(15), importlib.import_module(f"svvr.penalties.{name}").penalty
    x, y = np.zeros((2, 6), np.float32), np.zeros(2, np.int64)
    for found, one in zip(value.values(name, SIZES, weights, x, y), weights, strict=True):
        matrices = [each[0] for each in model.stack(torch.from_numpy(one[None]), SIZES).weights]
        each = [(W, Layer(i, 3)) if name == "sv_variance_hidden" else (W,) for i, W in enumerate(matrices)]
        assert found == pytest.approx(sum(float(penalty(*given)) for given in each), rel=1e-5)


def test_a_penalty_of_a_batch_sees_the_batch() -> None:
    weights, rng = flat(3), np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)).astype(np.float32), rng.integers(0, 3, size=50)
    found = value.values("activation_decorrelation", SIZES, weights, x, y)
    for each, one in zip(found, weights, strict=True):
        models, signal, expected = model.stack(torch.from_numpy(one[None]), SIZES), x.astype(np.float64), 0.0
        for weight, bias in list(zip(models.weights, models.biases, strict=True))[:-1]:
            signal = np.maximum(signal @ weight[0].double().numpy().T + bias[0].double().numpy(), 0)
            covariance = np.cov(signal.T, bias=True)
            expected += (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)) / 2
        assert each == pytest.approx(expected, rel=1e-4)
    assert not np.allclose(found, value.values("activation_decorrelation", SIZES, weights, 2 * x, y))


def test_a_diverged_network_has_no_value_and_hides_no_other() -> None:
    weights = flat(3)
    weights[1, 0] = np.nan
    found = value.values("l2", SIZES, weights, np.zeros((1, 6), np.float32), np.zeros(1, np.int64))
    assert np.isnan(found).tolist() == [False, True, False]


def test_halved_weights_are_a_fall_of_an_l2_penalty_by_three_quarters(tiny_data: Arrays) -> None:
    weights = flat(4)
    runs = {"baseline": finals(weights), "weight_decay": finals(weights)}
    halved = {"weights": weights / np.float32(2)}
    runs["regularized"] = {key: array[::-1].copy() for key, array in (runs["baseline"] | halved).items()}
    found = value.changes(with_penalty("l2"), CONTRASTS, runs, tiny_data)
    assert found["arm"].tolist() == ["regularized"] * 4 and sorted(found["seed"]) == [0, 1, 2, 3]
    assert found["d"].tolist() == pytest.approx([math.log(0.25)] * 4)


@pytest.mark.parametrize(
    "own,reference,d",
    [(-3.0, -2.0, math.log(0.5)), (-1.0, -2.0, math.log(1.5)), (-1.0, 2.0, math.log(1e-9)), (1.0, 0.0, math.nan)],
)
def test_a_change_is_relative_to_the_size_of_the_reference(
    tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch, own: float, reference: float, d: float
) -> None:
    def given(name: str, sizes: Any, weights: npt.NDArray[np.float32], *batch: Any) -> npt.NDArray[np.float64]:
        return np.array([own if weights[0, 0] == 1 else reference])

    monkeypatch.setattr(value, "values", given)
    runs = {"regularized": finals(np.ones((1, 3), np.float32)), "baseline": finals(np.zeros((1, 3), np.float32))}
    found = value.changes(with_penalty("l2"), CONTRASTS[:1], runs, tiny_data)
    assert found["d"].tolist() == pytest.approx([d], nan_ok=True)


def test_penalties_of_evenness_are_left_to_the_diagnosis(tiny_data: Arrays) -> None:
    assert value.changes(PARAMS, CONTRASTS, {}, tiny_data).empty
    for name in value.EVENNESS:
        importlib.import_module(f"svvr.penalties.{name}")
