"""From a penalty's name to its gradient, with every mistake in its file told in one line."""

import functools
import importlib
import inspect
import random
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from svvr.learn import model
from svvr.learn.network import network
from svvr.penalties.helpers import device
from svvr.penalties.helpers.layer import Layer

MODERATE = 1e6  # weights whose sixth power float32 still holds: beyond, a run has diverged, whatever the penalty says
ROUNDING = 1e-3  # relative: what float32 may lose in a gradient; more is another one
SAME = "expected a function of {} and nothing else"
KINDS = {1: "penalty(W)", 2: "penalty(W, layer)", 3: "penalty(network, x, y)"}  # by the number of arguments
Gradient: TypeAlias = Callable[[Tensor], Tensor]
Batch: TypeAlias = tuple[Tensor, Tensor]
# From models, a batch and factors (K,): adds the factors times the penalty's gradient to the last.
Slope: TypeAlias = Callable[[model.Stack, Batch, Tensor, model.Stack], None]


def slope(name: str, sizes: Sequence[int]) -> Slope:
    """Find how a penalty, of whichever kind, pulls at all parameters of K networks.

    Args:
        name: of the penalty.
        sizes: of the layers, inputs first.

    Raises:
        ValueError: as `gradient` and `network_gradient` do.
    """
    if arguments(name, load(name)) == 3:
        whole = network_gradient(name, sizes)

        def add_to_all(models: model.Stack, batch: Batch, factors: Tensor, total: model.Stack) -> None:
            total.flat.addcmul_(whole(models.flat, *batch), factors[:, None])

        return add_to_all
    n = len(sizes) - 1
    parts = [gradient(name, Layer(index, n)) for index in range(n)]

    def add(models: model.Stack, batch: Batch, factors: Tensor, total: model.Stack) -> None:
        for weight, part, of_layer in zip(models.weights, total.weights, parts, strict=True):
            part.addcmul_(of_layer(weight), factors[:, None, None])

    return add


def arguments(name: str, module: ModuleType) -> int:
    """Return how many arguments a penalty's function takes: its kind, one of KINDS.

    Raises:
        ValueError: where there is no function, or one of no such kind.
    """
    function = getattr(module, "penalty", None)
    if function is None:
        raise ValueError(f"penalty {name!r}: got a file without the function penalty(W), expected one")
    n = len(inspect.signature(function).parameters)
    if n not in KINDS:
        raise ValueError(
            f"penalty {name!r}: got penalty with {n} arguments, expected one of {', '.join(KINDS.values())}"
        )
    return n


