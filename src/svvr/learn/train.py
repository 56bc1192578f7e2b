"""The one training loop, for tuning, final runs, dose-response and replication alike.

A run is a pure function of its spec and the data: on one intra-op thread its bytes do not depend on the models that
are stacked beside it.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from svvr import penalties
from svvr.core.files import Arrays, array_hash, finite_or_none
from svvr.core.seeds import derive
from svvr.learn import adam as optimizer
from svvr.learn import model

CURVES = (
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "gradient_norm_mean",
    "gradient_norm_sd",
    "gradient_cosine",
)


@dataclass(frozen=True)
class Run:
    """What determines a training run, beside the data.

    Attributes:
        seed: fixes two streams, initial weights and batch order, and nothing else does.
        lr: learning rate of Adam.
        weight_decay: decoupled decay; 0 is plain Adam.
        penalty: name of the penalty on all weight matrices.
        strength: the penalty's factor; 0 is no penalty, bit for bit.
        hidden: widths of the hidden layers.
        epochs: passes over the train split.
        batch_size: examples a step.
        device: where torch computes.
        selection: the rule by which the epoch of the kept weights is chosen.
        start: a run from whose weights (at its selected epoch) this one continues; None for fresh initial weights.
    """

    seed: int
    lr: float
    weight_decay: float = 0.0
    penalty: str = "none"
    strength: float = 0.0
    hidden: tuple[int, ...] = (128, 128)
    epochs: int = 20
    batch_size: int = 128
    device: str = "cpu"
    selection: str = "last_epoch"
    start: "Run | None" = None


def modules(run: Run) -> list[str]:
    """Name the modules whose code determines a run."""
    own = ["svvr.learn.train", "svvr.learn.model", "svvr.learn.adam", "svvr.core.seeds", "svvr.penalties"]
    return own + [
        f"svvr.penalties.{name}" for name in sorted({run.penalty, run.start.penalty if run.start else "none"})
    ]


def stackable(run: Run) -> Hashable:
    """Return what runs must have in common to be trained in one stack."""
    shape = (run.hidden, run.epochs, run.batch_size, run.device, run.selection)
    return shape, run.penalty, run.strength > 0, run.start and stackable(run.start)


def layer_sizes(run: Run, data: Arrays) -> tuple[int, ...]:
    """Return the number of inputs, hidden widths and classes of a run's model."""
    return data["x_train"].shape[1], *run.hidden, int(data["y_train"].max()) + 1


def selected_epoch(validation_loss: npt.ArrayLike, rule: str) -> int:
    """Return the epoch (from 0) that counts under a selection rule.

    Args:
        validation_loss: (epochs,) nats; finite.
        rule: `last_epoch`, or `best_epoch` for the first of the lowest losses.

    Raises:
        ValueError: for another rule.
    """
    if rule not in ("last_epoch", "best_epoch"):
        raise ValueError(f"selection: got {rule!r}, expected last_epoch or best_epoch")
    return np.size(validation_loss) - 1 if rule == "last_epoch" else int(np.argmin(validation_loss))


def train(runs: Sequence[Run], data: Arrays) -> list[Arrays]:
    """Train runs that are `stackable` with each other, in one stack.

    Args:
        runs: K runs.
        data: `x_train` (N, 40) float32, `y_train` (N,) int64, and the same for `validation`.

    Returns:
        For each run: the curves named in CURVES, (epochs,) float64 each (losses in nats, NaN where undefined);
        `initial_weights`, their hash; `weights` (P,) float32 at the selected epoch; `selected_epoch`, from 0;
        `complete`, false where a loss or gradient was not finite.

    Raises:
        ValueError: without runs, or where they cannot be stacked.
    """
    if len({stackable(run) for run in runs}) != 1:
        raise ValueError(f"runs of a stack: got {len(runs)} of different kinds, expected the same penalty and shape")
    if runs[0].device == "cuda" and not torch.cuda.is_available():
        raise ValueError("training.device: got cuda, expected cpu, since torch finds no GPU")
    torch.set_num_threads(1)
    with torch.no_grad():
        return _train(runs, data)


