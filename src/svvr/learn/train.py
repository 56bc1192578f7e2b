"""The one training loop, for tuning, final runs, dose-response and replication alike.

A run is a pure function of its spec and the data: on one intra-op thread its bytes do not depend on the models that
are stacked beside it.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from svvr.core.files import Arrays, array_hash
from svvr.core.seeds import derive
from svvr.learn import adam, model, penalty, sgd
from svvr.learn.captured import Captured, Epoch
from svvr.learn.result import Result, Score, selected_epoch
from svvr.learn.spec import Run

Step: TypeAlias = Callable[[model.Stack, penalty.Batch], None]
THREADS = 8  # that draw for an accelerator
TEST_CHUNK = 2000  # examples of the test split that are evaluated at once


def train(runs: Sequence[Run], data: Arrays) -> list[Result]:
    """Train runs that are `stackable` with each other, in one stack.

    Args:
        runs: K runs.
        data: `x_train` (N, 40) float32, `y_train` (N,) int64, and the same for `validation`; for the losses on it
            the same for `test`, which plays no other part.

    Returns:
        The result of each run.

    Raises:
        ValueError: without runs, or where they cannot be stacked.
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
            results = _train(runs, data)
    return settled(runs, results, data)


def settled(runs: Sequence[Run], results: Sequence[Result], data: Arrays) -> list[Result]:
    """Return the results of runs on an accelerator, of which those that are not complete are trained on the processor.

    An accelerator checks nothing while it trains: a run that diverges and a penalty's mistake give NaN alike. Here the
    one is found once more, and the other is told in a line.
    """
    lost = [index for index, result in enumerate(results) if not result.complete]
    again = train([replace(runs[index], device="cpu") for index in lost], data) if lost else []
    found = dict(zip(lost, again, strict=True))
    return [found.get(index, result) for index, result in enumerate(results)]


def score(runs: Sequence[Run], data: Arrays) -> list[Score]:
    """Train runs and keep their losses alone; see `train`."""
    return [Score.of(run, result) for run, result in zip(runs, train(runs, data), strict=True)]


def initial_parameters(runs: Sequence[Run], data: Arrays) -> Tensor:
    """Return the (K, P) float32 parameters with which runs start, on the CPU."""
    if runs[0].start:
        starts = train([run.start for run in runs if run.start], data)
        return torch.stack([torch.from_numpy(result.weights) for result in starts])
    sizes = runs[0].sizes(data)
    found = torch.empty(len(runs), model.n_parameters(sizes))

    def draw(index: int) -> None:
        found[index] = model.initial_weights(sizes, derive("initial_weights", runs[index].seed))

    _for_each(draw, runs)
    return found


def _for_each(draw: Callable[[int], object], runs: Sequence[Run]) -> None:
    """Draw for each run; for an accelerator in threads, or it would wait for the draws."""
    if runs[0].device == "cpu":
        for index in range(len(runs)):
            draw(index)
        return
    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda start: [draw(index) for index in range(start, len(runs), THREADS)], range(THREADS)))


def _orders(runs: Sequence[Run], generators: Sequence[torch.Generator], n: int) -> Tensor:
    """Return each run's next order of n examples, (K, n), which an accelerator takes while it still trains."""
    device = runs[0].device
    found = torch.empty(len(runs), n, dtype=torch.int64, pin_memory=device != "cpu")
    _for_each(lambda index: torch.randperm(n, generator=generators[index], out=found[index]), runs)
    return found.to(device, non_blocking=True)


def _train(runs: Sequence[Run], data: Arrays) -> list[Result]:
    common = runs[0]
    initial = initial_parameters(runs, data)
    models = model.copy(initial.to(common.device), common.sizes(data))
    splits = {name: torch.from_numpy(array).to(common.device) for name, array in data.items()}
    generators = [torch.Generator().manual_seed(derive("batch_order", run.seed)) for run in runs]
    train_epoch: Epoch = functools.partial(epoch, models, stepper(runs, models), batch_size=common.batch_size)
    if common.device != "cpu":
        spare = model.copy(models.flat, common.sizes(data))
        rehearsal = functools.partial(epoch, spare, stepper(runs, spare), batch_size=common.batch_size)
        train_epoch = Captured(train_epoch, rehearsal)

    history: list[dict[str, Tensor]] = []
    best_loss = torch.full((len(runs),), torch.inf, dtype=torch.float64, device=common.device)
    best = models.flat.clone()
    for _ in range(common.epochs):
        order = _orders(runs, generators, len(splits["x_train"]))
        curves = train_epoch(splits["x_train"][order], splits["y_train"][order])
        curves |= _validate(models, splits["x_validation"], splits["y_validation"])
        history.append(curves)
        better = curves["validation_loss"] < best_loss
        best_loss = torch.where(better, curves["validation_loss"], best_loss)
        best = torch.where(better[:, None], models.flat, best)
    selected = models.flat if common.selection == "last_epoch" else best
    losses, hits = _test(model.copy(selected, common.sizes(data)), splits)
    return _results(runs, history, initial, selected.cpu().numpy(), losses, hits)


def _optimizer(runs: Sequence[Run], models: model.Stack) -> adam.Adam | sgd.SGD:
    rates, decays = torch.tensor([run.lr for run in runs]), torch.tensor([run.weight_decay for run in runs])
    if runs[0].optimizer == "sgd":
        return sgd.sgd(models.flat, rates, decays, runs[0].momentum)
    return adam.adam(models.flat, rates, decays)


