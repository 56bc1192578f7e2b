"""The stacked network against torch.nn."""

import math

import pytest
import torch
from torch import nn

from svvr.learn import model

SIZES = (6, 9, 8, 4)


def networks(flat: torch.Tensor) -> list[nn.Sequential]:
    models = model.stack(flat, SIZES)
    result = []
    for k in range(len(flat)):
        layers: list[nn.Module] = []
        for W, b in zip(models.weights, models.biases, strict=True):
            linear = nn.Linear(W.shape[2], W.shape[1], dtype=flat.dtype)
            linear.weight.data, linear.bias.data = W[k].clone(), b[k].clone()
            layers += [linear, nn.ReLU()]
        result.append(nn.Sequential(*layers[:-1]))
    return result


@pytest.mark.parametrize("shared", [False, True])
def test_forward_backward_and_loss_are_autograd_s(shared: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    flat = torch.randn(3, model.n_parameters(SIZES), generator=generator, dtype=torch.float64)
    x = torch.randn(*(() if shared else (3,)), 5, 6, generator=generator, dtype=torch.float64)
    y = torch.randint(0, 4, (5,) if shared else (3, 5), generator=generator)
    models, gradient = model.stack(flat, SIZES), model.stack(torch.empty_like(flat), SIZES)
    activations = model.forward(models, x)
    losses, delta = model.cross_entropy(activations[-1], y)
    model.backward(models, activations, delta, gradient)
    for k, net in enumerate(networks(flat)):
        logits = net(x if shared else x[k])
        torch.testing.assert_close(activations[-1][k].T, logits.detach())
        each = nn.functional.cross_entropy(logits, y if shared else y[k], reduction="none")
        torch.testing.assert_close(losses[k], each.detach())
        expected = torch.autograd.grad(each.mean(), list(net.parameters()))
        torch.testing.assert_close(gradient.flat[k], torch.cat([part.flatten() for part in expected]))


def test_initial_weights_have_the_distribution_of_nn_linear() -> None:
    sizes = (40, 128, 128, 10)
    models = model.stack(torch.stack([model.initial_weights(sizes, seed) for seed in range(40)]), sizes)
    torch.manual_seed(0)
    for n_in, W, b in zip(sizes, models.weights, models.biases, strict=False):
        reference = torch.stack([nn.Linear(n_in, W.shape[1]).weight.detach() for _ in range(40)])
        bound = 1 / math.sqrt(n_in)
        assert W.abs().max() <= bound and b.abs().max() <= bound
        assert W.abs().max() > 0.99 * bound
        assert W.std().item() == pytest.approx(reference.std().item(), rel=0.02)
        assert abs(W.mean().item()) < 4 * reference.std().item() / math.sqrt(W.numel())


def test_a_seed_gives_the_same_weights_again_and_another_seed_others() -> None:
    assert torch.equal(model.initial_weights(SIZES, 3), model.initial_weights(SIZES, 3))
    assert not torch.equal(model.initial_weights(SIZES, 3), model.initial_weights(SIZES, 4))


def test_a_flat_tensor_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"flat parameters: got shape \(2, 3\), expected \(K, 179\)"):
        model.stack(torch.zeros(2, 3), SIZES)
