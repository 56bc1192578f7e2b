"""Penalties of whole networks against one plain model, and those that know their layer."""

import itertools

import pytest
import torch
from torch import nn

from svvr.learn import model, penalty
from svvr.learn.network import network
from svvr.penalties import activation_decorrelation, jacobian, sv_variance, sv_variance_hidden, sv_variance_scaled
from svvr.penalties.helpers.layer import Layer
from tests.penalties.oracles import matrices

SIZES = (5, 7, 6, 3)


def plain(flat: torch.Tensor) -> nn.Sequential:
    """Make one model, by torch's own layers."""
    layers = [nn.Linear(a, b, dtype=flat.dtype) for a, b in itertools.pairwise(SIZES)]
    with torch.no_grad():
        for layer, (weight, bias) in zip(layers, model.layers(flat, SIZES), strict=True):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def decorrelation(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    total = torch.zeros((), dtype=x.dtype)
    for module in net:
        x = module(x)
        if isinstance(module, nn.ReLU):
            C = torch.cov(x.T, correction=0)
            total = total + (C.square().sum() - C.diagonal().square().sum()) / 2
    return total


def jacobian_norm(net: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    each = [torch.autograd.functional.jacobian(net, row, create_graph=True) for row in x]
    return torch.stack([J.square().sum() for J in each]).mean() / 2


@pytest.mark.parametrize("name,oracle", [("activation_decorrelation", decorrelation), ("jacobian", jacobian_norm)])
def test_value_and_gradient_are_those_of_a_plain_model(name: str, oracle: object) -> None:
    flat = torch.stack([model.initial_weights(SIZES, seed) for seed in range(3)]).double() * 2
    x, y = matrices(3, 11, 5), torch.zeros(3, 11, dtype=torch.int64)
    module = {"jacobian": jacobian, "activation_decorrelation": activation_decorrelation}[name]
    values = module.penalty(network(flat, SIZES, x), x, y)
    gradients = penalty.network_gradient(name, SIZES)(flat, x, y)
    for k in range(3):
        net = plain(flat[k])
        value = oracle(net, x[k])  # type: ignore[operator]
        torch.testing.assert_close(values[k], value.detach())
        parts = torch.autograd.grad(value, list(net.parameters()), materialize_grads=True)
        torch.testing.assert_close(gradients[k], torch.cat([part.flatten() for part in parts]))


def test_a_network_that_has_diverged_leaves_its_neighbours_alone() -> None:
    flat = torch.stack([model.initial_weights(SIZES, seed) for seed in range(3)])
    x, y = matrices(3, 11, 5).float(), torch.zeros(3, 11, dtype=torch.int64)
    gradient = penalty.network_gradient("jacobian", SIZES)
    good = gradient(flat, x, y)
    flat[1, 4] = torch.nan
    found = gradient(flat, x, y)
    assert torch.equal(found[[0, 2]], good[[0, 2]]) and found[1].isnan().all()


def test_the_hidden_variance_leaves_the_head_free() -> None:
    W, hidden, head = matrices(2, 6, 5), Layer(0, 3), Layer(2, 3)
    torch.testing.assert_close(sv_variance_hidden.penalty(W, hidden), sv_variance.penalty(W))
    torch.testing.assert_close(penalty.gradient("sv_variance_hidden", hidden)(W), sv_variance.gradient(W))
    assert (sv_variance_hidden.penalty(W, head) == 0).all()
    assert (penalty.gradient("sv_variance_hidden", head)(W) == 0).all()


def test_the_scaled_variance_undoes_the_factor_of_each_layer() -> None:
    for k in (3, 5):
        W = matrices(2, 6, k)
        torch.testing.assert_close(sv_variance_scaled.gradient(W), sv_variance.gradient(W) * (k - 1) / 2)
        torch.testing.assert_close(sv_variance_scaled.penalty(W), sv_variance.penalty(W) * (k - 1) / 2)
