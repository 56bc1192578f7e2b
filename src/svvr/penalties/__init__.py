"""Penalties on weight matrices: one file each, found by name, with a function `penalty(W)`."""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor


def gradient(name: str) -> Callable[[Tensor], Tensor]:
    """Find the gradient of a penalty.

    A penalty's file may give it in closed form as `gradient(W)`; otherwise autograd derives it from `penalty(W)`.

    Args:
        name: the file's name without its ending.

    Returns:
        A function from weights (K, m, n) to the penalty's gradient, of the same shape.

    Raises:
        ValueError: where no such penalty exists, or (from the returned function) where it returns another shape than
            (K,) or a gradient that is not finite although the weights are.
    """
    try:
        module = importlib.import_module(f"svvr.penalties.{name}")
    except ModuleNotFoundError as error:
        raise ValueError(f"penalty: got {name!r}, expected the name of a file in svvr/penalties") from error
    closed_form: Callable[[Tensor], Tensor] | None = getattr(module, "gradient", None)
    return closed_form or _by_autograd(name, module.penalty)


def _by_autograd(name: str, penalty: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def derived(W: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = W.detach().clone().requires_grad_()
            value = penalty(leaf)
            if value.shape != W.shape[:-2]:
                expected = f"expected {tuple(W.shape[:-2])} for weights of shape {tuple(W.shape)}"
                raise ValueError(f"penalty {name!r}: got a value of shape {tuple(value.shape)}, {expected}")
            (result,) = torch.autograd.grad(value.sum(), leaf)
        finite = torch.isfinite(result).all(-1).all(-1)
        broken = ~finite & torch.isfinite(W).all(-1).all(-1)
        if broken.any():
            raise ValueError(f"penalty {name!r}: got a gradient that is not finite at finite weights {tuple(W.shape)}")
        return result

    return derived
