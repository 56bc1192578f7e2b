"""What a training run is, beside the data; what it gives; and the runs that the stages ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from svvr.records import Arrays, Row, finite_or_none
from svvr.seeds import derive

if TYPE_CHECKING:
    from svvr.params import Params

CURVES = ("train_loss", "validation_loss", "validation_accuracy", "gradient_norm_mean", "gradient_norm_sd")
SHARED = ("lr", "strength", "weight_decay")  # hyperparameters that are not the penalty's own


@dataclass(frozen=True)
class Run:
    """A training run."""

    seed: int  # fixes two streams, initial weights and batch order
    lr: float
    weight_decay: float = 0.0  # decoupled, as in AdamW
    penalty: str = "none"
    strength: float = 0.0  # the penalty's factor; 0 is no penalty, bit for bit
    hidden: tuple[int, ...] = (128, 128)
    epochs: int = 20
    batch_size: int = 128
    device: str = "cpu"
    selection: str = "last_epoch"  # whose weights are kept; or best_epoch, that of the lowest validation loss
    optimizer: str = "adam"  # or sgd
    momentum: float = 0.0
    coupling: str = "coupled"  # or decoupled: each step takes lr * strength * gradient off, beside the optimizer's
    start: "Run | None" = None  # the run from whose selected weights this one continues
    fixed: tuple[tuple[str, float], ...] = ()  # (name, value) of the penalty's own hyperparameters
    tuned: tuple[tuple[str, float], ...] = ()  # the same, with values that may differ within a stack

    @classmethod
    def of(cls, params: "Params", penalty: str, hyperparameters: Mapping[str, float], seed: int, **others: Any) -> Self:
        """Return the run with a penalty; hyperparameters other than SHARED are the penalty's own."""
        settings = params.training.model_dump() | {"hidden": params.model.hidden, "selection": params.selection}
        settings |= {name: value for name, value in hyperparameters.items() if name in SHARED}
        tuned = tuple(sorted(item for item in hyperparameters.items() if item[0] not in SHARED))
        return cls(seed=seed, penalty=penalty, tuned=tuned, **settings, **others)

    @classmethod
    def of_arm(cls, params: "Params", arm: str, hyperparameters: Mapping[str, float], seed: int) -> Self:
        """Return the run of an arm, with its penalty and optimizer; see `of`."""
        settings, fixed = params.arms[arm], tuple(sorted(params.arms[arm].fixed().items()))
        penalty, optimizer = settings.penalty, settings.optimizer
        others = {"optimizer": optimizer.name, "momentum": optimizer.momentum, "coupling": penalty.coupling}
        return cls.of(params, penalty.name, hyperparameters, seed, fixed=fixed, **others)

    def sizes(self, data: Arrays) -> tuple[int, ...]:
        """Return the number of inputs, hidden widths and classes of the model."""
        return data["x_train"].shape[1], *self.hidden, int(data["y_train"].max()) + 1

    def stackable(self) -> "Run":
        """Return what runs must have in common to be trained in one stack: all but seed and hyperparameters' values."""
        tuned = tuple((name, 0.0) for name, _ in self.tuned)
        alike = replace(self, seed=0, lr=0.0, weight_decay=0.0, strength=float(self.strength > 0), tuned=tuned)
        return replace(alike, start=self.start and self.start.stackable())

    def penalties(self) -> tuple[str, ...]:
        """Return the names of the penalties that take part, sorted."""
        return tuple(sorted({self.penalty, self.start.penalty if self.start else "none"}))

    def hyperparameters(self) -> dict[str, float]:
        """Return lr, strength, weight_decay and the penalty's tuned ones."""
        return {name: getattr(self, name) for name in SHARED} | dict(self.tuned)


