"""AdamW over stacks against torch's own."""

import pytest
import torch

from svvr.learn import adam


def torch_adamw(start: torch.Tensor, gradients: list[torch.Tensor], lr: float, decay: float) -> torch.Tensor:
    parameter = torch.nn.Parameter(start.clone())
    kind = torch.optim.AdamW([parameter], lr=lr, weight_decay=decay) if decay else torch.optim.Adam([parameter], lr=lr)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        kind.step()
    return parameter.detach()


def test_each_model_follows_torch_s_adam_or_adamw_with_its_own_lr_and_decay() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 50, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-6, 2, 50, dtype=torch.float64)  # small gradients show where epsilon stands
    gradients = [torch.randn(4, 50, generator=generator, dtype=torch.float64) * scales for _ in range(30)]
    lrs, decays = [1e-3, 1e-2, 0.1, 3e-4], [0.0, 0.5, 0.0, 3.0]
    parameters = start.clone()
    state = adam.adam(parameters, torch.tensor(lrs, dtype=torch.float64), torch.tensor(decays, dtype=torch.float64))
    for gradient in gradients:
        state.step(parameters, gradient)
    for k in range(4):
        expected = torch_adamw(start[k], [g[k] for g in gradients], lrs[k], decays[k])
        torch.testing.assert_close(parameters[k], expected, rtol=1e-10, atol=1e-13)


def test_decay_shrinks_every_parameter_by_lr_times_decay() -> None:
    parameters = torch.ones(1, 3)
    state = adam.adam(parameters, torch.tensor([0.1]), torch.tensor([0.5]))
    state.step(parameters, torch.zeros(1, 3))
    torch.testing.assert_close(parameters, torch.full((1, 3), 0.95))


@pytest.mark.parametrize(
    "name,lr,decay", [("lr", torch.ones(2), torch.ones(3)), ("weight_decay", torch.ones(3), torch.ones(3, 1))]
)
def test_a_rate_for_each_model_is_demanded(name: str, lr: torch.Tensor, decay: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=rf"{name}: got shape \(.*\), expected \(3,\)"):
        adam.adam(torch.zeros(3, 5), lr, decay)
