"""The polar factor against a decomposition in float64."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from svvr.penalties.helpers import polar
from svvr.penalties.helpers.polar import polar_factor
from tests.penalties.oracles import exact_polar_factor as exact
from tests.penalties.oracles import matrices, relative_error, with_singular_values

ROOT = Path(__file__).parents[2]
WIDEST = 8192  # a hidden layer that params.yaml may ask for


def assert_best(mapped: npt.NDArray[np.float64], lowest: float, n_touches: int) -> None:
    """Assert that the values fill [lowest, 1] and touch its ends in turn at so many places (Chebyshev)."""
    centre, radius = (1 + lowest) / 2, (1 - lowest) / 2
    assert np.abs(mapped - centre).max() <= radius * 1.0005 + 2e-9  # the coefficients end at nine digits
    at_an_end = np.abs(mapped - centre) > radius * 0.95
    ends = np.sign(mapped - centre)[at_an_end]
    assert ends[0] == -1 and np.count_nonzero(np.diff(ends)) == n_touches - 1


@pytest.mark.parametrize("chain", polar.CHAINS)
def test_each_step_is_the_best_polynomial_for_what_the_step_before_has_left(chain: tuple[polar.Step, ...]) -> None:
    following = [reach for reach, *_ in chain[1:]] + [1 + 1e-6]
    for (reach, a, b, c), left in zip(chain, following, strict=True):
        s = np.geomspace(1 / reach, 1, 200_001)
        assert_best(s * (a + b * s**2 + c * s**4), 1 / left, 4 if c else 3)


def test_the_steps_reach_what_newton_s_step_leaves() -> None:
    reaches = [steps[0][0] for steps in polar.SCHEDULES]
    assert reaches == sorted(reaches)
    assert reaches[-1] > (1 + polar.INVERSE_LIMIT * WIDEST**0.5 / 2) ** 0.5
    assert polar.STEPS_OF_TALL[0][0] > (polar.TALL_LIMIT**0.5 + polar.TALL_LIMIT**-0.5) / 2


@pytest.mark.parametrize("m,n", [(128, 10), (128, 40), (20, 20), (40, 40), (128, 128), (200, 200)])
def test_matrices_of_any_condition_in_one_stack_are_exact_and_as_they_are_alone(m: int, n: int) -> None:
    # products, then products after an inverse in float64, then decomposition
    conditions = [1.0, 1.0005, 1.1, 2.0, 10.0, 100.0, 1e3, 8e3, 3e4, 2e5, 1e6, 1e7, 1e8, 1e30]
    s = torch.stack([torch.logspace(0, -np.log10(condition), n, dtype=torch.float64) for condition in conditions])
    s[7:, 1:-1] = 1.0  # a single small one: only its condition decides
    W = with_singular_values(s, m, n)
    Q, wide = polar_factor(W), polar_factor(W.mT.contiguous())
    for k, condition in enumerate(conditions):
        tolerance = 2e-6 if condition <= 10 else 2e-5
        expected = exact(W[k])
        assert torch.linalg.matrix_norm(Q[k] - expected) < tolerance * n**0.5, condition
        assert torch.linalg.matrix_norm(wide[k] - expected.mT) < tolerance * n**0.5, condition
        assert torch.equal(polar_factor(W[k]), Q[k])


@pytest.mark.parametrize("n", [20, 64, 128])
@pytest.mark.parametrize("condition", [100.0, 500.0, 2e3, 1e5])
def test_half_of_the_singular_values_may_be_small(n: int, condition: float) -> None:
    s = torch.ones(2, n, dtype=torch.float64)
    s[:, n // 2 :] /= condition
    W = with_singular_values(s, n, n)
    assert torch.linalg.matrix_norm(polar_factor(W) - exact(W)).max() < 2e-5 * n**0.5


@pytest.mark.parametrize("n", [40, 200])
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_polar_factor_is_that_of_any_multiple(n: int, scale: float) -> None:
    W = scale * matrices(2, n, n).float()
    assert torch.linalg.matrix_norm(polar_factor(W) - exact(W)).max() < 1e-5 * n**0.5


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 4, 40), (24, 24), (0, 20, 20), (2, 200, 150)])
def test_shape_and_dtype_stay(shape: tuple[int, ...]) -> None:
    W = matrices(*shape)
    assert torch.equal(polar_factor(W), exact(W))
    Q = polar_factor(W.float())
    assert Q.shape == shape and Q.dtype == torch.float32
    torch.testing.assert_close(Q.double(), exact(W), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n", [20, 32, 64])
def test_an_inverse_whose_pivots_have_grown_is_not_used(n: int) -> None:
    """Gaussian elimination with partial pivoting doubles the last column at each step, though W is well conditioned."""
    W = torch.eye(n) - torch.tril(1 - 0.03 * matrices(2, n, n).sigmoid().float(), -1)
    W[:, :, -1] = 1.1
    assert relative_error(polar_factor(W), exact(W)) < 2e-6


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(4, 160, 160), (4, 160, 200)])
def test_a_stack_of_large_matrices_in_several_threads(shape: tuple[int, ...]) -> None:
    """In a process of its own, since torch's LU hangs where it meets such a stack."""
    code = (
        "import torch; from tests.penalties.test_polar import exact, matrices, polar_factor, relative_error;"
        f"torch.set_num_threads(4); W = matrices{shape}.float(); print(relative_error(polar_factor(W), exact(W)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert not result.stderr
    assert float(result.stdout) < 1e-4
