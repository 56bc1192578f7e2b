"""Penalties against autograd through a decomposition."""

import importlib
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from svvr import penalties
from svvr.core.files import Arrays
from svvr.learn import train as training
from svvr.learn.train import Run
from svvr.penalties import sv_variance


def by_autograd(W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.enable_grad():
        leaf = W.double().detach().requires_grad_()
        value = torch.linalg.svdvals(leaf).var(-1)
        (gradient,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), gradient


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    norms = torch.linalg.matrix_norm(got.double() - expected) / torch.linalg.matrix_norm(expected)
    return float(norms.max())


def matrices(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


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
    value, expected = by_autograd(W)
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
    _, expected = by_autograd(W)
    assert sv_variance.gradient(W).dtype == torch.float32
    assert relative_error(sv_variance.gradient(W), expected) < 1e-5
    torch.testing.assert_close(sv_variance.penalty(W), torch.linalg.svdvals(W).var(-1), rtol=1e-4, atol=1e-6)


def degenerate() -> dict[str, torch.Tensor]:
    one_dead = torch.diag(torch.tensor([1.0, 1.0, 1.0, 0.0]))
    return {
        "large zero": torch.zeros(24, 24),
        "large rank one": torch.outer(torch.arange(24.0), torch.ones(40)) / 50,
        "large repeated": torch.eye(150),
        "large dead value": torch.diag(torch.cat([torch.ones(139), torch.zeros(1)])),
        "zero": torch.zeros(4, 4),
        "rank one": torch.outer(torch.arange(4.0), torch.ones(6)),
        "repeated": torch.eye(5),
        "one dead value": one_dead,
        "nearly dead value": torch.diag(torch.tensor([1.0, 0.5, 1e-9])),
        "zero row": torch.cat([torch.zeros(1, 7), torch.eye(3, 7)]),
    }


@pytest.mark.parametrize("name", degenerate())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_where_singular_values_are_zero_or_repeated(name: str, dtype: torch.dtype) -> None:
    W = degenerate()[name].to(dtype).requires_grad_()
    value = sv_variance.penalty(W)
    (gradient,) = torch.autograd.grad(value, W)
    assert torch.isfinite(gradient).all() and torch.isfinite(value)
    assert value.item() == pytest.approx(np.var(np.linalg.svd(W.detach().double().numpy())[1], ddof=1), abs=1e-6)
    if name.endswith("repeated"):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0)


def test_small_singular_values_keep_their_direction() -> None:
    U, _, Vh = torch.linalg.svd(matrices(20, 20))
    for smallest in (1e-2, 1e-4, 1e-6, 1e-8):
        s = torch.logspace(0, -1, 20, dtype=torch.float64)
        s[-1] = smallest
        W = ((U * s) @ Vh).float()
        # float32 rounds W itself, so the oracle takes the rounded matrix
        assert relative_error(sv_variance.gradient(W)[None], by_autograd(W)[1][None]) < 1e-4


def assert_best(mapped: np.ndarray, lowest: float, n_touches: int) -> None:
    """Assert that the values fill [lowest, 1] and touch its ends in turn at so many places (Chebyshev)."""
    centre, radius = (1 + lowest) / 2, (1 - lowest) / 2
    assert np.abs(mapped - centre).max() <= radius * 1.0005 + 2e-9  # the coefficients end at nine digits
    at_an_end = np.abs(mapped - centre) > radius * 0.95
    ends = np.sign(mapped - centre)[at_an_end]
    assert ends[0] == -1 and np.count_nonzero(np.diff(ends)) == n_touches - 1


def test_each_step_is_the_best_polynomial_for_what_the_step_before_has_left() -> None:
    for chain in sv_variance.CHAINS:
        following = [reach for reach, *_ in chain[1:]] + [1 + 1e-6]
        for (reach, a, b, c), left in zip(chain, following, strict=True):
            s = np.geomspace(1 / reach, 1, 200_001)
            assert_best(s * (a + b * s**2 + c * s**4), 1 / left, 4 if c else 3)
    assert sv_variance.REACHES[-1] > (1 + sv_variance.INVERSE_LIMIT / 2) ** 0.5
    assert sv_variance.STEPS_OF_TALL[0][0] > (sv_variance.TALL_LIMIT**0.5 + sv_variance.TALL_LIMIT**-0.5) / 2


@pytest.mark.parametrize("spread", [1.001, 1.5, 30.0, 1e3])
def test_halley_s_step_is_the_best_of_its_kind(spread: float) -> None:
    a, b, c, left = sv_variance.halley(spread)
    s = np.geomspace(1 / spread, 1, 200_001)
    assert_best(s * (a + b * s**2) / (1 + c * s**2), 1 / left, 4)
    assert left < sv_variance.REACHES[-1] and sv_variance.halley(1.0) == (3, 1, 3, 1)


@pytest.mark.parametrize("m,n", [(128, 10), (128, 40), (20, 20), (40, 40), (128, 128), (200, 200)])
def test_matrices_of_any_condition_in_one_stack_are_exact_and_as_they_are_alone(m: int, n: int) -> None:
    # products, then products after an inverse in float64, then decomposition
    conditions = [1.0, 1.0005, 1.1, 2.0, 10.0, 100.0, 1e3, 8e3, 3e4, 2e5, 1e6, 1e7, 1e8, 1e30]
    U, _, Vh = torch.linalg.svd(matrices(len(conditions), m, n), full_matrices=False)
    s = torch.stack([torch.logspace(0, -np.log10(condition), n, dtype=torch.float64) for condition in conditions])
    s[7:, 1:-1] = 1.0  # a single small one: only its condition decides
    W = ((U * s[:, None, :]) @ Vh).float()
    Q = sv_variance.polar_factor(W)
    for k, condition in enumerate(conditions):
        exact = sv_variance.polar_factor(W[k].double())
        # float32 blurs the smallest one's direction
        tolerance = 2e-6 + (2e-7 * condition if condition < 2e4 else 5e-6 if condition < 1e7 else 0)
        assert torch.linalg.matrix_norm(Q[k].double() - exact) < tolerance * n**0.5, condition
        assert torch.equal(sv_variance.polar_factor(W[k]), Q[k])
        wide = sv_variance.polar_factor(W.mT.contiguous())[k]
        assert torch.linalg.matrix_norm(wide.double() - exact.mT) < tolerance * n**0.5, condition


@pytest.mark.parametrize("n", [40, 200])
@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_polar_factor_is_that_of_any_multiple(n: int, scale: float) -> None:
    W = matrices(2, n, n).float()
    Q = sv_variance.polar_factor(scale * W)
    exact = sv_variance.polar_factor((scale * W).double())
    assert torch.linalg.matrix_norm(Q.double() - exact).max() < 1e-5 * n**0.5


@pytest.mark.parametrize("n", [20, 64, 128])
@pytest.mark.parametrize("smallest", [1e-3, 3e-4, 1e-4, 3e-5])
def test_several_small_singular_values_keep_their_directions(n: int, smallest: float) -> None:
    U, _, Vh = torch.linalg.svd(matrices(4, n, n))
    s = 1 + matrices(4, n, seed=1).sigmoid()
    s[:, -5:] *= smallest
    W = ((U * s[:, None, :]) @ Vh).float()
    assert relative_error(sv_variance.gradient(W), by_autograd(W)[1]) < 1e-4


@pytest.mark.parametrize("n", [20, 32, 64])
def test_an_inverse_whose_pivots_have_grown_is_not_used(n: int) -> None:
    """Gaussian elimination with partial pivoting doubles the last column at each step, though W is well conditioned."""
    W = torch.eye(n) - torch.tril(1 - 0.03 * matrices(2, n, n).sigmoid().float(), -1)
    W[:, :, -1] = 1.1
    assert relative_error(sv_variance.gradient(W), by_autograd(W)[1]) < 1e-5


@pytest.mark.parametrize("shape", [(4, 160, 160), (4, 160, 200)])
def test_a_stack_of_large_matrices_in_several_threads(shape: tuple[int, ...]) -> None:
    """In a process of its own, since torch's LU hangs where it meets such a stack."""
    code = (
        "import torch; from svvr.penalties.sv_variance import gradient; from tests.test_penalties import *;"
        f"torch.set_num_threads(4); W = matrices{shape}.float(); print(relative_error(gradient(W), by_autograd(W)[1]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert not result.stderr
    assert float(result.stdout) < 1e-4


@pytest.mark.parametrize("n", [24, 128])
def test_singular_values_that_are_nearly_alike(n: int) -> None:
    U, _, Vh = torch.linalg.svd(matrices(4, n, n))
    s = 1 + 0.01 * matrices(4, n, seed=1)
    W = ((U * s[:, None, :]) @ Vh).float()
    value, expected = by_autograd(W)
    assert relative_error(sv_variance.gradient(W), expected) < 1e-4
    torch.testing.assert_close(sv_variance.penalty(W).double(), value, rtol=1e-4, atol=0)


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
    (gradient,) = torch.autograd.grad(sv_variance.penalty(W), W, create_graph=True)
    with pytest.raises(RuntimeError):
        torch.autograd.grad(gradient.sum(), W)


def test_the_gradient_stays_exact_along_training(monkeypatch: pytest.MonkeyPatch, record_property: object) -> None:
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
        if len(errors) % 5 == 0:
            errors.append(relative_error(result, by_autograd(W)[1]))
        else:
            errors.append(0.0)
        return result

    monkeypatch.setattr(sv_variance, "gradient", watched)
    spread = [(3e-4, 1e-3), (0.002, 0.03), (0.02, 0.3), (0.05, 0.01), (0.002, 10.0)]
    training.train([Run(k, lr, 0, "sv_variance", strength, epochs=8) for k, (lr, strength) in enumerate(spread)], data)
    record_property("worst_relative_error", max(errors))  # type: ignore[operator]
    assert len(errors) == 8 * 5 * 3 and 0 < max(errors) < 1e-4


def test_none_is_zero() -> None:
    assert penalties.gradient("none")(matrices(2, 3, 4)).abs().max() == 0


def test_a_penalty_without_closed_form_goes_through_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    W = matrices(3, 5, 4)
    closed_form = penalties.gradient("sv_variance")(W)
    monkeypatch.delattr(sv_variance, "gradient")
    monkeypatch.setattr(sv_variance, "penalty", lambda W: torch.linalg.svdvals(W).var(-1))
    torch.testing.assert_close(penalties.gradient("sv_variance")(W), closed_form)


def test_an_unknown_penalty_is_named() -> None:
    with pytest.raises(ValueError, match="penalty: got 'nuclear', expected the name of a file in svvr/penalties"):
        penalties.gradient("nuclear")


def test_a_penalty_of_the_wrong_shape_or_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from svvr.penalties import none

    W = matrices(2, 3, 4)
    monkeypatch.setattr(none, "penalty", lambda W: W.sum())
    with pytest.raises(ValueError, match=r"penalty 'none': got a value of shape \(\), expected \(2,\)"):
        penalties.gradient("none")(W)
    monkeypatch.setattr(none, "penalty", lambda W: (W.sum((-2, -1)) * 0).sqrt())
    with pytest.raises(ValueError, match="penalty 'none': got a gradient that is not finite"):
        penalties.gradient("none")(W)


def test_a_mistake_in_a_penalty_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from svvr.penalties import none

    W = matrices(2, 3, 4)
    monkeypatch.setattr(none, "penalty", lambda W: 0.0)
    with pytest.raises(ValueError, match=r"penalty 'none': got a float, expected a tensor of shape \(2,\)"):
        penalties.gradient("none")(W)
    monkeypatch.setattr(none, "penalty", lambda W: torch.zeros(2))
    with pytest.raises(ValueError, match="penalty 'none': got a value without gradient"):
        penalties.gradient("none")(W)
    monkeypatch.setattr(none, "gradient", lambda W: 2 * W[0], raising=False)  # would broadcast over the stack
    with pytest.raises(ValueError, match=r"penalty 'none': got a gradient of shape \(3, 4\), .* \(2, 3, 4\)"):
        penalties.gradient("none")(W)
    monkeypatch.setattr(none, "gradient", lambda W: W * torch.nan)
    with pytest.raises(ValueError, match="penalty 'none': got a gradient that is not finite"):
        penalties.gradient("none")(W)
    monkeypatch.delattr(none, "penalty")
    with pytest.raises(ValueError, match=r"penalty 'none': got a file without the function penalty\(W\)"):
        penalties.gradient("none")


def test_a_module_that_a_penalty_s_file_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'foo'", name="foo")

    monkeypatch.setattr(penalties, "importlib", SimpleNamespace(import_module=absent))
    with pytest.raises(ValueError, match="penalty 'mine': its file imports foo, which is not installed"):
        penalties.gradient("mine")


def singular_values(W: torch.Tensor) -> np.ndarray:
    return np.linalg.svd(W.detach().double().numpy(), compute_uv=False)


ORACLES = {
    "l2": lambda s: (s**2).sum(-1) / 2,
    "spectral_norm": lambda s: s.max(-1) ** 2 / 2,
    "orthogonality": lambda s: ((s**2 - 1) ** 2).sum(-1),
    "condition_number": lambda s: s.max(-1) ** 2 / 2 - (s**2).mean(-1) / 2,
    "sv_variation": lambda s: s.var(-1) / s.mean(-1) ** 2,
}


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 4), (2, 3, 5, 5)])
def test_each_penalty_is_its_formula_in_singular_values(name: str, shape: tuple[int, ...]) -> None:
    W = matrices(*shape)
    module = importlib.import_module(f"svvr.penalties.{name}")
    np.testing.assert_allclose(module.penalty(W).numpy(), ORACLES[name](singular_values(W)), rtol=1e-10)
    assert module.penalty(W.float()).dtype == torch.float32


