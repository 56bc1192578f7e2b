"""The variance of the singular values and its gradient against autograd through a decomposition in float64."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svvr.core.files import Arrays
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.penalties import sv_variance
from tests.penalties.oracles import matrices, relative_error, variance, with_singular_values


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 3), max_size=2),
    st.integers(2, 9),
    st.integers(2, 9),
    st.floats(1e-3, 1e3),
    st.integers(0, 10**6),
)
def test_value_and_gradient_are_autograd_s(batch: list[int], m: int, n: int, scale: float, seed: int) -> None:
    W = scale * matrices(*batch, m, n, seed=seed)
    value, expected = variance(W)
    leaf = W.clone().requires_grad_()
    got = sv_variance.penalty(leaf)
    assert got.shape == tuple(batch)
    torch.testing.assert_close(got.detach(), value, rtol=1e-11, atol=1e-13 * scale**2)
    (gradient,) = torch.autograd.grad((2 * got).sum(), leaf)
    torch.testing.assert_close(gradient / 2, expected, rtol=1e-9, atol=1e-10 * scale)
    torch.testing.assert_close(sv_variance.gradient(W), expected, rtol=1e-9, atol=1e-10 * scale)
    # it shrinks W: <W, gradient> = 2 Var
    torch.testing.assert_close((W * gradient / 2).sum((-2, -1)), 2 * value, rtol=1e-8, atol=1e-12 * scale**2)


@pytest.mark.parametrize("shape", [(3, 40, 128), (3, 128, 40), (3, 128, 128), (3, 10, 128), (2, 2, 2)])
def test_float32_at_the_sizes_of_the_network(shape: tuple[int, ...]) -> None:
    W = matrices(*shape).float()
    _, expected = variance(W)
    assert sv_variance.gradient(W).dtype == torch.float32
    assert relative_error(sv_variance.gradient(W), expected) < 1e-5
    torch.testing.assert_close(sv_variance.penalty(W), torch.linalg.svdvals(W).var(-1), rtol=1e-4, atol=1e-6)


DEGENERATE: dict[str, Callable[[], torch.Tensor]] = {
    "large zero": lambda: torch.zeros(24, 24),
    "large rank one": lambda: torch.outer(torch.arange(24.0), torch.ones(40)) / 50,
    "large repeated": lambda: torch.eye(150),
    "large dead value": lambda: torch.diag(torch.cat([torch.ones(139), torch.zeros(1)])),
    "zero": lambda: torch.zeros(4, 4),
    "rank one": lambda: torch.outer(torch.arange(4.0), torch.ones(6)),
    "repeated": lambda: torch.eye(5),
    "one dead value": lambda: torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0])),
    "nearly dead value": lambda: torch.diag(torch.tensor([1.0, 0.5, 1e-9])),
    "zero row": lambda: torch.cat([torch.zeros(1, 7), torch.eye(3, 7)]),
}


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_singular_values_are_zero_or_repeated(name: str, dtype: torch.dtype) -> None:
    W = DEGENERATE[name]().to(dtype).requires_grad_()
    value = sv_variance.penalty(W)
    (gradient,) = torch.autograd.grad(value, W)
    assert torch.isfinite(gradient).all() and torch.isfinite(value)
    assert value.item() == pytest.approx(np.var(np.linalg.svd(W.detach().double().numpy())[1], ddof=1), abs=1e-6)
    if name.endswith("repeated"):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6, 1e-8])
def test_a_small_singular_value_keeps_its_direction(smallest: float) -> None:
    s = torch.logspace(0, -1, 20, dtype=torch.float64)[None]
    s[:, -1] = smallest
    W = with_singular_values(s, 20, 20)  # rounded to float32, so the oracle takes the rounded matrix
    assert relative_error(sv_variance.gradient(W), variance(W)[1]) < 1e-4


@pytest.mark.parametrize("n", [20, 64, 128])
@pytest.mark.parametrize("smallest", [1e-3, 3e-4, 1e-4, 3e-5])
def test_several_small_singular_values_keep_their_directions(n: int, smallest: float) -> None:
    s = 1 + matrices(4, n, seed=1).sigmoid()
    s[:, -5:] *= smallest
    W = with_singular_values(s, n, n)
    assert relative_error(sv_variance.gradient(W), variance(W)[1]) < 1e-4


@pytest.mark.parametrize("n", [24, 128])
def test_singular_values_that_are_nearly_alike(n: int) -> None:
    W = with_singular_values(1 + 0.01 * matrices(4, n, seed=1), n, n)
    value, expected = variance(W)
    assert relative_error(sv_variance.gradient(W), expected) < 1e-4
    torch.testing.assert_close(sv_variance.penalty(W).double(), value, rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(10, 128), (128, 40), (128, 128), (200, 200)])
def test_a_matrix_has_the_same_gradient_alone_and_in_a_stack(shape: tuple[int, int]) -> None:
    W = matrices(5, *shape).float()
    stacked = sv_variance.gradient(W)
    assert all(torch.equal(sv_variance.gradient(W[k]), stacked[k]) for k in range(len(W)))


def test_scale() -> None:
    W = matrices(3, 6, 5)
    torch.testing.assert_close(sv_variance.penalty(3 * W), 9 * sv_variance.penalty(W))


@pytest.mark.parametrize("bad", [torch.zeros(1, 5), torch.zeros(3, 5, 1), torch.zeros(4)])
def test_a_single_singular_value_has_no_variance(bad: torch.Tensor) -> None:
    for function in (sv_variance.penalty, sv_variance.gradient):
        with pytest.raises(ValueError, match=r"weights of sv_variance: got shape .*, expected \(\.\.\., m, n\)"):
            function(bad)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 24, 24), (2, 40, 24), (2, 140, 140)])
def test_weights_that_are_not_finite(value: float, shape: tuple[int, ...]) -> None:
    W = matrices(*shape).float()
    W[1, 2, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        sv_variance.penalty(W)


def test_finite_weights_whose_sum_overflows_are_not_refused() -> None:
    assert not torch.isfinite(sv_variance.penalty(torch.full((2, 2), 3e38)))


def test_double_backward_is_refused() -> None:
    W = matrices(3, 3).requires_grad_()
    value = sv_variance.penalty(W) ** 2  # a factor of the gradient then depends on W by itself
    (gradient,) = torch.autograd.grad(value, W, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_gradient_stays_exact_along_training(
    monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    rng = np.random.default_rng(0)
    data: Arrays = {
        "x_train": rng.normal(size=(640, 40)).astype(np.float32),
        "y_train": np.arange(640) % 10,
        "x_validation": rng.normal(size=(100, 40)).astype(np.float32),
        "y_validation": np.arange(100) % 10,
    }
    errors: list[float] = []
    fast = sv_variance.gradient

    def watched(W: torch.Tensor) -> torch.Tensor:
        result = fast(W)
        errors.append(relative_error(result, variance(W)[1]) if len(errors) % 5 == 0 else 0.0)
        return result

    monkeypatch.setattr(sv_variance, "gradient", watched)
    spread = [(3e-4, 1e-3), (0.002, 0.03), (0.02, 0.3), (0.05, 0.01), (0.002, 10.0)]
    train([Run(k, lr, 0, "sv_variance", strength, epochs=8) for k, (lr, strength) in enumerate(spread)], data)
    record_property("worst_relative_error", max(errors))
    assert len(errors) >= 8 * 5 * 3 and 0 < max(errors) < 1e-4  # a step of each layer, and the probe's calls
