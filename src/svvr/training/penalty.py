"""From a penalty's name to its gradient over a stack of networks; a mistake in its file ends in one message."""

import contextlib
import functools
import importlib
import inspect
import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from svvr.penalties import Layer, Network
from svvr.polar import on_cpu
from svvr.training import model

FORMS = "penalty(W), penalty(W, layer) or penalty(network, x, y); further named parameters are hyperparameters"
# What a penalty must leave alone: get, set. Python's own generator is not among it, since Dask draws from it.
SETTINGS: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "the default device": (torch.get_default_device, lambda _: torch.set_default_device(None)),
    "the number of threads": (torch.get_num_threads, torch.set_num_threads),
    "deterministic algorithms": (torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms),
    "the grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's random state": (lambda: torch.get_rng_state().numpy(), lambda old: torch.set_rng_state(torch.tensor(old))),
    "numpy's random state": (np.random.get_state, np.random.set_state),
}

CODE, SYSTEM = (".py", ".pyc", ".so"), (sys.prefix, sys.base_prefix, "/proc", "/sys", "/dev", "/usr", "/etc")

Array: TypeAlias = npt.NDArray[Any]
Tuned: TypeAlias = Mapping[str, Any]  # hyperparameter -> (K,)
Compute: TypeAlias = Callable[..., Any]  # of W or all parameters, tuned hyperparameters, *batch
Add: TypeAlias = Callable[[model.Stack, tuple[Tensor, Tensor], Tensor, model.Stack], None]


@dataclass(frozen=True)
class Penalty:
    """A penalty's file: its function, at which line, its closed form, and what they take."""

    name: str
    line: int
    function: Compute
    closed_form: Compute | None
    of_network: bool
    of_layer: bool
    hyperparameters: dict[str, inspect.Parameter]

    def error(self, text: str) -> ValueError:
        """Return an error that begins with the file and the line of the function."""
        return ValueError(f"svvr/penalties/{self.name}.py:{self.line}: {text}")

    def stacks(self, models: model.Stack) -> Sequence[Tensor]:
        """Return what the function takes, for K networks: all parameters (K, P), or every layer's matrices."""
        return [models.flat] if self.of_network else models.weights


def load(name: str) -> Penalty:
    """Import a penalty's file; raises ValueError where it raises, changes SETTINGS or has no function as in FORMS."""
    path = f"svvr.penalties.{name}"
    try:
        with _settings_kept():
            module = importlib.import_module(path)
    except Exception as error:
        sys.modules.pop(path, None)
        if isinstance(error, ModuleNotFoundError) and error.name == path:
            raise ValueError(f"penalty: got {name!r}, expected the name of a file in svvr/penalties") from error
        raise ValueError(_located(name, error)) from error
    function: Any = getattr(module, "penalty", None)
    try:
        signature = inspect.signature(function.forward if isinstance(function, torch.nn.Module) else function)
    except (TypeError, ValueError):
        raise ValueError(f"svvr/penalties/{name}.py: got no Python function, expected {FORMS}") from None
    names, of_network = list(signature.parameters), list(signature.parameters)[:3] == ["network", "x", "y"]
    own = {key: signature.parameters[key] for key in names[3 if of_network else 1 :]}
    by_name = all(each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) for each in own.values())
    if not by_name or not (of_network or names[:1] == ["W"]):
        raise ValueError(f"svvr/penalties/{name}.py: got penalty{signature}, expected {FORMS}")
    of_layer = not of_network and own.pop("layer", None) is not None
    line = getattr(getattr(function, "__code__", None), "co_firstlineno", 1)
    closed_form = None if of_network else getattr(module, "gradient", None)
    return Penalty(name, line, function, closed_form, of_network, of_layer, own)


_opened: dict[int, list[str]] = {}  # thread -> files that a watched penalty reads


def _watch(event: str, given: tuple[Any, ...]) -> None:
    own = _opened.get(threading.get_ident()) if event == "open" else None
    if own is not None and isinstance(given[0], str) and not given[2] & (os.O_CREAT | os.O_WRONLY):
        own.append(given[0])


sys.addaudithook(_watch)  # for good: hooks cannot be removed


