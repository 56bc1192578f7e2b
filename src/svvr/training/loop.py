"""The one training loop, for tuning, final runs, dose-response and replication alike.

A run is a pure function of its settings and the data: on one thread its bytes do not depend on the models that are
stacked beside it.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from svvr.records import Arrays, array_hash
from svvr.seeds import derive
from svvr.training import model, penalty
from svvr.training.optimizers import SGD, Adam
from svvr.training.run import CURVES, Result, Run, Score

Step: TypeAlias = Callable[[model.Stack, tuple[Tensor, Tensor]], None]
Epoch: TypeAlias = Callable[[Tensor, Tensor], dict[str, Tensor]]
TEST_CHUNK = 2000  # examples evaluated at once
WARM_UP = 128  # examples trained before a capture
THREADS = 8  # that draw for a GPU, or it would wait


def train(runs: Sequence[Run], data: Arrays) -> list[Result]:
    """Train runs in one stack, on the arrays x_SPLIT (N, inputs) float32 and y_SPLIT (N,) int64 of data.

    The splits are train, validation, and optionally test, evaluated at the end. Raises ValueError where runs are not
    `stackable`, there is no GPU, or the penalty cannot be used; a run that diverges is not `complete`.
    """
    if len({run.stackable() for run in runs}) != 1:
        raise ValueError(f"runs of a stack: got {len(runs)} of different kinds, expected the same penalty and shape")
    if runs[0].device == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device: got cuda, expected cpu, since torch finds no GPU")
    torch.set_num_threads(1)
    with torch.no_grad():
        if runs[0].device == "cpu":
            return _train(runs, data)
        with torch.cuda.stream(torch.cuda.Stream()):  # type: ignore[no-untyped-call]  # the default one has no graphs
            return settled(runs, _train(runs, data), data)


def score(runs: Sequence[Run], data: Arrays) -> list[Score]:
    """Train runs and keep their losses alone; see `train`."""
    return [result.score() for result in train(runs, data)]


def settled(runs: Sequence[Run], results: Sequence[Result], data: Arrays) -> list[Result]:
    """Return a GPU's results, failed runs retrained on the CPU."""
    failed = [replace(run, device="cpu") for run, result in zip(runs, results, strict=True) if not result.complete]
    again = iter(train(failed, data) if failed else ())
    return [result if result.complete else next(again) for result in results]


def initial_parameters(runs: Sequence[Run], data: Arrays) -> Tensor:
    """Return the (K, P) float32 parameters with which runs start, on the CPU."""
    if runs[0].start:
        starts = train([run.start for run in runs if run.start], data)
        return torch.stack([torch.from_numpy(result.weights) for result in starts])
    sizes = runs[0].sizes(data)
    return torch.stack([model.initial_weights(sizes, derive("initial_weights", run.seed)) for run in runs])


def _train(runs: Sequence[Run], data: Arrays) -> list[Result]:
    initial, device, best_epoch = initial_parameters(runs, data), runs[0].device, runs[0].selection == "best_epoch"
    models = model.copy(initial.to(device), runs[0].sizes(data))
    splits = {name: torch.from_numpy(array).to(device) for name, array in data.items()}
    generators = [torch.Generator().manual_seed(derive("batch_order", run.seed)) for run in runs]
    selected, lowest = models.flat.clone(), torch.full((len(runs),), torch.inf, dtype=torch.float64, device=device)
    history: list[dict[str, Tensor]] = []
    for number in range(runs[0].epochs):
        order = _orders(generators, len(splits["x_train"]), device)
        x, y = splits["x_train"][order], splits["y_train"][order]
        if number == 0:
            train_epoch = epoch(runs, models) if device == "cpu" else captured(runs, models, x, y)
        history.append(train_epoch(x, y))
        losses, hits = _evaluate(models, splits, "validation")
        loss = losses.double().mean(1)
        history[-1] |= {"validation_loss": loss, "validation_accuracy": hits.double().mean(1)}
        selected = torch.where((loss < lowest)[:, None], models.flat, selected) if best_epoch else models.flat
        lowest = torch.fmin(loss, lowest)
    losses, hits = _evaluate(model.copy(selected, models.sizes), splits, "test")
    curves = {name: torch.stack([each[name] for each in history], 1).cpu() for name in history[0]}
    curves |= {"initial": initial, "weights": selected.cpu(), "test_losses": losses.cpu(), "test_hits": hits.cpu()}
    return [_result(run, {name: each[k].numpy() for name, each in curves.items()}) for k, run in enumerate(runs)]


def _orders(generators: Sequence[torch.Generator], n: int, device: str) -> Tensor:
    """Return each run's next order of n examples, (K, n), copied to a GPU asynchronously."""
    orders = torch.empty(len(generators), n, dtype=torch.int64, pin_memory=device != "cpu")

    def draw(k: int) -> None:
        torch.randperm(n, generator=generators[k], out=orders[k])

    with ThreadPoolExecutor(THREADS) as threads:
        list((map if device == "cpu" else threads.map)(draw, range(len(generators))))
    return orders.to(device, non_blocking=True)


