"""The stacked network against torch.nn."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap
from torch.nn.functional import cross_entropy, linear

from svvr.training import model

SIZES = (6, 9, 8, 4)


def logits(flat: Tensor, x: Tensor) -> Tensor:
    """Return one network's logits (B, C) from parameters (P,) and x (B, inputs)."""
    *hidden, head = model.layers(flat, SIZES)
    for W, b in hidden:
        x = linear(x, W, b).relu()
    return linear(x, *head)


def problem(k: int, shared: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    flat = torch.stack([model.initial_weights(SIZES, seed) for seed in range(k)]).double()
    x = torch.randn(*(() if shared else (k,)), 5, 6, generator=generator, dtype=torch.float64)
    return flat, x, torch.randint(0, 4, (5,) if shared else (k, 5), generator=generator)


@pytest.mark.parametrize("shared", [False, True])
def test_forward_backward_and_loss_are_autograd_s(shared: bool) -> None:
    flat, x, y = problem(3, shared)
    models, gradient = model.copy(flat.float(), SIZES), model.copy(torch.empty_like(flat), SIZES)
    assert all((row.data_ptr() - models.flat.data_ptr()) % 64 == 0 for row in models.flat)
    assert models.sizes == SIZES and torch.equal(models.flat, flat)
    models = model.stack(flat, SIZES)
    activations = model.forward(models, x)
    losses, delta = model.cross_entropy(activations[-1], y)
    model.backward(models, activations, delta, gradient)
    for k in range(3):
        own_x, own_y = (x, y) if shared else (x[k], y[k])
        torch.testing.assert_close(activations[-1][k].T, logits(flat[k], own_x))
        torch.testing.assert_close(losses[k], cross_entropy(logits(flat[k], own_x), own_y, reduction="none"))
        expected = grad(lambda one, x=own_x, y=own_y: cross_entropy(logits(one, x), y))(flat[k])
        torch.testing.assert_close(gradient.flat[k], expected)


def test_forward_differentiates_twice_and_under_vmap() -> None:
    def loss(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(model.forward(model.stack(flat[None], SIZES), x)[-1][0].T, y)

    def expected(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return cross_entropy(logits(flat, x), y)

    flat, x, y = problem(3)
    torch.testing.assert_close(vmap(grad(loss))(flat, x, y), vmap(grad(expected))(flat, x, y))
    found, wanted = (
        torch.autograd.functional.hessian(lambda one, of=of: of(one, x[0], y[0]), flat[0]) for of in (loss, expected)
    )
    torch.testing.assert_close(found, wanted)


def test_initial_weights_have_the_distribution_of_nn_linear_and_come_from_the_seed_alone() -> None:
    sizes = (40, 128, 128, 10)
    models = model.stack(torch.stack([model.initial_weights(sizes, seed) for seed in range(40)]), sizes)
    torch.manual_seed(0)
    for n_in, W, b in zip(sizes, models.weights, models.biases, strict=False):
        reference = torch.stack([nn.Linear(n_in, W.shape[1]).weight.detach() for _ in range(40)])
        assert max(W.abs().max(), b.abs().max()) <= 1 / math.sqrt(n_in) < 1.01 * W.abs().max()
        assert W.std().item() == pytest.approx(reference.std().item(), rel=0.02)
        assert abs(W.mean().item()) < 4 * reference.std().item() / math.sqrt(W.numel())
    assert torch.equal(model.initial_weights(sizes, 3), models.flat[3])
    assert not torch.equal(models.flat[3], models.flat[4])
