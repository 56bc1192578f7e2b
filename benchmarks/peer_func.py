"""PyTorch's own way to train many models at once: stacked parameters and a loss under `torch.func.vmap`.

As its documentation recommends it: `stack_module_state` gives parameters that go "directly to an optimizer"
(https://docs.pytorch.org/docs/stable/generated/torch.func.stack_module_state.html), `functional_call` under `vmap`
evaluates them (https://docs.pytorch.org/tutorials/intermediate/ensembling.html), and where gradients are wanted as
such, `vmap(grad(...))` takes them (https://docs.pytorch.org/tutorials/intermediate/per_sample_grads.html). Adam is the
fused one. All work is done on torch's own threads.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from svvr.core.files import Arrays

Parameters = dict[str, Tensor]
FORMS = {"torch.func": (0.0, 0.3), "torch.compile": (0.0, 0.3)}  # strengths that each is for


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(40, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


def cross_entropy(model: nn.Module, parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
    return nn.functional.cross_entropy(functional_call(model, parameters, (x,)), y)


def objective(model: nn.Module, strength: float, parameters: Parameters, x: Tensor, y: Tensor) -> Tensor:
    loss = cross_entropy(model, parameters, x, y)
    if strength:
        weights = [W for name, W in parameters.items() if name.endswith("weight")]
        loss = loss + strength * sum(torch.linalg.svdvals(W).var() for W in weights)
    return loss


@cache
def gradient(strength: float, compiled: bool) -> Callable[[Parameters, Tensor, Tensor], Parameters]:
    """Return the function from stacked parameters and batches to the stacked gradient, compiled but once."""
    function: Any = vmap(grad(partial(objective, network(), strength)))
    return torch.compile(function, dynamic=False) if compiled else function  # a graph for each length of a batch


def train(
    form: str, data: Arrays, initial: Tensor, orders: Tensor, lr: float, strength: float, batch_size: int = 128
) -> Tensor:
    """Train K networks side by side.

    Args:
        form: a key of FORMS.
        data: the train and validation splits.
        initial: (K, P), each network's parameters in the order of its `parameters()`.
        orders: (K, epochs, N), the order of the training examples in each epoch.
        lr: learning rate.
        strength: of the penalty, 0 for none.
        batch_size: examples a step; a short last batch is trained too.

    Returns:
        The validation losses (K, epochs).
    """
    x, y, x_validation, y_validation = (
        torch.from_numpy(data[f"{a}_{s}"]) for s in ("train", "validation") for a in "xy"
    )
    models = [network() for _ in initial]
    for model, flat in zip(models, initial, strict=True):
        nn.utils.vector_to_parameters(flat, model.parameters())
    parameters, _ = stack_module_state(models)
    optimizer = torch.optim.Adam(parameters.values(), lr=lr, fused=True)
    slope, validate = (
        gradient(strength, form == "torch.compile"),
        vmap(partial(cross_entropy, network()), (0, None, None)),
    )
    losses = []
    for order in orders.unbind(1):
        for rows in order.split(batch_size, 1):
            for name, each in slope(parameters, x[rows], y[rows]).items():
                parameters[name].grad = each
            optimizer.step()
        with torch.no_grad():
            losses.append(validate(parameters, x_validation, y_validation))
    return torch.stack(losses, 1)