def initial_parameters(runs: Sequence[Run], data: Arrays) -> Tensor:
    """Return the (K, P) float32 parameters with which runs start, on the CPU."""
    if runs[0].start:
        starts = train([run.start for run in runs if run.start], data)
        return torch.stack([torch.from_numpy(result["weights"]) for result in starts])
    sizes = layer_sizes(runs[0], data)
    return torch.stack([model.initial_weights(sizes, derive("initial_weights", run.seed)) for run in runs])


def _train(runs: Sequence[Run], data: Arrays) -> list[Arrays]:
    common = runs[0]
    initial = initial_parameters(runs, data)
    models = model.stack(initial.to(common.device, copy=True), layer_sizes(common, data))
    state = optimizer.adam(models.flat, torch.tensor([run.lr for run in runs]), _decays(runs))
    penalised = _penalised(runs, models)
    splits = {name: torch.from_numpy(array).to(common.device) for name, array in data.items()}
    orders = [torch.Generator().manual_seed(derive("batch_order", run.seed)) for run in runs]

    history: list[dict[str, Tensor]] = []
    best_loss = torch.full((len(runs),), torch.inf, dtype=torch.float64, device=common.device)
    best = models.flat.clone()
    for _ in range(common.epochs):
        order = torch.stack([torch.randperm(len(splits["x_train"]), generator=each) for each in orders])
        order = order.to(common.device)
        curves = _epoch(models, state, penalised, splits["x_train"][order], splits["y_train"][order], common.batch_size)
        curves |= _validate(models, splits["x_validation"], splits["y_validation"])
        history.append(curves)
        better = curves["validation_loss"] < best_loss
        best_loss = torch.where(better, curves["validation_loss"], best_loss)
        best = torch.where(better[:, None], models.flat, best)
    selected = models.flat if common.selection == "last_epoch" else best
    return _results(runs, history, initial, selected)


def _decays(runs: Sequence[Run]) -> Tensor:
    return torch.tensor([run.weight_decay for run in runs])


def _penalised(runs: Sequence[Run], models: model.Stack) -> Callable[[model.Stack], Tensor]:
    """Return a function from the data loss's gradient to the whole (K, P) gradient that the optimizer follows."""
    if runs[0].strength == 0:
        return lambda gradient: gradient.flat
    slope = penalties.gradient(runs[0].penalty)
    strength = torch.tensor([run.strength for run in runs]).to(models.flat.device, models.flat.dtype)[:, None, None]
    total = model.stack(torch.empty_like(models.flat), layer_widths(models))

    def add(gradient: model.Stack) -> Tensor:
        total.flat.copy_(gradient.flat)
        for weight, part in zip(models.weights, total.weights, strict=True):
            part.addcmul_(slope(weight), strength)
        return total.flat

    return add


def layer_widths(models: model.Stack) -> tuple[int, ...]:
    """Return the number of inputs of the first layer and of outputs of every layer."""
    return models.weights[0].shape[2], *(weight.shape[1] for weight in models.weights)


