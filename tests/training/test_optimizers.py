"""Optimizers over stacks against torch's own."""

import pytest
import torch
from torch import Tensor

from svvr.training import optimizers
from svvr.training.optimizers import SGD, Adam

LRS, DECAYS = [1e-3, 1e-2, 0.1, 3e-4], [0.0, 0.5, 0.0, 3.0]


def torch_s(kind: str, start: Tensor, gradients: list[Tensor], lr: float, decay: float) -> Tensor:
    """Take steps with torch.optim; SGD's decay is AdamW's, so it is applied by hand."""
    leaf = torch.nn.Parameter(start.clone())
    optimizer: torch.optim.Optimizer = torch.optim.AdamW([leaf], lr=lr, weight_decay=decay)
    if kind.startswith("sgd"):
        optimizer = torch.optim.SGD([leaf], lr=lr, momentum=float(kind[3:]))
    for gradient in gradients:
        leaf.grad = gradient.clone()
        with torch.no_grad():
            leaf.mul_(1 - lr * decay if kind.startswith("sgd") else 1)
        optimizer.step()
    return leaf.detach()


@pytest.mark.parametrize("kind", ["adam", "adam on a GPU", "sgd0.0", "sgd0.9"])
def test_each_model_follows_torch_with_its_own_lr_and_decay(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimizers, "on_cpu", lambda tensor: "GPU" not in kind)
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(4, 50, generator=generator, dtype=torch.float64)
    scales = torch.logspace(-6, 2, 50, dtype=torch.float64)  # small gradients show where epsilon stands
    gradients = [torch.randn(4, 50, generator=generator, dtype=torch.float64) * scales for _ in range(30)]
    lr, decay = torch.tensor(LRS, dtype=torch.float64), torch.tensor(DECAYS, dtype=torch.float64)
    parameters = start.clone()
    state = SGD(parameters, lr, decay, float(kind[3:])) if kind.startswith("sgd") else Adam(parameters, lr, decay)
    for gradient in gradients:
        state.step(parameters, gradient)
    for k in range(4):
        expected = torch_s(kind, start[k], [g[k] for g in gradients], LRS[k], DECAYS[k])
        torch.testing.assert_close(parameters[k], expected, rtol=1e-10, atol=1e-12)