def stepper(runs: Sequence[Run], models: model.Stack) -> Step:
    """Return a function that takes a step from the data loss's gradient and the batch (x, y) that it belongs to.

    Args:
        runs: K runs that can be stacked.
        models: their parameters, which a step updates in place.
    """
    optimizer, coupled = _optimizer(runs, models), runs[0].coupling == "coupled"
    if runs[0].strength == 0:
        return lambda gradient, batch: optimizer.step(models.flat, gradient.flat)
    add = penalty.slope(runs[0].penalty, layer_widths(models))
    strengths = torch.tensor([run.strength for run in runs]).to(models.flat)
    total = model.stack(torch.empty_like(models.flat), layer_widths(models))

    def step(gradient: model.Stack, batch: penalty.Batch) -> None:
        if coupled:
            total.flat.copy_(gradient.flat)
            add(models, batch, strengths, total)
            optimizer.step(models.flat, total.flat)
        else:  # both parts start from the same weights
            total.flat.zero_()
            add(models, batch, strengths, total)
            optimizer.step(models.flat, gradient.flat)
            models.flat.addcmul_(total.flat, optimizer.lr, value=-1)

    return step


def layer_widths(models: model.Stack) -> tuple[int, ...]:
    """Return the number of inputs of the first layer and of outputs of every layer."""
    return models.weights[0].shape[2], *(weight.shape[1] for weight in models.weights)


def epoch(models: model.Stack, step: Step, x: Tensor, y: Tensor, batch_size: int) -> dict[str, Tensor]:
    """Train one epoch on examples x (K, N, inputs), y (K, N) in their order.

    On an accelerator no value is read back, so that the whole epoch can be captured as a graph.

    Returns:
        `train_loss` (K,) float64; of the full batches' gradients, `norms` (K, n_full) and `products`, those with the
        gradient before (its first is 0).
    """
    n = x.shape[1]
    n_full = max(n // batch_size, 1)  # the short last batch trains but stays out of the gradient's statistics
    gradient, previous = (model.copy(torch.zeros_like(models.flat), layer_widths(models)) for _ in range(2))
    loss = torch.zeros(len(models.flat), dtype=torch.float64, device=x.device)
    norms, products = torch.zeros(2, n_full, len(models.flat), device=x.device)
    for number, start in enumerate(range(0, n, batch_size)):
        batch = slice(start, start + batch_size)
        activations = model.forward(models, x[:, batch])
        losses, delta = model.cross_entropy(activations[-1], y[:, batch])
        model.backward(models, activations, delta, gradient)
        loss += losses.sum(1)
        if number < n_full:
            torch.linalg.vector_norm(gradient.flat, dim=1, out=norms[number])
            torch.sum(previous.flat.mul_(gradient.flat), 1, out=products[number])  # in place: it is overwritten next
        step(gradient, (x[:, batch], y[:, batch]))
        gradient, previous = previous, gradient
    return {"train_loss": loss / n, "norms": norms.T, "products": products.T}


def _validate(models: model.Stack, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    logits = model.forward(models, x)[-1]
    return {
        "validation_loss": model.cross_entropy(logits, y)[0].double().mean(1),
        "validation_accuracy": (logits.argmax(1) == y).double().mean(1),
    }


def _test(models: model.Stack, splits: dict[str, Tensor]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return each model's losses and hits on the test split, (K, n_test); (K, 0) without one."""
    if "x_test" not in splits:
        return np.empty((len(models.flat), 0), np.float32), np.empty((len(models.flat), 0), np.bool_)
    losses, hits = [], []
    for start in range(0, len(splits["x_test"]), TEST_CHUNK):
        x, y = (splits[name][start : start + TEST_CHUNK] for name in ("x_test", "y_test"))
        logits = model.forward(models, x)[-1]
        losses.append(model.cross_entropy(logits, y)[0])
        hits.append(logits.argmax(1) == y)
    return torch.cat(losses, 1).cpu().numpy(), torch.cat(hits, 1).cpu().numpy()


def _results(
    runs: Sequence[Run],
    history: list[dict[str, Tensor]],
    initial: Tensor,
    weights: npt.NDArray[np.float32],
    losses: npt.NDArray[np.float32],
    hits: npt.NDArray[np.bool_],
) -> list[Result]:
    stacked = {name: torch.stack([epoch[name] for epoch in history], 1).cpu().numpy() for name in history[0]}
    results = []
    for k, run in enumerate(runs):
        curves = {name: curve[k] for name, curve in stacked.items()}
        curves |= _gradient_statistics(curves.pop("norms"), curves.pop("products"))
        total = curves["train_loss"] + curves["validation_loss"] + curves["gradient_norm_mean"]
        complete = bool(np.isfinite(total).all())
        epoch = selected_epoch(curves["validation_loss"], run.selection) if complete else 0
        start = array_hash(initial[k].numpy())
        results.append(Result(curves, start, weights[k], epoch, complete, losses[k], hits[k]))
    return results


def _gradient_statistics(norms: npt.NDArray[np.float32], products: npt.NDArray[np.float32]) -> Arrays:
    """Return one run's figures of each epoch from its batches' gradients (epochs, n_full).

    For each run alone: a reduction over the whole stack would add in an order that follows the number of models.
    """
    lengths, dots = (np.ascontiguousarray(array, dtype=np.float64) for array in (norms, products))
    with np.errstate(all="ignore"):
        cosines = dots[:, 1:] / (lengths[:, 1:] * lengths[:, :-1])
        cosine = cosines.mean(1) if cosines.shape[1] else np.full(len(lengths), np.nan)
        return {
            "gradient_norm_mean": lengths.mean(1),
            "gradient_norm_sd": lengths.std(1),
            "gradient_cosine": cosine,
        }
