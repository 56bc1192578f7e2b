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
def test_a_matrix_out_of_reach_is_nan_and_leaves_the_others_alone(m: int, n: int) -> None:
    s = torch.ones(4, n, dtype=torch.float64)
    s[1, -1], s[2], s[3, -1] = 1e-9, 0, 1e-30
    Q = lockstep.polar_factor(with_singular_values(s, m, n))
    assert Q[1:].isnan().all() and Q[0].isfinite().all()


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_polar_factor_is_that_of_any_multiple(scale: float) -> None:
    W = scale * matrices(2, 40, 40).float()
    assert error(lockstep.polar_factor(W), W).max() < 2e-5


def test_shape_and_dtype_stay() -> None:
    W = matrices(2, 3, 4, 40).float()
    Q = lockstep.polar_factor(W)
    assert Q.shape == W.shape and Q.dtype == torch.float32
