"""The polar factor in lockstep, run on the processor, against a decomposition in float64."""

import math

import pytest
import torch

from svvr.penalties.helpers import lockstep
from tests.penalties.oracles import exact_polar_factor, matrices, with_singular_values


def error(Q: torch.Tensor, W: torch.Tensor) -> torch.Tensor:
    return torch.linalg.matrix_norm(Q - exact_polar_factor(W)) / math.sqrt(min(W.shape[-2:]))


@pytest.mark.parametrize("m,n", [(128, 10), (128, 40), (20, 20), (128, 128), (300, 300)])
def test_matrices_of_any_condition_within_reach_are_exact(m: int, n: int) -> None:
    conditions = torch.tensor([1.0, 1.0005, 1.1, 2.0, 5.0, 10.0, 100.0, 1e3, 1e4, 1e5], dtype=torch.float64)
    some, few = (
        conditions[:8],
        conditions if m == n else conditions[:8],
    )  # two small ones lose digits
    spread = some[:, None] ** -torch.linspace(0, 1, n, dtype=torch.float64)
    single = torch.ones(len(few), n, dtype=torch.float64)
    single[:, -1] = 1 / few
    for s in (spread, single):
        W = with_singular_values(s, m, n)
        assert error(lockstep.polar_factor(W), W).max() < 2e-5
        assert error(lockstep.polar_factor(W.mT), W.mT).max() < 2e-5


@pytest.mark.parametrize("m,n", [(128, 10), (20, 20), (128, 128)])
@pytest.mark.parametrize("small", [1e-6, 1e-7, 1e-9, 1e-30, 0.0])
@pytest.mark.parametrize("n_small", [1, 5])
def test_singular_values_out_of_reach_give_a_subgradient(m: int, n: int, small: float, n_small: int) -> None:
    s = torch.linspace(1, 0.1, n, dtype=torch.float64).expand(2, n).clone()
    s[1, -n_small:] = small
    W = with_singular_values(s, m, n)
    Q = lockstep.polar_factor(W).double()
    assert error(Q[:1].float(), W[:1]).max() < 2e-5  # another matrix of the stack stays exact
    U, _, Vh = torch.linalg.svd(W[1].double(), full_matrices=False)
    large, few = n - n_small, slice(n - n_small, None)
    eye = torch.eye(large, dtype=torch.float64)
    torch.testing.assert_close(U[:, :large].T @ Q[1] @ Vh[:large].T, eye, rtol=0, atol=1e-4)
    torch.testing.assert_close(Q[1] @ Vh[few].T, U[:, few] @ (U[:, few].T @ Q[1] @ Vh[few].T), rtol=0, atol=2e-2)
    assert torch.linalg.matrix_norm(Q[1], 2) < 1 + 1e-5


def test_of_a_zero_matrix_it_is_zero() -> None:
    assert torch.equal(lockstep.polar_factor(torch.zeros(2, 12, 5)), torch.zeros(2, 12, 5))


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_polar_factor_is_that_of_any_multiple(scale: float) -> None:
    W = scale * matrices(2, 40, 40).float()
    assert error(lockstep.polar_factor(W), W).max() < 2e-5


def test_shape_and_dtype_stay() -> None:
    W = matrices(2, 3, 4, 40).float()
    Q = lockstep.polar_factor(W)
    assert Q.shape == W.shape and Q.dtype == torch.float32