@dataclass(frozen=True)
class Score:
    """A run's losses in nats, None where it failed; test_loss at the selected epoch, None without a test split."""

    validation_loss_last: float | None
    validation_loss_best: float | None
    test_loss: float | None

    def arrays(self) -> Arrays:
        """Return the losses as arrays, NaN for None."""
        return {name: np.array(loss, np.float64) for name, loss in vars(self).items()}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return what `arrays` was called on."""
        return cls(**{name: finite_or_none(loss.item()) for name, loss in arrays.items()})


@dataclass(frozen=True)
class Result:
    """A finished run; losses are in nats."""

    curves: Arrays  # name in CURVES -> (epochs,) float64, NaN where undefined
    initial_weights: str  # the hash of the weights that it started from
    weights: npt.NDArray[np.float32]  # (P,), at the selected epoch
    selected_epoch: int  # from 1; 0 where the run failed
    complete: bool  # false where a loss or gradient was not finite
    test_losses: npt.NDArray[np.float32]  # (n_test,) of each example; (0,) without a test split
    test_hits: npt.NDArray[np.bool_]  # (n_test,), whether the example's class was the likeliest

    def arrays(self) -> Arrays:
        """Return everything as arrays, the curves under their names."""
        return self.curves | {name: np.asarray(value) for name, value in vars(self).items() if name != "curves"}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Return what `arrays` was called on."""
        others: dict[str, Any] = {name: each if each.ndim else each.item() for name, each in arrays.items()}
        return cls({name: others.pop(name) for name in CURVES}, **others)

    def score(self) -> Score:
        """Return the losses alone."""
        if not self.complete:
            return Score(None, None, None)
        losses, tested = self.curves["validation_loss"], len(self.test_losses) > 0
        test_loss = float(self.test_losses.astype(np.float64).mean()) if tested else None
        return Score(float(losses[-1]), float(losses.min()), test_loss)


def score_row(run: Run, score: Score) -> Row:
    """Return a run's seed, hyperparameters, state and losses, the validation loss under its selection rule."""
    loss = score.validation_loss_best if run.selection == "best_epoch" else score.validation_loss_last
    losses = {"state": "failed" if loss is None else "complete", "validation_loss": loss, "test_loss": score.test_loss}
    return {"seed": run.seed} | run.hyperparameters() | losses


def train_row(study: int, run: Run, result: Result) -> Row:
    """Return a run's row in train; a failed run's losses and selected epoch are None."""
    losses, complete, tested = score_row(run, result.score()), result.complete, len(result.test_hits) > 0
    curves = {name: [finite_or_none(value) for value in result.curves[name]] for name in CURVES}
    accuracy = curves["validation_accuracy"]
    return {
        "study": study,
        "seed": run.seed,
        "initial_weights": result.initial_weights,
        **run.hyperparameters(),
        "state": losses["state"],
        "selected_epoch": result.selected_epoch if complete else None,
        "validation_loss": losses["validation_loss"],
        "validation_accuracy": accuracy[result.selected_epoch - 1] if complete else None,
        "test_loss": losses["test_loss"],
        "test_accuracy": float(result.test_hits.mean()) if complete and tested else None,
        "train_loss": curves["train_loss"],
        "validation_loss_curve": curves["validation_loss"],
        "validation_accuracy_curve": accuracy,
        "gradient_norm_mean": curves["gradient_norm_mean"],
        "gradient_norm_sd": curves["gradient_norm_sd"],
    }


def final_arrays(studies: Sequence[int], runs: Sequence[Run], results: Sequence[Result]) -> Arrays:
    """Return `study`, `seed` (runs,), `weights` (runs, P) and `test_losses` (studies, n_test) of studies 0, 1, ...

    A test loss is an example's mean over the complete runs of a study, 0 without any; float32.
    """
    losses = []
    for study in range(len(set(studies))):
        own = [each.test_losses for of, each in zip(studies, results, strict=True) if of == study and each.complete]
        losses.append(np.mean(own or [np.zeros_like(results[0].test_losses)], axis=0, dtype=np.float64))
    arrays = {"study": np.array(studies), "seed": np.array([run.seed for run in runs])}
    weights = np.stack([result.weights for result in results])
    return arrays | {"weights": weights, "test_losses": np.stack(losses).astype(np.float32)}


def replication(params: "Params") -> list[tuple[str, Run]]:
    """Return (row, run) of the replication: the published hyperparameters, row by row, on the same seeds."""
    settings = params.replicate
    baseline = Run.of(params, "none", settings.baseline.model_dump(), 0)
    baseline = replace(baseline, epochs=settings.epochs, selection="last_epoch")
    fresh = replace(baseline, penalty="sv_variance", **settings.regularized.model_dump())
    rows = {"baseline": baseline, "regularized_fresh": fresh, "regularized_continued": replace(fresh, start=baseline)}
    seeds = [derive(params.seed, "replicate", index) for index in range(settings.seeds)]
    return [
        (row, replace(run, seed=seed, start=run.start and replace(run.start, seed=seed)))
        for row, run in rows.items()
        for seed in seeds
    ]


def doses(params: "Params") -> list[Run]:
    """Return the runs of the dose-response: path by path, strength by strength, on the same seeds."""
    settings = params.dose_response
    seeds = [derive(params.seed, "dose_response", index) for index in range(settings.seeds)]
    return [
        Run.of(params, dose.penalty, {"lr": dose.lr, "weight_decay": dose.weight_decay, "strength": strength}, seed)
        for dose in settings.settings
        for strength in dose.strengths
        for seed in seeds
    ]
