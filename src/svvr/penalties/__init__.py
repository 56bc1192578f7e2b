"""Penalties on weight matrices: one file each, found by name, with a function `penalty(W)`.

A penalty maps weights (..., m, n) to a value for each matrix, (...). Its file may import torch and what
`svvr.penalties.helpers` holds.
"""

import importlib
from collections.abc import Callable

import torch
from torch import Tensor

MODERATE = 1e6  # weights whose sixth power float32 still holds: beyond, a run has diverged, whatever the penalty says


def gradient(name: str) -> Callable[[Tensor], Tensor]:
    """Find the gradient of a penalty.

    A penalty's file may give it in closed form as `gradient(W)`; otherwise autograd derives it from `penalty(W)`.

    Args:
        name: the file's name without its ending.

    Returns:
        A function from weights (K, m, n) to the penalty's gradient, of the same shape. Matrices that are not finite,
        or so large that their sums are not, give NaN and do not reach the penalty.

    Raises:
        ValueError: where no such penalty exists or its file lacks the function or a module; and, from the returned
            function, where the penalty is no tensor (K,) that depends on the weights, or where its gradient has
            another shape than the weights, or is not finite at weights of at most MODERATE.
    """
    try:
        module = importlib.import_module(f"svvr.penalties.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"svvr.penalties.{name}":
            raise ValueError(f"penalty {name!r}: its file imports {error.name}, which is not installed") from error
        raise ValueError(f"penalty: got {name!r}, expected the name of a file in svvr/penalties") from error
    closed_form, penalty = getattr(module, "gradient", None), getattr(module, "penalty", None)
    if penalty is None:
        raise ValueError(f"penalty {name!r}: got a file without the function penalty(W), expected one")
    compute: Callable[[Tensor], Tensor] = closed_form or _by_autograd(name, penalty)

    def of_finite(W: Tensor) -> Tensor:
        finite = torch.isfinite(W.sum((-2, -1)))
        if finite.all():
            return _checked(name, W, compute(W))
        result = torch.full_like(W, torch.nan)
        if finite.any():
            kept = W[finite]
            result[finite] = _checked(name, kept, compute(kept))
        return result

    return of_finite


def _by_autograd(name: str, penalty: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def derived(W: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = W.detach().clone().requires_grad_()
            value = penalty(leaf)
            if not isinstance(value, Tensor):
                expected = f"expected a tensor of shape {tuple(W.shape[:-2])}"
                raise ValueError(f"penalty {name!r}: got a {type(value).__name__}, {expected}")
            if value.shape != W.shape[:-2]:
                expected = f"expected {tuple(W.shape[:-2])} for weights of shape {tuple(W.shape)}"
                raise ValueError(f"penalty {name!r}: got a value of shape {tuple(value.shape)}, {expected}")
            if not value.requires_grad:
                expected = "expected one computed from the weights"
                raise ValueError(f"penalty {name!r}: got a value without gradient, {expected}")
            (result,) = torch.autograd.grad(value.sum(), leaf)
        return result

    return derived


def _checked(name: str, W: Tensor, result: Tensor) -> Tensor:
    if result.shape != W.shape:
        expected = f"expected that of the weights, {tuple(W.shape)}"
        raise ValueError(f"penalty {name!r}: got a gradient of shape {tuple(result.shape)}, {expected}")
    broken = ~torch.isfinite(result.sum((-2, -1)))
    if broken.any() and (W[broken].abs().amax((-2, -1)) <= MODERATE).any():
        raise ValueError(f"penalty {name!r}: got a gradient that is not finite at finite weights {tuple(W.shape)}")
    return result