def _epoch(
    models: model.Stack,
    state: optimizer.Adam,
    penalised: Callable[[model.Stack], Tensor],
    x: Tensor,
    y: Tensor,
    batch_size: int,
) -> dict[str, Tensor]:
    """Train one epoch on examples x (K, N, inputs), y (K, N) in their order.

    Returns:
        `train_loss` (K,) float64; of the full batches' gradients, `norms` (K, n_full) and `products`, those with the
        gradient before (its first is 0).
    """
    n = x.shape[1]
    n_full = max(n // batch_size, 1)  # the short last batch trains but stays out of the gradient's statistics
    sizes = layer_widths(models)
    gradient, previous = (model.stack(torch.zeros_like(models.flat), sizes) for _ in range(2))
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
            torch.linalg.vecdot(gradient.flat, previous.flat, out=products[number])
        optimizer.step(state, models.flat, penalised(gradient))
        gradient, previous = previous, gradient
    return {"train_loss": loss / n, "norms": norms.T, "products": products.T}


def _validate(models: model.Stack, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    logits = model.forward(models, x)[-1]
    return {
        "validation_loss": model.cross_entropy(logits, y)[0].double().mean(1),
        "validation_accuracy": (logits.argmax(1) == y).double().mean(1),
    }


def _results(runs: Sequence[Run], history: list[dict[str, Tensor]], initial: Tensor, selected: Tensor) -> list[Arrays]:
    curves = {name: torch.stack([epoch[name] for epoch in history], 1).cpu().numpy() for name in history[0]}
    results = []
    for k, run in enumerate(runs):
        result = {name: curve[k] for name, curve in curves.items()}
        result |= _gradient_statistics(result.pop("norms"), result.pop("products"))
        total = result["train_loss"] + result["validation_loss"] + result["gradient_norm_mean"]
        complete = bool(np.isfinite(total).all())
        epoch = selected_epoch(result["validation_loss"], run.selection) if complete else -1
        result |= {
            "initial_weights": np.array(array_hash(initial[k].numpy())),
            "weights": selected[k].cpu().numpy(),
            "selected_epoch": np.array(epoch),
            "complete": np.array(complete),
        }
        results.append(result)
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


def test_losses(
    weights: npt.NDArray[np.float32],
    sizes: Sequence[int],
    x_test: npt.NDArray[np.float32],
    y_test: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Evaluate one model on the test split, in chunks of examples.

    Args:
        weights: (P,) flat parameters.
        sizes: layer sizes, inputs first.
        x_test: (N, sizes[0]).
        y_test: (N,) labels.

    Returns:
        Each example's cross-entropy (N,) in nats, and whether its class was the likeliest (N,), 0 or 1.
    """
    torch.set_num_threads(1)
    models = model.stack(torch.from_numpy(weights)[None, :], sizes)
    losses, hits = [], []
    for start in range(0, len(x_test), 2000):
        features, labels = (torch.from_numpy(array[start : start + 2000]) for array in (x_test, y_test))
        logits = model.forward(models, features)[-1]
        losses.append(model.cross_entropy(logits, labels)[0][0].double())
        hits.append((logits.argmax(1)[0] == labels).double())
    return torch.cat(losses).numpy(), torch.cat(hits).numpy()


def record(run: Run, result: Arrays) -> dict[str, Any]:
    """Describe a finished run in plain types; what is not finite is None.

    Returns:
        Its seed, the hash of its initial weights, its knobs, its `state` and selected epoch (from 1), and the curves.
    """
    complete = bool(result["complete"])
    return {
        "seed": run.seed,
        "initial_weights": str(result["initial_weights"]),
        "lr": run.lr,
        "strength": run.strength,
        "weight_decay": run.weight_decay,
        "state": "complete" if complete else "failed",
        "selected_epoch": int(result["selected_epoch"]) + 1 if complete else None,
        **{name: [finite_or_none(value) for value in result[name]] for name in CURVES},
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Return the flat figures of an arm's final runs: means over those that are complete, None without any."""
    complete = [row for row in rows if row["state"] == "complete"]
    means: dict[str, float | None] = {"n_runs": len(rows), "n_failed": len(rows) - len(complete)}
    selected = [row["validation_loss"][row["selected_epoch"] - 1] for row in complete]
    for name, values in (
        ("validation_loss", selected),
        ("test_loss", [row["test_loss"] for row in complete]),
        ("test_accuracy", [row["test_accuracy"] for row in complete]),
    ):
        means[name] = math.fsum(values) / len(values) if values else None
    return means