@pytest.mark.parametrize("name", ORACLES)
def test_each_penalty_s_gradient_is_a_difference_quotient(name: str) -> None:
    W, direction, h = matrices(3, 4, 5), matrices(3, 4, 5, seed=1), 1e-6
    module = importlib.import_module(f"svvr.penalties.{name}")
    slope = (penalties.gradient(name)(W) * direction).sum((-2, -1))
    quotient = (module.penalty(W + h * direction) - module.penalty(W - h * direction)) / (2 * h)
    torch.testing.assert_close(slope, quotient, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [*ORACLES, "sv_variance"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("shape", [(2, 4, 4), (2, 24, 24), (2, 40, 24), (2, 140, 140)])
def test_a_matrix_that_has_diverged_leaves_its_neighbours_alone(
    name: str, value: float, shape: tuple[int, ...]
) -> None:
    W = matrices(*shape).float()
    good = penalties.gradient(name)(W)
    W[1, 2, 2] = value
    gradient = penalties.gradient(name)(W)
    assert torch.equal(gradient[0], good[0])
    assert value == 1e30 or gradient[1].isnan().all()


@pytest.mark.parametrize("name", [*ORACLES, "sv_variance"])
@pytest.mark.parametrize("lr", [1e8, 1e20, 1e30])
def test_a_diverging_run_ends_as_failed(name: str, lr: float, tiny_data: Arrays) -> None:
    run = Run(seed=1, lr=0.01, penalty=name, strength=0.05, hidden=(8, 7), epochs=3, batch_size=32)
    calm, wild = training.train([run, replace(run, lr=lr)], tiny_data)
    assert calm["complete"] and (lr < 1e9 or not wild["complete"])
    (alone,) = training.train([run], tiny_data)
    assert np.array_equal(alone["weights"], calm["weights"])


@pytest.mark.parametrize("name", ["condition_number", "sv_variation"])
def test_a_single_singular_value_is_refused_where_it_means_nothing(name: str) -> None:
    module = importlib.import_module(f"svvr.penalties.{name}")
    with pytest.raises(ValueError, match=rf"weights of {name}: got shape \(3, 1\), expected m, n >= 2"):
        module.penalty(torch.ones(3, 1))
    assert module.penalty(torch.eye(4)[None]).item() == pytest.approx(0, abs=1e-6)


def test_the_scale_free_penalty_is_free_of_scale() -> None:
    from svvr.penalties import sv_variation

    W = matrices(3, 4, 5)
    torch.testing.assert_close(sv_variation.penalty(7 * W), sv_variation.penalty(W))


@pytest.mark.parametrize("name", ORACLES)
def test_each_penalty_trains(name: str, tiny_data: Arrays) -> None:
    run = Run(seed=1, lr=0.01, penalty=name, strength=0.05, hidden=(8, 7), epochs=3, batch_size=32)
    (result,) = training.train([run], tiny_data)
    (plain,) = training.train([replace(run, penalty="none", strength=0.0)], tiny_data)
    assert result["complete"] and not np.array_equal(result["weights"], plain["weights"])
