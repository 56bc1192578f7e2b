"""What a training run gives: curves, weights and losses on the test split; and its record in plain types."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from svvr.core.files import Arrays, array_hash, finite_or_none
from svvr.learn.spec import Run

CURVES = (
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "gradient_norm_mean",
    "gradient_norm_sd",
    "gradient_cosine",
)
RULES = ("last_epoch", "best_epoch")


@dataclass(frozen=True)
class Result:
    """A finished run.

    Attributes:
        curves: those named in CURVES, (epochs,) float64 each; losses in nats, NaN where undefined.
        initial_weights: the hash of the weights that it started from.
        weights: (P,) float32, at the selected epoch.
        selected_epoch: from 1; 0 where the run failed.
        complete: false where a loss or gradient was not finite.
        test_losses: (n_test,) float32 cross-entropy of each example in nats, (0,) without a test split.
        test_hits: (n_test,) bool, whether the example's class was the likeliest.
    """

    curves: dict[str, npt.NDArray[np.float64]]
    initial_weights: str
    weights: npt.NDArray[np.float32]
    selected_epoch: int
    complete: bool
    test_losses: npt.NDArray[np.float32]
    test_hits: npt.NDArray[np.bool_]

    def arrays(self) -> Arrays:
        """Return everything as arrays, the curves under their names."""
        return {
            **self.curves,
            "initial_weights": np.array(self.initial_weights),
            "weights": self.weights,
            "selected_epoch": np.array(self.selected_epoch),
            "complete": np.array(self.complete),
            "test_losses": self.test_losses,
            "test_hits": self.test_hits,
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Result":
        """Return the result that the arrays were taken from."""
        return cls(
            {name: arrays[name] for name in CURVES},
            str(arrays["initial_weights"]),
            arrays["weights"],
            int(arrays["selected_epoch"]),
            bool(arrays["complete"]),
            arrays["test_losses"],
            arrays["test_hits"],
        )

    def validation_loss(self, rule: str) -> float | None:
        """Return the validation loss in nats under a selection rule, None where the run failed."""
        if not self.complete:
            return None
        curve = self.curves["validation_loss"]
        return float(curve[selected_epoch(curve, rule) - 1])

    @property
    def test_loss(self) -> float | None:
        """The mean loss on the test split in nats, None where the run failed or there was none."""
        known = self.complete and len(self.test_losses)
        return float(self.test_losses.astype(np.float64).mean()) if known else None

    @property
    def test_accuracy(self) -> float | None:
        """The share of test examples that are classified rightly, None where the run failed or there was none."""
        known = self.complete and len(self.test_hits)
        return float(self.test_hits.mean()) if known else None


@dataclass(frozen=True)
class Score:
    """The losses of a finished run in nats, None where it failed.

    Attributes:
        validation_loss: at the selected epoch.
        test_loss: at the same epoch.
    """

    validation_loss: float | None
    test_loss: float | None

    @classmethod
    def of(cls, run: Run, result: Result) -> "Score":
        """Return the losses of a run under its selection rule."""
        return cls(result.validation_loss(run.selection), result.test_loss)

    def arrays(self) -> Arrays:
        """Return both losses in one array, NaN for None."""
        return {
            "losses": np.array([np.nan if each is None else each for each in (self.validation_loss, self.test_loss)])
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Score":
        """Return the losses that the array was made of."""
        return cls(*map(finite_or_none, arrays["losses"]))


def selected_epoch(validation_loss: npt.ArrayLike, rule: str) -> int:
    """Return the epoch (from 1) that counts under a selection rule.

    Args:
        validation_loss: (epochs,) nats; finite.
        rule: `last_epoch`, or `best_epoch` for the first of the lowest losses.

    Raises:
        ValueError: for another rule.
    """
    if rule not in RULES:
        raise ValueError(f"selection: got {rule!r}, expected {' or '.join(RULES)}")
    return np.size(validation_loss) if rule == "last_epoch" else int(np.argmin(validation_loss)) + 1


def record(run: Run, result: Result) -> dict[str, Any]:
    """Describe a finished run in plain types; what is not finite is None.

    Returns:
        Its seed, the hash of its initial weights, its knobs, its `state` and selected epoch (from 1), and the curves.
    """
    return {
        "seed": run.seed,
        "initial_weights": result.initial_weights,
        "lr": run.lr,
        "strength": run.strength,
        "weight_decay": run.weight_decay,
        "state": "complete" if result.complete else "failed",
        "selected_epoch": result.selected_epoch if result.complete else None,
        **{name: [finite_or_none(value) for value in result.curves[name]] for name in CURVES},
    }


def dose_record(run: Run, result: Result) -> dict[str, Any]:
    """Describe a run of the dose-response: its knobs, seed, state, and losses under the selection rule in nats."""
    return {
        "strength": run.strength,
        "lr": run.lr,
        "weight_decay": run.weight_decay,
        "seed": run.seed,
        "state": "complete" if result.complete else "failed",
        "validation_loss": result.validation_loss(run.selection),
        "test_loss": result.test_loss,
    }


def final_records(studies: Sequence[int], runs: Sequence[Run], results: Sequence[Result]) -> list[dict[str, Any]]:
    """Describe final runs, each with its study, its test loss and accuracy, and the hash of its weights."""
    return [
        {
            "study": study,
            **record(run, result),
            "test_loss": result.test_loss,
            "test_accuracy": result.test_accuracy,
            "weights": array_hash(result.weights),
        }
        for study, run, result in zip(studies, runs, results, strict=True)
    ]


def final_arrays(studies: Sequence[int], runs: Sequence[Run], results: Sequence[Result]) -> Arrays:
    """Return what later stages need of final runs, which are the same number of studies, numbered from 0.

    Returns:
        `study` and `seed` (runs,), `weights` (runs, P) float32, and `test_losses` (studies, n_test) float32: each
        example's loss averaged over the complete runs of a study, 0 without any.
    """
    losses = np.zeros((len(set(studies)), len(results[0].test_losses)))
    n_complete = np.zeros((len(losses), 1))
    for study, result in zip(studies, results, strict=True):
        if result.complete:
            losses[study] += result.test_losses
            n_complete[study] += 1
    return {
        "study": np.array(studies),
        "seed": np.array([run.seed for run in runs]),
        "weights": np.stack([result.weights for result in results]),
        "test_losses": (losses / np.maximum(n_complete, 1)).astype(np.float32),
    }
