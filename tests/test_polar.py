"""The polar factor, on the CPU and in lockstep, against a decomposition in float64."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from svvr import polar
from svvr.polar import lockstep, polar_factor
from tests.penalties import oracles
from tests.penalties.oracles import matrices, relative_error, with_singular_values

ROOT = Path(__file__).parents[1]


def distance(Q: Tensor, W: Tensor) -> Tensor:
    """Return the distance of each Q from W's exact polar factor, over the root of the number of singular values."""
    return torch.linalg.matrix_norm(Q - oracles.polar_factor(W)) / math.sqrt(min(W.shape[-2:]))


@pytest.mark.parametrize("chain", polar.CHAINS)
def test_each_step_is_the_best_polynomial_for_what_the_step_before_has_left(chain: tuple[polar.Step, ...]) -> None:
    """It fills [1 / left, 1] and touches the ends in turn, once more than it has coefficients (Chebyshev)."""
    following = [reach for reach, *_ in chain[1:]] + [1 + 1e-6]
    for (reach, a, b, c), left in zip(chain, following, strict=True):
        s = np.geomspace(1 / reach, 1, 200_001)
        off, radius = s * (a + b * s**2 + c * s**4) - (1 + 1 / left) / 2, (1 - 1 / left) / 2
        assert np.abs(off).max() <= radius * 1.0005 + 2e-9  # the coefficients end at nine digits
        ends = np.sign(off[np.abs(off) > radius * 0.95])
        assert ends[0] == -1 and np.count_nonzero(np.diff(ends)) == (3 if c else 2)


def test_the_steps_reach_what_newton_s_step_leaves() -> None:
    reaches = [steps[0][0] for steps in polar.SCHEDULES]
    assert reaches == sorted(reaches)
    assert reaches[-1] > (1 + polar.INVERSE_LIMIT * polar.LARGE**0.5 / 2) ** 0.5
    assert polar.STEPS_OF_TALL[0][0] > (polar.TALL_LIMIT**0.5 + polar.TALL_LIMIT**-0.5) / 2


@pytest.mark.parametrize("m,n", [(128, 10), (128, 40), (20, 20), (40, 40), (128, 128), (200, 200), (200, 140)])
@pytest.mark.parametrize("large", [polar.LARGE, 16])
def test_any_condition_is_exact_and_the_same_alone_as_in_a_stack(
    m: int, n: int, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polar, "LARGE", large)
    # products, then products after an inverse in float64, then decomposition
    conditions = [1.0, 1.0005, 1.1, 2.0, 10.0, 100.0, 1e3, 8e3, 3e4, 2e5, 1e6, 1e7, 1e8, 1e30]
    s = torch.stack([torch.logspace(0, -np.log10(condition), n, dtype=torch.float64) for condition in conditions])
    s[7:, 1:-1] = 1.0  # a single small one: only its condition decides
    W = with_singular_values(s, m, n)
    Q, wide = polar_factor(W), polar_factor(W.mT.contiguous())
    tolerance = torch.tensor([2e-6 if condition <= 10 else 2e-5 for condition in conditions])
    assert (distance(Q, W) < tolerance).all() and (distance(wide, W.mT) < tolerance).all()
    assert all(torch.equal(polar_factor(W[k]), Q[k]) for k in range(len(W)))