@contextlib.contextmanager
def _settings_kept() -> Iterator[None]:
    """Undo changes of SETTINGS and refuse them; refuse to read files too, since DVC would not see their changes."""
    before, opened = {what: get() for what, (get, _) in SETTINGS.items()}, _opened.setdefault(threading.get_ident(), [])
    try:
        yield
    finally:
        del _opened[threading.get_ident()]
        changed = [what for what in SETTINGS if pickle.dumps(SETTINGS[what][0]()) != pickle.dumps(before[what])]
        for what in changed:
            SETTINGS[what][1](before[what])
    if changed:
        raise ValueError(f"got a change of {', '.join(changed)}, expected global settings left alone")
    if read := [path for path in opened if not path.endswith(CODE) and not path.startswith(SYSTEM)]:
        raise ValueError(f"got a read of {read[0]}, expected hyperparameters in params.yaml instead")


def _located(name: str, error: Exception, line: int | None = None) -> str:
    """Return the last line of the penalty's file that an error passed, else the given one, and what the error says."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if Path(each.filename).name == f"{name}.py"]
    line = error.lineno if isinstance(error, SyntaxError) else frames[-1].lineno if frames else line
    said = (str(error).strip().splitlines() or ["no message"])[0][:200]
    return f"svvr/penalties/{name}.py{f':{line}' if line else ''}: {type(error).__name__}: {said}"


def _parts(penalty: Penalty, sizes: Sequence[int], fixed: Mapping[str, Any]) -> list[tuple[Compute, Compute]]:
    """Return for each of `penalty.stacks` the value at one network, and the gradient over a stack."""
    n = 1 if penalty.of_network else len(sizes) - 1
    layers = [{"layer": Layer(index, n)} if penalty.of_layer else {} for index in range(n)]
    return [_part(penalty, sizes, {**fixed, **layer}) for layer in layers]


def _part(penalty: Penalty, sizes: Sequence[int], given: Mapping[str, Any]) -> tuple[Compute, Compute]:
    def of_matrix(W: Tensor, tuned: Tuned) -> Any:
        return penalty.function(W, **given, **tuned)

    def of_network(flat: Tensor, tuned: Tuned, x: Tensor, y: Tensor) -> Any:
        models = model.stack(flat[None], sizes)
        _, *hidden, logits = (each[0] for each in model.forward(models, x[None]))
        weights, biases = (tuple(each[0] for each in layers) for layers in (models.weights, models.biases))
        return penalty.function(Network(weights, biases, tuple(hidden), logits.mT), x, y, **given, **tuned)

    one, closed = of_network if penalty.of_network else of_matrix, penalty.closed_form
    if closed is None:
        return one, vmap(grad(one))
    return one, lambda W, tuned: closed(W, **given, **{key: each[:, None, None] for key, each in tuned.items()})


def gradient(name: str, sizes: Sequence[int], fixed: Mapping[str, Any], tuned: Tuned) -> Add:
    """Return a function (models, batch, factors (K,), total) that adds factors times the gradient to `total`.

    It is NaN at networks that are not finite, which never reach the penalty, and where a decomposition fails. Raises
    ValueError as `check` does.
    """
    sizes, penalty, fixed = tuple(sizes), load(name), dict(fixed)
    alike, parts = check(name, sizes, tuple(fixed.items()), tuple(tuned)), _parts(penalty, sizes, fixed)

    def add(models: model.Stack, batch: tuple[Tensor, Tensor], factors: Tensor, total: model.Stack) -> None:
        finite, safe, on_gpu = torch.isfinite(models.flat.sum(1)), models, not on_cpu(models.flat)
        if on_gpu or not finite.all():
            safe = model.copy(torch.where(finite[:, None], models.flat, 1.0), sizes)
        stacked = alike or (on_gpu and penalty.closed_form is None)  # only a closed form can mix its stack
        for (_, compute), W, into in zip(parts, penalty.stacks(safe), penalty.stacks(total), strict=True):
            found = _robust(compute, stacked, W, tuned, *(batch if penalty.of_network else ()))
            into.addcmul_(found, factors.view(-1, *[1] * (W.ndim - 1)))
        if safe is not models:
            total.flat.masked_fill_(~finite[:, None], torch.nan)

    return add


def _robust(compute: Compute, stacked: bool, W: Tensor, tuned: Tuned, *batch: Tensor) -> Tensor:
    """Compute a stack's gradient, at once if `stacked`, else one by one; NaN where a decomposition fails."""
    try:
        if stacked or len(W) == 1:
            return compute(W, tuned, *batch)  # type: ignore[no-any-return]
    except LinAlgError:
        if len(W) == 1:
            return torch.full_like(W, torch.nan)
    return torch.cat([_robust(compute, True, *each) for each in _singly(W, tuned, *batch)])


