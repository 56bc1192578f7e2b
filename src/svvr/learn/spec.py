"""What a training run is: the settings that determine its result, beside the data."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from svvr.core.files import Arrays

if TYPE_CHECKING:
    from svvr.core.params import Params


@dataclass(frozen=True)
class Run:
    """A training run.

    Attributes:
        seed: fixes two streams, initial weights and batch order, and nothing else does.
        lr: learning rate.
        weight_decay: decoupled decay, as in AdamW; 0 is none.
        penalty: name of the penalty on all weight matrices.
        strength: the penalty's factor; 0 is no penalty, bit for bit.
        hidden: widths of the hidden layers.
        epochs: passes over the train split.
        batch_size: examples a step.
        device: where torch computes.
        selection: the rule by which the epoch of the kept weights is chosen.
        optimizer: `adam` or `sgd`.
        momentum: of sgd.
        coupling: `coupled`, where the penalty's gradient is added to that of the loss and goes through the optimizer's
            scaling; or `decoupled`, where each step takes lr * strength * gradient off the weights beside it.
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
    optimizer: str = "adam"
    momentum: float = 0.0
    coupling: str = "coupled"
    start: "Run | None" = None

    @classmethod
    def of(cls, params: "Params", penalty: str, knobs: Mapping[str, float], seed: int, **others: Any) -> "Run":
        """Return the run with a penalty and knobs; all else is taken from params.

        Args:
            params: `model`, `training` and `selection` are read.
            penalty: its name.
            knobs: lr, and where they are not 0 strength and weight_decay.
            seed: of initial weights and batch order.
            **others: further attributes, such as the optimizer.

        Raises:
            ValueError: without lr, or where there is a strength without a penalty or the other way round.
        """
        if "lr" not in knobs or (knobs.get("strength", 0) > 0) != (penalty != "none"):
            expected = f"lr, and a strength above 0 with a penalty ({penalty})"
            raise ValueError(f"knobs of a run: got {dict(knobs)}, expected {expected}")
        return cls(
            seed=seed,
            lr=knobs["lr"],
            weight_decay=knobs.get("weight_decay", 0.0),
            penalty=penalty,
            strength=knobs.get("strength", 0.0),
            hidden=tuple(params.model.hidden),
            epochs=params.training.epochs,
            batch_size=params.training.batch_size,
            device=params.training.device,
            selection=params.selection,
            **others,
        )

    @classmethod
    def of_arm(cls, params: "Params", arm: str, knobs: Mapping[str, float], seed: int) -> "Run":
        """Return the run of an arm with its penalty and optimizer; see `of`."""
        settings = params.arms[arm]
        optimizer = {"optimizer": settings.optimizer.name, "momentum": settings.optimizer.momentum}
        return cls.of(params, settings.penalty.name, knobs, seed, coupling=settings.penalty.coupling, **optimizer)

    def sizes(self, data: Arrays) -> tuple[int, ...]:
        """Return the number of inputs, hidden widths and classes of the model."""
        return data["x_train"].shape[1], *self.hidden, int(data["y_train"].max()) + 1

    def stackable(self) -> Hashable:
        """Return what runs must have in common to be trained in one stack."""
        shape = (self.hidden, self.epochs, self.batch_size, self.device, self.selection)
        method = (self.optimizer, self.momentum, self.penalty, self.coupling, self.strength > 0)
        return shape, method, self.start and self.start.stackable()

    def penalties(self) -> tuple[str, ...]:
        """Return the names of the penalties that take part, sorted."""
        return tuple(sorted({self.penalty, self.start.penalty if self.start else "none"}))
