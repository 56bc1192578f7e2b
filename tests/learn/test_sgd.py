"""SGD over stacks against torch's own."""

import pytest
import torch

from svvr.learn import sgd


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_each_model_follows_torch_s_sgd_with_its_own_lr(momentum: float) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    gradients = [torch.randn(3, 50, generator=generator, dtype=torch.float64) for _ in range(20)]
    rates, parameters = torch.tensor([1e-3, 0.01, 0.3], dtype=torch.float64), start.clone()
    state = sgd.sgd(parameters, rates, torch.zeros(3), momentum)
    for gradient in gradients:
        state.step(parameters, gradient)
    for k in range(3):
        leaf = torch.nn.Parameter(start[k].clone())
        reference = torch.optim.SGD([leaf], lr=rates[k].item(), momentum=momentum)
        for gradient in gradients:
            leaf.grad = gradient[k].clone()
            reference.step()
        torch.testing.assert_close(parameters[k], leaf.detach(), rtol=1e-12, atol=1e-12)


def test_decay_is_decoupled_from_the_momentum() -> None:
    parameters = torch.ones(1, 3)
    state = sgd.sgd(parameters, torch.tensor([0.1]), torch.tensor([0.5]), 0.9)
    for expected in (0.95, 0.95**2):
        state.step(parameters, torch.zeros(1, 3))
        torch.testing.assert_close(parameters, torch.full((1, 3), expected))