@pytest.mark.parametrize("n", [20, 64, 128])
@pytest.mark.parametrize("condition", [100.0, 500.0, 2e3, 1e5])
def test_half_of_the_singular_values_may_be_small(n: int, condition: float) -> None:
    s = torch.ones(2, n, dtype=torch.float64)
    s[:, n // 2 :] /= condition
    W = with_singular_values(s, n, n)
    assert distance(polar_factor(W), W).max() < 2e-5


@pytest.mark.parametrize("n", [40, 200])
@pytest.mark.parametrize("scale", [1e-15, 1e15])
@pytest.mark.parametrize("compute", [polar_factor, lockstep])
def test_the_polar_factor_is_that_of_any_multiple(n: int, scale: float, compute: object) -> None:
    W = scale * matrices(2, n, n).float()
    assert distance(compute(W), W).max() < 2e-5  # type: ignore[operator]


@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 3, 4, 40), (24, 24), (0, 20, 20), (2, 200, 150)])
def test_shape_and_dtype_stay(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    W = matrices(*shape)
    for on_cpu in (True, False):
        monkeypatch.setattr(polar, "on_cpu", lambda tensor, on_cpu=on_cpu: on_cpu)
        assert torch.equal(polar_factor(W), oracles.polar_factor(W))
        Q = polar_factor(W.float())
        assert Q.shape == shape and Q.dtype == torch.float32
        torch.testing.assert_close(Q.double(), oracles.polar_factor(W), atol=1e-4, rtol=0)


@pytest.mark.parametrize("n", [20, 32, 64])
def test_an_inverse_whose_pivots_have_grown_is_not_used(n: int) -> None:
    """Gaussian elimination with partial pivoting doubles the last column at each step, though W is well conditioned."""
    W = torch.eye(n) - torch.tril(1 - 0.03 * matrices(2, n, n).sigmoid().float(), -1)
    W[:, :, -1] = 1.1
    assert relative_error(polar_factor(W), oracles.polar_factor(W)) < 2e-6


@pytest.mark.slow
def test_a_stack_of_large_matrices_in_several_threads() -> None:
    """In a process of its own, since torch's LU hangs where it meets such a stack."""
    code = (
        "import torch; from tests.test_polar import distance, matrices, polar_factor;"
        "torch.set_num_threads(4); W = matrices(4, 160, 160).float(); print(float(distance(polar_factor(W), W).max()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert not result.stderr and float(result.stdout) < 1e-4


DEGENERATE = {
    "zero": torch.zeros(24, 24),
    "rank one": torch.outer(torch.arange(24.0), torch.ones(40)) / 50,
    "repeated": torch.eye(150),
    "dead value": torch.diag(torch.cat([torch.ones(139), torch.zeros(1)])),
    "small zero": torch.zeros(4, 4),
    "small repeated": torch.eye(5),
    "small dead value": torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])),
    "nearly dead value": torch.diag(torch.tensor([1.0, 0.5, 1e-9])),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_the_deviation_is_finite_where_singular_values_are_zero_or_repeated(
    name: str, dtype: torch.dtype, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polar, "on_cpu", lambda tensor: on_cpu)
    W = DEGENERATE[name].to(dtype)
    found = polar.deviation(W)
    assert torch.isfinite(found).all()
    s = torch.linalg.svdvals(W)
    if s.min() == s.max():
        torch.testing.assert_close(found, torch.zeros_like(found), atol=1e-6, rtol=0)
    # the norm, where no singular value is 0 or a GPU's subgradient may be shorter
    if on_cpu or s.min() > 0.1:
        torch.testing.assert_close(found.square().sum(), (s - s.mean()).square().sum(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("m,n", [(20, 20), (64, 64), (128, 128), (200, 140), (128, 40), (10, 128)])
@pytest.mark.parametrize("n_small", [1, 5])
@pytest.mark.parametrize("small", [1.0, 1e-2, 3e-4, 3e-5, 1e-8])
def test_the_deviation_is_that_of_float64(m: int, n: int, n_small: int, small: float) -> None:
    k = min(m, n)
    s = 1 + matrices(4, k, seed=1).sigmoid()
    s[:, k - n_small :] *= small
    W = with_singular_values(s, m, n)
    assert relative_error(polar.deviation(W), oracles.deviation(W)) < 1e-4


@pytest.mark.parametrize("m,n", [(128, 10), (128, 40), (20, 20), (128, 128), (300, 300)])
def test_in_lockstep_any_condition_within_reach_is_exact(m: int, n: int) -> None:
    conditions = torch.tensor([1.0, 1.0005, 1.1, 2.0, 5.0, 10.0, 100.0, 1e3, 1e4, 1e5], dtype=torch.float64)
    spread = conditions[:8, None] ** -torch.linspace(0, 1, n, dtype=torch.float64)
    few = conditions if m == n else conditions[:8]  # in a tall one digits are lost
    single = torch.ones(len(few), n, dtype=torch.float64)
    single[:, -1] = 1 / few
    for s in (spread, single):
        W = with_singular_values(s, m, n)
        assert distance(lockstep(W), W).max() < 2e-5


@pytest.mark.parametrize("m,n", [(128, 10), (20, 20), (128, 128)])
@pytest.mark.parametrize("small", [1e-6, 1e-9, 0.0])
@pytest.mark.parametrize("n_small", [1, 5])
def test_in_lockstep_values_out_of_reach_give_a_subgradient(m: int, n: int, small: float, n_small: int) -> None:
    s = torch.linspace(1, 0.1, n, dtype=torch.float64).expand(2, n).clone()
    s[1, -n_small:] = small
    W = with_singular_values(s, m, n)
    Q = lockstep(W).double()
    assert distance(Q[:1].float(), W[:1]).max() < 2e-5  # another matrix of the stack stays exact
    U, _, Vh = torch.linalg.svd(W[1].double(), full_matrices=False)
    large, few = n - n_small, slice(n - n_small, None)
    eye = torch.eye(large, dtype=torch.float64)
    torch.testing.assert_close(U[:, :large].T @ Q[1] @ Vh[:large].T, eye, rtol=0, atol=1e-4)
    torch.testing.assert_close(Q[1] @ Vh[few].T, U[:, few] @ (U[:, few].T @ Q[1] @ Vh[few].T), rtol=0, atol=2e-2)
    assert torch.linalg.matrix_norm(Q[1], 2) < 1 + 1e-5
