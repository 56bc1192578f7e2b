"""Eigenvalue and trace against the dense Hessian."""

import itertools
import math

import numpy as np
import pytest
import torch

from svvr.measure import hessian
from tests.measure import problems
from tests.measure.problems import SIZES, Array, P


def test_products_agree_with_the_dense_hessian() -> None:
    sizes = (4, 5, 6, 3)
    weights, _, x, y = problems.small(sizes)
    dense = torch.from_numpy(problems.dense_hessian(weights, sizes, x, y))
    multiply = hessian.product(weights, sizes, x, y, torch.float64)
    torch.testing.assert_close(torch.stack([multiply(row) for row in torch.eye(len(weights)).double()]), dense)


@pytest.mark.parametrize("seed", range(3))
def test_top_eigenvalue_agrees_with_the_dense_hessian(seed: int) -> None:
    weights, _, x, y = problems.small(seed=seed)
    expected = np.linalg.eigvalsh(problems.dense_hessian(weights, SIZES, x, y))
    value, residual, n_products = hessian.top_eigenvalue(weights, SIZES, x, y, 1e-10, 3, torch.float64)
    assert value == pytest.approx(expected[-1], rel=1e-9)
    assert residual < 1e-8
    assert 2 < n_products < 1000
    single, single_residual, _ = hessian.top_eigenvalue(weights, SIZES, x, y, 1e-4, 3)
    assert single == pytest.approx(value, rel=1e-3)
    assert single_residual < 1e-3
    assert hessian.smoothness(value) == pytest.approx(math.log(expected[-1]))


def test_the_largest_and_not_the_widest_eigenvalue_is_found() -> None:
    eigenvalues = np.linspace(-10, 2, P)

    def matvec(vector: Array) -> Array:
        product: Array = eigenvalues * vector.reshape(-1)
        return product

    value, vector = hessian.lanczos(matvec, P, 1e-8, 0)
    assert value == pytest.approx(2)
    np.testing.assert_allclose(np.abs(vector), np.eye(P)[-1], atol=1e-6)


def test_the_vectors_with_which_lanczos_goes_on_follow_from_the_seed() -> None:
    """Any vector is an eigenvector of the identity, so that ARPACK has to draw all but the first."""
    (one, first), (two, second) = (hessian.lanczos(lambda vector: vector.reshape(-1), 50, 1e-6, 1) for _ in range(2))
    assert one == two == pytest.approx(1)
    assert first.tobytes() == second.tobytes()


def test_float32_products_give_the_eigenvalue_of_float64_on_the_real_network() -> None:
    sizes = (40, 128, 128, 10)
    rng = np.random.default_rng(0)
    weights = np.concatenate(
        [rng.uniform(-1, 1, (n_in + 1) * n_out) / np.sqrt(n_in) for n_in, n_out in itertools.pairwise(sizes)]
    ).astype(np.float32)
    x, y = rng.normal(size=(500, 40)).astype(np.float32), np.arange(500) % 10
    single, double = (
        hessian.top_eigenvalue(weights, sizes, x, y, 1e-3, 0, dtype=dtype) for dtype in (torch.float32, torch.float64)
    )
    assert single[0] == pytest.approx(double[0], rel=1e-5)
    assert max(single[1], double[1]) < 1e-3


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_relu_rescaling_moves_the_top_eigenvalue(factor: float) -> None:
    weights, _, x, y = problems.small()
    moved = problems.rescaled(weights, SIZES, 0, factor)
    tops = [hessian.top_eigenvalue(each, SIZES, x, y, 1e-6, 0, torch.float64)[0] for each in (weights, moved)]
    assert abs(math.log(tops[1] / tops[0])) > 0.1


def test_lanczos_that_does_not_converge_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Softmax regression on isotropic features has no gap below its top eigenvalue."""
    weights, _, x, y = problems.small((100, 2), n=2000)
    monkeypatch.setattr(hessian, "MAX_RESTARTS", 1)
    with pytest.raises(ValueError, match="top eigenvalue: got ArpackNoConvergence"):
        hessian.top_eigenvalue(weights, (100, 2), x, y, 1e-10, 0)


@pytest.mark.parametrize("top", [-1.0, 0.0, math.nan])
def test_a_curvature_without_a_logarithm_is_an_error(top: float) -> None:
    with pytest.raises(ValueError, match=f"hessian_top: got {top!r}, expected a number above 0"):
        hessian.smoothness(top)


def test_trace_lies_within_its_errors_of_the_dense_trace() -> None:
    weights, _, x, y = problems.small()
    expected = np.trace(problems.dense_hessian(weights, SIZES, x, y))
    mean, error = hessian.trace(weights, SIZES, x, y, 2000, 5)
    assert abs(mean - expected) < 4 * error
    assert error < 0.05 * expected


def test_standard_error_is_that_of_independent_probes() -> None:
    weights, _, x, y = problems.small()
    dense = problems.dense_hessian(weights, SIZES, x, y)
    generator = np.random.default_rng(5)
    signs = np.array([generator.choice(np.array([-1, 1], np.float32), P) for _ in range(10)], np.float64)
    values = np.einsum("ki,ij,kj->k", signs, dense, signs)
    mean, error = hessian.trace(weights, SIZES, x, y, 10, 5)
    assert mean == pytest.approx(values.mean(), rel=1e-5)
    assert error == pytest.approx(math.sqrt(((values - values.mean()) ** 2).sum() / 9 / 10), rel=1e-4)
    # Var(v' H v) of random signs is twice the sum of squares off the diagonal.
    _, many = hessian.trace(weights, SIZES, x, y, 2000, 6)
    off_diagonal = dense - np.diag(np.diag(dense))
    assert many == pytest.approx(math.sqrt(2 * (off_diagonal**2).sum() / 2000), rel=0.1)


@pytest.mark.parametrize("tolerance", [0, -1, 1, math.nan])
def test_a_tolerance_out_of_range_is_an_error(tolerance: float) -> None:
    weights, _, x, y = problems.small()
    with pytest.raises(ValueError, match="tolerance: got"):
        hessian.top_eigenvalue(weights, SIZES, x, y, tolerance, 0)


def test_a_single_probe_is_an_error() -> None:
    weights, _, x, y = problems.small()
    with pytest.raises(ValueError, match="probes: got 1"):
        hessian.trace(weights, SIZES, x, y, 1, 0)
