"""Each penalty against its formula in singular values; the loader; mistakes in a user's file; weights that diverge."""

import importlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from svvr.core.files import Arrays
from svvr.core.params import penalty_names
from svvr.learn import penalty
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.penalties import sv_variation
from tests.penalties.oracles import matrices

Values = npt.NDArray[np.float64]
ORACLES: dict[str, Callable[[Values], Values]] = {
    "none": lambda s: 0 * s.sum(-1),
    "l2": lambda s: (s**2).sum(-1) / 2,
    "spectral_norm": lambda s: s.max(-1) ** 2 / 2,
    "orthogonality": lambda s: ((s**2 - 1) ** 2).sum(-1),
    "condition_number": lambda s: s.max(-1) ** 2 / 2 - (s**2).mean(-1) / 2,
    "sv_variance": lambda s: s.var(-1, ddof=1),
    "sv_variation": lambda s: s.var(-1) / s.mean(-1) ** 2,
    "sv_variance_scaled": lambda s: ((s - s.mean(-1, keepdims=True)) ** 2).sum(-1) / 2,
}
ELSEWHERE = ("sv_variance_hidden", "activation_decorrelation", "jacobian")  # test_networks.py has their oracles
PENALTIES = [name for name in ORACLES if name != "none"]
RUN = Run(seed=1, lr=0.01, strength=0.05, hidden=(8, 7), epochs=3, batch_size=32)


def test_each_penalty_that_params_may_name_has_an_oracle() -> None:
    own = {
        path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")
    }  # as `make new` writes them
    known = {*ORACLES, *ELSEWHERE}
    assert known <= set(penalty_names()) <= known | own  # helpers, a folder, is none


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 4), (2, 3, 5, 5)])
def test_each_penalty_is_its_formula_in_singular_values(name: str, shape: tuple[int, ...]) -> None:
    W = matrices(*shape)
    module = importlib.import_module(f"svvr.penalties.{name}")
    expected = ORACLES[name](np.linalg.svd(W.numpy(), compute_uv=False))
    np.testing.assert_allclose(module.penalty(W).numpy(), expected, rtol=1e-10)
    assert module.penalty(W.float()).dtype == torch.float32


@pytest.mark.parametrize("name", ORACLES)
def test_each_penalty_s_gradient_is_a_difference_quotient(name: str) -> None:
    W, direction, h = matrices(3, 4, 5), matrices(3, 4, 5, seed=1), 1e-6
    module = importlib.import_module(f"svvr.penalties.{name}")
    slope = (penalty.gradient(name)(W) * direction).sum((-2, -1))
    quotient = (module.penalty(W + h * direction) - module.penalty(W - h * direction)) / (2 * h)
    torch.testing.assert_close(slope, quotient, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["condition_number", "sv_variation"])
def test_a_single_singular_value_is_refused_where_it_means_nothing(name: str) -> None:
    module = importlib.import_module(f"svvr.penalties.{name}")
    with pytest.raises(ValueError, match=rf"weights of {name}: got shape \(3, 1\), expected m, n >= 2"):
        module.penalty(torch.ones(3, 1))
    assert module.penalty(torch.eye(4)[None]).item() == pytest.approx(0, abs=1e-6)


def test_the_scale_free_penalty_is_free_of_scale() -> None:
    W = matrices(3, 4, 5)
    torch.testing.assert_close(sv_variation.penalty(7 * W), sv_variation.penalty(W))


@pytest.mark.parametrize("name", PENALTIES)
def test_each_penalty_trains(name: str, tiny_data: Arrays) -> None:
    (result,) = train([replace(RUN, penalty=name)], tiny_data)
    (plain,) = train([replace(RUN, strength=0.0)], tiny_data)
    assert result.complete and not np.array_equal(result.weights, plain.weights)


@pytest.mark.parametrize(
    "name,shape",
    [
        *[("sv_variance", shape) for shape in [(4, 4), (24, 24), (140, 140), (40, 24), (24, 40)]],
        *[(name, (24, 40)) for name in PENALTIES if name != "sv_variance"],
    ],
)
def test_a_matrix_that_has_diverged_leaves_its_neighbours_alone(name: str, shape: tuple[int, int]) -> None:
    W = matrices(5, *shape).float()
    good = penalty.gradient(name)(W)
    W[1, 2, 2], W[2, 2, 2], W[3, 2, 2] = float("nan"), float("inf"), 1e30
    gradient = penalty.gradient(name)(W)
    assert torch.equal(gradient[[0, 4]], good[[0, 4]])
    assert gradient[[1, 2]].isnan().all()


@pytest.mark.parametrize("name", PENALTIES)
def test_a_diverging_run_ends_as_failed_and_leaves_its_neighbours_alone(name: str, tiny_data: Arrays) -> None:
    run = replace(RUN, penalty=name)
    calm, *wild = train([run, *(replace(run, lr=lr) for lr in (1e8, 1e20, 1e30))], tiny_data)
    (alone,) = train([run], tiny_data)
    assert calm.complete and not any(result.complete for result in wild[1:])  # 1e8 may still end with finite losses
    assert np.array_equal(alone.weights, calm.weights)