def gradient(name: str, layer: Layer = Layer(0, 2)) -> Gradient:  # noqa: B008
    """Find the gradient of a penalty of single weight matrices.

    A penalty's file may give it in closed form as `gradient(W)`, or `gradient(W, layer)`; otherwise autograd derives it
    from `penalty`.

    Args:
        name: the file's name without its ending.
        layer: of the weights, for penalties that want to know.

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
    at_once = _gradient(name, module, layer)

    def compute(W: Tensor) -> Tensor:
        if probe(name, module, layer, *W.shape[-2:]) or len(W) == 1 or not device.at_hand(W):
            return at_once(W)
        return torch.cat([at_once(W[k : k + 1]) for k in range(len(W))])

    return _of_finite(compute, lambda W, result: _checked(name, W, result))


def network_gradient(name: str, sizes: Sequence[int]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Find the gradient of a penalty of a whole network and its batch, by autograd.

    Args:
        name: the file's name without its ending.
        sizes: of the layers, inputs first.

    Returns:
        A function from flat parameters (K, P), inputs x (K, B, inputs) and labels y (K, B) to the gradient (K, P).
        Networks whose parameters are not finite give NaN and do not reach the penalty.

    Raises:
        ValueError: as `gradient` does.
    """
    module, shape = load(name), tuple(sizes)
    at_once = _network_gradient(name, module, shape)

    def derived(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        alike = probe_network(name, module, shape)
        finite = torch.isfinite(flat.sum(1))
        if not device.at_hand(flat):
            return _where(finite, flat, lambda some: at_once(some, x, y))
        groups = [finite.nonzero()[:, 0]] if alike else [index[None] for index in finite.nonzero()[:, 0]]
        result = torch.full_like(flat, torch.nan)
        for group in groups:
            if len(group):
                result[group] = _checked(name, flat[group], at_once(flat[group], x[group], y[group]))
        return result

    return derived


def _where(finite: Tensor, parameters: Tensor, compute: Gradient) -> Tensor:
    """Compute the gradient on an accelerator: NaN where not finite, but nothing is read back, so nothing is checked."""
    finite = finite.view(-1, *[1] * (parameters.ndim - 1))
    stand_in = torch.ones_like(parameters[0]).cumsum(-1)  # finite, and not all entries alike
    return compute(torch.where(finite, parameters, stand_in)).masked_fill(~finite, torch.nan)


def _of_finite(compute: Gradient, checked: Callable[[Tensor, Tensor], Tensor]) -> Gradient:
    def of_finite(W: Tensor) -> Tensor:
        finite = torch.isfinite(W.sum((-2, -1)))
        if not device.at_hand(W):
            return _where(finite, W, compute)
        if finite.all():
            return checked(W, compute(W))
        result = torch.full_like(W, torch.nan)
        if finite.any():
            kept = W[finite]
            result[finite] = checked(kept, compute(kept))
        return result

    return of_finite


def _gradient(name: str, module: ModuleType, layer: Layer) -> Gradient:
    if arguments(name, module) == 3:
        raise ValueError(f"penalty {name!r}: got penalty(network, x, y), expected one of a single weight matrix")
    function = getattr(module, "gradient", None) or module.penalty
    bound = _called(name, module, functools.partial(_with_layer, function, layer))
    return bound if hasattr(module, "gradient") else _by_autograd(name, bound)


def _with_layer(function: Callable[..., Any], layer: Layer, W: Tensor) -> Any:
    return function(W, layer) if len(inspect.signature(function).parameters) == 2 else function(W)


def _network_gradient(name: str, module: ModuleType, sizes: tuple[int, ...]) -> Callable[..., Tensor]:
    function = _called(name, module, module.penalty)

    def derived(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
        def of_flat(leaf: Tensor) -> Any:
            return function(network(leaf, sizes, x), x, y)

        return _by_autograd(name, of_flat, flat.shape[:1])(flat)

    return derived


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


def _called(name: str, module: ModuleType, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with each error that it raises told in one line, with its place in the file."""

    def called(*given: Any) -> Any:
        try:
            return function(*given)
        except Exception as error:
            raise ValueError(_said(name, _place(error, str(module.__file__)), error)) from error

    return called


def _by_autograd(name: str, penalty: Callable[[Tensor], Any], shape: Sequence[int] | None = None) -> Gradient:
    """Derive the gradient of a penalty; its values have a shape, that of the weights less two dimensions if None."""

    def derived(W: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = W.detach().clone().requires_grad_()
            value = penalty(leaf)
            _check_value(name, W, value, tuple(W.shape[:-2] if shape is None else shape))
            try:
                (result,) = torch.autograd.grad(value.sum(), leaf, materialize_grads=True)
            except RuntimeError as error:
                raise ValueError(_said(name, "its gradient by autograd", error)) from error
        return result

    return derived


def _check_value(name: str, W: Tensor, value: object, shape: tuple[int, ...]) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"penalty {name!r}: got a {type(value).__name__}, expected a tensor of shape {shape}")
    if value.shape != shape:
        expected = f"expected {shape} for weights of shape {tuple(W.shape)}"
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
def probe(name: str, module: ModuleType, layer: Layer, m: int, n: int) -> bool:
    """Refuse a penalty whose gradient is no function of each matrix alone, by calling it on a small stack.

    A run must have the same bytes whatever is stacked beside it, and torch may round otherwise in a stack.

    Args:
        name: of the penalty.
        module: its file, loaded.
        layer: of the weights.
        m, n: shape of the weights.

    Returns:
        Whether the gradient of a stack has the bytes of those of its matrices; else they are to be computed alone.

    Raises:
        ValueError: where it changes the weights, draws from a global generator, gives another gradient at a second
            call, after other weights, or for a matrix alone than in a stack.
    """
    W = torch.randn(3, m, n, generator=torch.Generator().manual_seed(0)) / n**0.5
    return _probe(name, _gradient(name, module, layer), [W], "each matrix")


@functools.cache
def probe_network(name: str, module: ModuleType, sizes: tuple[int, ...]) -> bool:
    """Refuse a penalty whose gradient is no function of each network and its batch alone; see `probe`."""
    generator = torch.Generator().manual_seed(0)
    flat = torch.stack([model.initial_weights(sizes, seed) for seed in range(3)])
    x = torch.randn(3, 16, sizes[0], generator=generator)
    y = torch.randint(0, sizes[-1], (3, 16), generator=generator)
    return _probe(name, _network_gradient(name, module, sizes), [flat, x, y], "each network and its batch")


def _probe(name: str, compute: Callable[..., Tensor], inputs: list[Tensor], of: str) -> bool:
    def call() -> Tensor:
        return compute(*(each.clone() for each in inputs))

    given, before = [each.clone() for each in inputs], _global_generators()
    first = _checked(name, inputs[0], compute(*given)).clone()
    if not all(map(torch.equal, given, inputs)):
        raise ValueError(f"penalty {name!r}: got other weights after the call than before, expected them left alone")
    after = _global_generators()
    # Python's generator counts where it is drawn from at each call: at one call it may be by a thread of Dask's
    if after[:2] != before[:2] or (after[2] != before[2] and all(_uses_random(call) for _ in range(4))):
        expected = "expected none (svvr.penalties.helpers.draws has numbers that stay the same)"
        raise ValueError(f"penalty {name!r}: got a draw from a global random generator, {expected}")
    again = call()
    compute(2 * inputs[0], *(each.clone() for each in inputs[1:]))
    for found, what in (
        (again, "at a second call"),
        (call(), "after a call with other weights"),
    ):
        if not torch.equal(found, first):
            raise ValueError(f"penalty {name!r}: got another gradient {what}, {SAME.format(of)}")
    alone = torch.cat([compute(*(each[k : k + 1].clone() for each in inputs)) for k in range(3)])
    if torch.linalg.vector_norm(alone - first) > ROUNDING * torch.linalg.vector_norm(first):
        where = f"for {of.removeprefix('each ')} alone than in a stack".replace("for ", "for a ", 1)
        raise ValueError(f"penalty {name!r}: got another gradient {where}, {SAME.format(of)}")
    return torch.equal(alone, first)


def _global_generators() -> tuple[bytes, str, object]:
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()


def _uses_random(call: Callable[[], Tensor]) -> bool:
    before = random.getstate()
    call()
    return random.getstate() != before


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