def epoch(runs: Sequence[Run], models: model.Stack) -> Epoch:
    """Return a function that trains the models on x (K, N, inputs), y (K, N) in their order.

    Its result: `train_loss` (K,) float64, and `norms` (K, n_full) of the full batches' gradients.
    """
    step, size = stepper(runs, models), runs[0].batch_size
    gradient = model.copy(torch.zeros_like(models.flat), models.sizes)

    def train_epoch(x: Tensor, y: Tensor) -> dict[str, Tensor]:
        n_full = max(x.shape[1] // size, 1)  # the short last batch trains but stays out of the gradient's statistics
        loss = torch.zeros(len(x), dtype=torch.float64, device=x.device)
        norms = torch.zeros(n_full, len(x), device=x.device)
        for number, batch in enumerate(zip(torch.split(x, size, 1), torch.split(y, size, 1), strict=True)):
            activations = model.forward(models, batch[0])
            losses, delta = model.cross_entropy(activations[-1], batch[1])
            model.backward(models, activations, delta, gradient)
            loss += losses.sum(1)
            if number < n_full:
                torch.linalg.vector_norm(gradient.flat, dim=1, out=norms[number])
            step(gradient, batch)
        return {"train_loss": loss / x.shape[1], "norms": norms.T}

    return train_epoch


def captured(runs: Sequence[Run], models: model.Stack, x: Tensor, y: Tensor) -> Epoch:
    """Return the epoch as replays of one CUDA graph; as it is, where a penalty reads values back."""
    epoch(runs, model.copy(models.flat, models.sizes))(x[:, :WARM_UP], y[:, :WARM_UP])  # libraries make workspaces
    train_epoch, given, graph = epoch(runs, models), (x.clone(), y.clone()), torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
            curves = train_epoch(*given)
    except (RuntimeError, ValueError):
        return train_epoch  # a capture trains nothing, so nothing is lost

    def replay(*batch: Tensor) -> dict[str, Tensor]:
        for into, each in zip(given, batch, strict=True):
            into.copy_(each)
        graph.replay()
        return {name: curve.clone() for name, curve in curves.items()}  # the next replay overwrites them

    return replay


def stepper(runs: Sequence[Run], models: model.Stack) -> Step:
    """Return a function that updates the models from the data loss's gradient and its batch (x, y)."""
    common, flat, sizes = runs[0], models.flat, models.sizes
    rows = [run.hyperparameters() for run in runs]
    values = {name: torch.tensor([float(row[name]) for row in rows]) for name in rows[0]}
    lr, strength, decay = values.pop("lr"), values.pop("strength").to(flat), values.pop("weight_decay")
    optimizer = SGD(flat, lr, decay, common.momentum) if common.optimizer == "sgd" else Adam(flat, lr, decay)
    if common.strength == 0:
        return lambda gradient, batch: optimizer.step(flat, gradient.flat)
    tuned = {name: value.to(flat) for name, value in values.items()}
    add = penalty.gradient(common.penalty, sizes, dict(common.fixed), tuned)
    total, coupled = model.stack(torch.empty_like(flat), sizes), common.coupling == "coupled"

    def step(gradient: model.Stack, batch: tuple[Tensor, Tensor]) -> None:
        total.flat.copy_(gradient.flat) if coupled else total.flat.zero_()
        add(models, batch, strength, total)
        optimizer.step(flat, total.flat if coupled else gradient.flat)
        if not coupled:
            flat.addcmul_(total.flat, optimizer.lr, value=-1)

    return step


def _evaluate(models: model.Stack, splits: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Return each model's losses and hits on a split, (K, N) both; N is 0 where there is no such split."""
    x, y = (splits.get(f"{part}_{name}", splits[f"{part}_train"][:0]) for part in "xy")
    losses, hits = [], []
    for some_x, some_y in zip(torch.split(x, TEST_CHUNK), torch.split(y, TEST_CHUNK), strict=True):
        logits = model.forward(models, some_x)[-1]
        losses.append(model.cross_entropy(logits, some_y)[0])
        hits.append(logits.argmax(1) == some_y)
    return torch.cat(losses, 1), torch.cat(hits, 1)


def _result(run: Run, own: Arrays) -> Result:
    # for each run alone: a reduction over the stack would add in an order that follows the number of models
    norms = np.ascontiguousarray(own["norms"], np.float64)
    with np.errstate(all="ignore"):
        own |= {"gradient_norm_mean": norms.mean(1), "gradient_norm_sd": norms.std(1)}
    loss = own["validation_loss"]
    complete = bool(np.isfinite(own["train_loss"] + loss + own["gradient_norm_mean"]).all())
    selected = int(np.argmin(loss)) + 1 if run.selection == "best_epoch" else len(loss)
    curves, start = {name: own[name] for name in CURVES}, array_hash(own["initial"])
    return Result(
        curves, start, own["weights"], selected if complete else 0, complete, own["test_losses"], own["test_hits"]
    )