def _singly(W: Tensor, tuned: Tuned, *batch: Tensor) -> list[tuple[Any, ...]]:
    rows = [slice(k, k + 1) for k in range(len(W))]
    return [(W[k], {key: each[k] for key, each in tuned.items()}, *(each[k] for each in batch)) for k in rows]


@functools.cache
def check(name: str, sizes: tuple[int, ...], fixed: tuple[tuple[str, Any], ...], tuned: tuple[str, ...]) -> bool:
    """Raise ValueError unless the gradient at initial weights is finite and depends on its arguments alone.

    Tuned hyperparameters have their default here, or 1. Returns whether the bytes are the same alone and stacked.
    """
    penalty, given, own = load(name), {*dict(fixed), *tuned}, load(name).hyperparameters
    defaults = {key: each.default for key, each in own.items() if each.default is not each.empty}
    if not own.keys() - defaults.keys() <= given <= own.keys():
        expected = ", ".join(map(str, own.values())) or "none"
        raise penalty.error(f"got the hyperparameters {', '.join(sorted(given)) or 'none'}; expected {expected}")
    values = {key: torch.full((3,), float(defaults.get(key) or 1)) for key in tuned}
    models = model.copy(torch.stack([model.initial_weights(sizes, seed) for seed in range(3)]), sizes)
    x = torch.randn(3, 128, sizes[0], generator=torch.Generator().manual_seed(0))
    batch = (x, (torch.arange(128) % sizes[-1]).repeat(3, 1)) if penalty.of_network else ()
    parts = zip(_parts(penalty, sizes, dict(fixed)), penalty.stacks(models), strict=True)
    return all([_check(penalty, compute, W, values, *batch) for (_, compute), W in parts])


def _check(penalty: Penalty, compute: Compute, W: Tensor, tuned: Tuned, *batch: Tensor) -> bool:
    before = [each.clone() for each in (W, *batch)]
    try:
        with _settings_kept(), torch.no_grad():
            first, again = (compute(W, tuned, *batch) for _ in range(2))
            alone = [compute(*each) for each in _singly(W, tuned, *batch)]
            repeats = torch.equal(first, again)
    except Exception as error:
        raise ValueError(_located(penalty.name, error, penalty.line)) from error
    if not all(map(torch.equal, before, (W, *batch))):
        raise penalty.error("got other weights or another batch after the call, expected them left alone")
    if (first.shape, first.dtype) != (W.shape, W.dtype):
        raise penalty.error(f"got a gradient {first.dtype} {first.shape}, expected {W.dtype} {W.shape}")
    if not torch.isfinite(first).all():
        raise penalty.error(f"got a gradient that is not finite at initial weights {tuple(W.shape[1:])}")
    if not repeats:
        raise penalty.error("got another gradient at a second call, expected a function of its arguments alone")
    return torch.equal(first, torch.cat(alone))


@torch.no_grad()
def values(
    name: str, sizes: Sequence[int], weights: Array, x: Array, y: Array, fixed: Mapping[str, Any], tuned: Tuned
) -> npt.NDArray[np.float64]:
    """Return a penalty's value at K networks and a batch x (B, inputs), y (B,), summed over matrices, as (K,).

    NaN where weights (K, P) are not finite. `tuned` maps hyperparameters to (K,).
    """
    penalty, found = load(name), np.full(len(weights), np.nan)
    parts, batch = _parts(penalty, sizes, fixed), (torch.tensor(x), torch.tensor(y)) if penalty.of_network else ()
    for k in np.flatnonzero(np.isfinite(weights).all(axis=1)):
        stacks = penalty.stacks(model.stack(torch.tensor(weights[k : k + 1]), sizes))
        own = {key: torch.tensor(np.asarray(each)[k], dtype=torch.float32) for key, each in tuned.items()}
        with contextlib.suppress(LinAlgError):
            found[k] = sum(float(one(W[0], own, *batch)) for (one, _), W in zip(parts, stacks, strict=True))
    return found
