"""Each penalty against its formula, and its gradient against difference quotients and autograd in float64."""

import importlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from svvr import penalties
from svvr.execution.provenance import maker
from svvr.penalties import Layer
from svvr.training import model
from svvr.training.penalty import check, gradient, load, values
from tests.penalties.oracles import matrices, relative_error

HIDDEN, HEAD = Layer(0, 3), Layer(2, 3)
# of the singular values (k,)
FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda s: 0 * s.sum(),
    "l2": lambda s: (s**2).sum() / 2,
    "spectral_norm": lambda s: s.max() ** 2 / 2,
    "orthogonality": lambda s: ((s**2 - 1) ** 2).sum(),
    "condition_number": lambda s: s.max() ** 2 / 2 - (s**2).mean() / 2,
    "log_det": lambda s: ((s**2).sum() - (s**2 + 1e-6).log().sum() - len(s)) / 2,
    "sv_variance": lambda s: ((s - s.mean()) ** 2).sum() / (len(s) - 1),
    "sv_variance_hidden": lambda s: ((s - s.mean()) ** 2).sum() / (len(s) - 1),
    "sv_variation": lambda s: ((s - s.mean()) ** 2).mean() / s.mean() ** 2,
}
SIZES = (5, 7, 6, 3)


def decorrelation(net: nn.Sequential, x: Tensor) -> Tensor:
    total = torch.zeros((), dtype=x.dtype)
    for module in net:
        x = module(x)
        if isinstance(module, nn.ReLU):
            C = torch.cov(x.T, correction=0)
            total = total + (C.square().sum() - C.diagonal().square().sum()) / 2
    return total


def jacobian_norm(net: nn.Sequential, x: Tensor) -> Tensor:
    each = [torch.autograd.functional.jacobian(net, row, create_graph=True) for row in x]
    return torch.stack([J.square().sum() for J in each]).mean() / 2


NETWORK_ORACLES = {"activation_decorrelation": decorrelation, "jacobian": jacobian_norm}
NAMES = sorted(path.stem for path in Path(penalties.__path__[0]).glob("[!_]*.py"))


def given(name: str, layer: Layer = HIDDEN) -> dict[str, Any]:
    """Return the arguments after W."""
    return {"layer": layer} if load(name).of_layer else {}


def test_every_penalty_has_an_oracle() -> None:
    assert {*FORMULAS, *NETWORK_ORACLES} == set(NAMES)


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_a_penalty_of_matrices_is_its_formula_and_its_gradient_a_difference_quotient(
    name: str, shape: tuple[int, int]
) -> None:
    W, direction, h = matrices(*shape), matrices(*shape, seed=1), 1e-6
    penalty = importlib.import_module(f"svvr.penalties.{name}").penalty
    torch.testing.assert_close(penalty(W, **given(name)), FORMULAS[name](torch.linalg.svdvals(W)))
    assert penalty(W.float(), **given(name)).dtype == torch.float32
    ends = [FORMULAS[name](torch.linalg.svdvals(W + sign * h * direction)) for sign in (1, -1)]
    found = grad(penalty)(W, **given(name))
    torch.testing.assert_close((found * direction).sum(), (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in FORMULAS if load(name).closed_form])
@pytest.mark.parametrize("shape", [(3, 40, 128), (3, 128, 40), (3, 128, 128), (3, 10, 128), (3, 2, 2)])
def test_a_closed_form_is_autograd_s_and_exact_enough_in_float32(name: str, shape: tuple[int, ...]) -> None:
    W, module = matrices(*shape) / shape[2] ** 0.5, importlib.import_module(f"svvr.penalties.{name}")
    more = given(name)
    derived = vmap(grad(lambda W: module.penalty(W, **more)))
    torch.testing.assert_close(module.gradient(W, **more), derived(W), rtol=1e-7, atol=1e-9)
    found = module.gradient(W.float(), **more)
    assert found.dtype == torch.float32 and relative_error(found, derived(W.float().double())) < 1e-4


def test_log_det_with_an_eps_of_each_matrix() -> None:
    module, W, eps = importlib.import_module("svvr.penalties.log_det"), matrices(3, 6, 4), torch.tensor([0.1, 1.0, 2.0])
    expected = vmap(grad(module.penalty))(W, eps)
    torch.testing.assert_close(module.gradient(W, eps[:, None, None]), expected)
    assert torch.isfinite(module.gradient(torch.zeros(2, 5, 3))).all()


def test_the_hidden_variance_leaves_the_head_free() -> None:
    module, W = importlib.import_module("svvr.penalties.sv_variance_hidden"), matrices(2, 6, 5)
    assert module.penalty(W[0], HEAD) == 0 and (module.gradient(W, HEAD) == 0).all()


def stack(k: int, sizes: tuple[int, ...]) -> model.Stack:
    return model.copy(torch.stack([model.initial_weights(sizes, seed) for seed in range(k)]), sizes)


def batches(k: int, sizes: tuple[int, ...], n: int) -> tuple[Tensor, Tensor]:
    return matrices(k, n, sizes[0]).float(), torch.arange(n).remainder(sizes[-1]).repeat(k, 1)


def added(name: str, models: model.Stack, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the penalty's gradient at K networks, (K, P)."""
    total = model.copy(torch.zeros_like(models.flat), models.sizes)
    gradient(name, models.sizes, {}, {})(models, batch, torch.ones(len(models.flat)), total)
    return total.flat


@pytest.mark.parametrize("name", NETWORK_ORACLES)
def test_a_penalty_of_networks_is_that_of_a_plain_model(name: str) -> None:
    models, (x, y) = model.copy(2 * stack(3, SIZES).flat, SIZES), batches(3, SIZES, 11)
    found = added(name, models, (x, y))
    for k in range(3):
        layers = [nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
        with torch.no_grad():
            for layer, weight, bias in zip(layers, models.weights, models.biases, strict=True):
                layer.weight.copy_(weight[k])
                layer.bias.copy_(bias[k])
        net = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1]).double()
        value = NETWORK_ORACLES[name](net, x[k].double())
        batch = x[k].numpy(), y[k].numpy()
        assert values(name, SIZES, models.flat[k : k + 1].numpy(), *batch, {}, {}) == pytest.approx(value.item())
        parts = torch.autograd.grad(value, list(net.parameters()), materialize_grads=True)
        expected = torch.cat([part.flatten() for part in parts]).float()
        torch.testing.assert_close(found[k], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sizes", [(40, 128, 128, 10), (6, 12, 9, 3)])
def test_a_network_has_the_same_bytes_alone_and_in_a_stack(name: str, sizes: tuple[int, ...]) -> None:
    # in a stack, not one by one; on AMD, MKL's products of the smallest matrices differ in a stack
    assert check(name, sizes, (), ()) or (max(sizes) < 16 and maker() == "AuthenticAMD")
    for n in (128, 32):
        models, (x, y) = stack(5, sizes), batches(5, sizes, n)
        found = added(name, models, (x, y))
        for k in range(5):
            alone = model.copy(models.flat[k : k + 1], sizes)
            assert torch.equal(added(name, alone, (x[k : k + 1], y[k : k + 1]))[0], found[k])
