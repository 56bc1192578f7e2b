"""From a penalty's name to its gradient, with every mistake in its file told in one line."""

import functools
import importlib
import random
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

MODERATE = 1e6  # weights whose sixth power float32 still holds: beyond, a run has diverged, whatever the penalty says
ROUNDING = 1e-3  # relative: what float32 may lose in a gradient; more is another one
SAME = "expected a function of each matrix and nothing else"
Gradient: TypeAlias = Callable[[Tensor], Tensor]


def gradient(name: str) -> Gradient:
    """Find the gradient of a penalty.

    A penalty's file may give it in closed form as `gradient(W)`; otherwise autograd derives it from `penalty(W)`.

    Args:
        name: the file's name without its ending.

    Returns:
        A function from weights (K, m, n) to the penalty's gradient, of the same shape. Matrices that are not finite,
        or so large that their sums are not, give NaN and do not reach the penalty.

    Raises:
        ValueError: where no such penalty exists, its file cannot be loaded or lacks the function; and, from what is
            returned, where the penalty raises an error, is no tensor (K,) that depends on the weights, has a gradient
            of another shape or type than the weights or one that is not finite at weights of at most MODERATE, or
            breaks what `probe` holds it to.
    """
    module = load(name)
    at_once = _gradient(name, module)

    def compute(W: Tensor) -> Tensor:
        if probe(name, module, *W.shape[-2:]) or len(W) == 1:
            return at_once(W)
        return torch.cat([at_once(W[k : k + 1]) for k in range(len(W))])

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


def _gradient(name: str, module: ModuleType) -> Gradient:
    closed_form, penalty = getattr(module, "gradient", None), getattr(module, "penalty", None)
    if penalty is None:
        raise ValueError(f"penalty {name!r}: got a file without the function penalty(W), expected one")
    return _called(name, module, closed_form) if closed_form else _by_autograd(name, _called(name, module, penalty))


def load(name: str) -> ModuleType:
    """Load a penalty's file.

    Raises:
        ValueError: where there is none, or it cannot be loaded: with its line and the error.
    """
    module = f"svvr.penalties.{name}"
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise ValueError(f"penalty {name!r}: its file imports {error.name}, which is not installed") from error
        raise ValueError(f"penalty: got {name!r}, expected the name of a file in svvr/penalties") from error
    except SyntaxError as error:
        raise ValueError(_said(name, f"{_short(error.filename or name)}:{error.lineno}", error)) from error
    except Exception as error:
        raise ValueError(_said(name, _place(error, f"{name}.py"), error)) from error


def _called(name: str, module: ModuleType, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Return the function with every error that it raises told in one line, with its place in the file."""

    def called(W: Tensor) -> Any:
        try:
            return function(W)
        except Exception as error:
            raise ValueError(_said(name, _place(error, str(module.__file__)), error)) from error

    return called


def _by_autograd(name: str, penalty: Callable[[Tensor], Any]) -> Gradient:
    def derived(W: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = W.detach().clone().requires_grad_()
            value = penalty(leaf)
            _check_value(name, W, value)
            try:
                (result,) = torch.autograd.grad(value.sum(), leaf)
            except RuntimeError as error:
                raise ValueError(_said(name, "its gradient by autograd", error)) from error
        return result

    return derived


def _check_value(name: str, W: Tensor, value: object) -> None:
    if not isinstance(value, Tensor):
        expected = f"expected a tensor of shape {tuple(W.shape[:-2])}"
        raise ValueError(f"penalty {name!r}: got a {type(value).__name__}, {expected}")
    if value.shape != W.shape[:-2]:
        expected = f"expected {tuple(W.shape[:-2])} for weights of shape {tuple(W.shape)}"
        raise ValueError(f"penalty {name!r}: got a value of shape {tuple(value.shape)}, {expected}")
    if value.is_complex():
        raise ValueError(f"penalty {name!r}: got a complex value, expected a real one")
    if not value.requires_grad:
        raise ValueError(f"penalty {name!r}: got a value without gradient, expected one computed from the weights")


def _checked(name: str, W: Tensor, result: object) -> Tensor:
    if not isinstance(result, Tensor) or result.dtype != W.dtype:
        got = str(result.dtype).removeprefix("torch.") if isinstance(result, Tensor) else type(result).__name__
        expected = f"expected {str(W.dtype).removeprefix('torch.')} as the weights"
        raise ValueError(f"penalty {name!r}: got a gradient of type {got}, {expected}")
    if result.shape != W.shape:
        expected = f"expected that of the weights, {tuple(W.shape)}"
        raise ValueError(f"penalty {name!r}: got a gradient of shape {tuple(result.shape)}, {expected}")
    broken = ~torch.isfinite(result.sum((-2, -1)))
    if broken.any() and (W[broken].abs().amax((-2, -1)) <= MODERATE).any():
        raise ValueError(f"penalty {name!r}: got a gradient that is not finite at finite weights {tuple(W.shape)}")
    return result


@functools.cache  # once for each penalty and shape of weights in a process
def probe(name: str, module: ModuleType, m: int, n: int) -> bool:
    """Refuse a penalty whose gradient is no function of each matrix alone, by calling it on a small stack.

    A run must have the same bytes whatever is stacked beside it, and torch may round otherwise in a stack.

    Args:
        name: of the penalty.
        module: its file, loaded.
        m, n: shape of the weights.

    Returns:
        Whether the gradient of a stack has the bytes of those of its matrices; else they are to be computed alone.

    Raises:
        ValueError: where it changes the weights, draws from a global generator, gives another gradient at a second
            call, after other weights, or for a matrix alone than in a stack.
    """
    compute = _gradient(name, module)
    W = torch.randn(3, m, n, generator=torch.Generator().manual_seed(0)) / n**0.5
    given, drawn = W.clone(), _global_generators()
    first = _checked(name, W, compute(given)).clone()
    if not torch.equal(given, W):
        raise ValueError(f"penalty {name!r}: got other weights after the call than before, expected them left alone")
    if _global_generators() != drawn:
        expected = "expected none (svvr.penalties.helpers.draws has numbers that stay the same)"
        raise ValueError(f"penalty {name!r}: got a draw from a global random generator, {expected}")
    again = compute(W.clone())
    compute(2 * W)
    for found, what in (
        (again, "at a second call"),
        (compute(W.clone()), "after a call with other weights"),
    ):
        if not torch.equal(found, first):
            raise ValueError(f"penalty {name!r}: got another gradient {what}, {SAME}")
    alone = torch.cat([compute(W[k : k + 1].clone()) for k in range(len(W))])
    if torch.linalg.vector_norm(alone - first) > ROUNDING * torch.linalg.vector_norm(first):
        raise ValueError(f"penalty {name!r}: got another gradient for a matrix alone than in a stack, {SAME}")
    return torch.equal(alone, first)


def _global_generators() -> tuple[bytes, str, str]:
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), str(random.getstate())


def _said(name: str, place: str, error: BaseException) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"penalty {name!r}: {place}: {type(error).__name__}: {lines[0][:200]}"


def _place(error: BaseException, file: str) -> str:
    """Return the file and the last line of it at which an error passed."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.endswith(file)]
    return f"{_short(file)}:{frames[-1].lineno}" if frames else _short(file)


def _short(file: str) -> str:
    """Return a path from the package on."""
    parts = Path(file).parts
    return str(Path(*parts[parts.index("svvr") :])) if "svvr" in parts else parts[-1]
