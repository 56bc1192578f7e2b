"""The shape of the records of an arm, as far as later stages rely on it; what joins two records is `integrity`'s."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from svvr.core.files import RecordError, read_json
from svvr.core.messages import refusal, sentence

Count = Annotated[int, Field(ge=0, le=2**63)]
Positive = Annotated[float, Field(gt=0, lt=1e100)]
Logarithm = Annotated[float, Field(gt=-500, lt=500)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Curve = list[float | None]  # one value an epoch
State = Literal["complete", "failed"]
FINITE_CURVES = ("train_loss", "validation_loss", "validation_accuracy", "gradient_norm_mean", "gradient_norm_sd")


class Schema(BaseModel):
    """A mapping with at least these keys; numbers are finite, and nothing is converted but whole numbers to floats."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, allow_inf_nan=False)


def read(path: Path, schema: type[Schema], arm: str | None = None) -> dict[str, Any]:
    """Read a record and check it.

    Args:
        path: a JSON file.
        schema: what the record must hold.
        arm: whose record it must be; None for records of no arm.

    Returns:
        The whole record in plain types, as it was written.

    Raises:
        RecordError: where it cannot be read or is not what the schema says; its one line names the file, the dotted
            key, what was got and what was expected.
    """
    record = read_json(path)
    try:
        schema.model_validate(record)
    except ValidationError as error:
        raise RecordError(sentence(path, error)) from None
    if arm is not None and record["arm"] != arm:
        raise RecordError(f"{path}: arm: got {record['arm']!r}, expected {arm!r}")
    return record


def read_arms(metrics: Path, arms: Iterable[str], *kinds: str) -> dict[str, dict[str, dict[str, Any]]]:
    """Read every arm's records, `metrics/KIND/ARM.json`, and check them; see `read`.

    Args:
        metrics: the folder of all metrics.
        arms: names.
        *kinds: of KINDS; all without any.

    Returns:
        kind -> arm -> record.
    """
    names = list(arms)
    return {
        kind: {arm: read(metrics / kind / f"{arm}.json", KINDS[kind], arm) for arm in names} for kind in kinds or KINDS
    }


def paths(metrics: Path, *kinds: str) -> list[Path]:
    """Return the arms' records that there are, those of removed arms too."""
    return [path for kind in kinds or KINDS for path in sorted((metrics / kind).glob("*.json"))]


def left_over(metrics: Path, arms: Iterable[str]) -> list[str]:
    """Return the names, sorted, of which there are records but no arm in params.yaml any more."""
    return sorted({path.stem for path in paths(metrics)} - set(arms))


class Trial(Schema):
    """One trial of a study; its objective is None where it failed."""

    number: Count
    params: Annotated[dict[str, Positive], Field(min_length=1)]
    state: State
    objective: Positive | None
    seeds: Annotated[list[Count], Field(min_length=1)]
    losses: list[Positive | None]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.losses) != len(self.seeds):
            raise refusal(self.losses, f"a loss for each of {len(self.seeds)} seeds", "losses")
        if (self.objective is None) != (self.state == "failed"):
            raise refusal(self.objective, f"what belongs to the state {self.state!r}", "objective")
        return self


class Study(Schema):
    """One study with its winner."""

    study: Count
    best: dict[str, Positive]
    objective: Positive
    trials: Annotated[list[Trial], Field(min_length=1)]


class Tuning(Schema):
    """`metrics/tune/ARM.json`."""

    arm: str
    penalty: str
    n_studies: Count
    n_trials: Count
    studies: Annotated[list[Study], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if [study.study for study in self.studies] != list(range(min(self.n_studies, 10**6))):
            raise refusal([study.study for study in self.studies], f"studies 0 to {self.n_studies - 1}", "studies")
        return self


class RunKey(Schema):
    study: Count
    seed: Count
    initial_weights: Annotated[str, Field(min_length=1)]


class FinalRun(RunKey):
    """One final run; a failed one has no test loss."""

    lr: Positive
    strength: NonNegative
    weight_decay: NonNegative
    weights: str
    state: State
    selected_epoch: Annotated[int, Field(ge=1)] | None
    train_loss: Curve
    validation_loss: Annotated[Curve, Field(min_length=1)]
    validation_accuracy: Curve
    gradient_norm_mean: Curve
    gradient_norm_sd: Curve
    gradient_cosine: Curve
    test_loss: Positive | None
    test_accuracy: Share | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in (*FINITE_CURVES, "gradient_cosine"):
            if len(getattr(self, name)) != len(self.validation_loss):
                raise refusal(len(getattr(self, name)), f"{len(self.validation_loss)} epochs, as elsewhere", name)
        if self.state == "failed":
            if self.test_loss is not None:
                raise refusal(self.test_loss, "nothing, since the run failed", "test_loss")
            return self
        for name in ("selected_epoch", "test_loss", "test_accuracy"):
            if getattr(self, name) is None:
                raise refusal(None, "a number, since the run is complete", name)
        if self.selected_epoch is not None and self.selected_epoch > len(self.validation_loss):
            raise refusal(self.selected_epoch, f"an epoch from 1 to {len(self.validation_loss)}", "selected_epoch")
        for name in FINITE_CURVES:
            if None in getattr(self, name):
                raise refusal(None, "a number for each epoch, since the run is complete", name)
        return self


class Training(Schema):
    """`metrics/train/ARM.json`."""

    arm: str
    penalty: str
    selection: str
    validation_loss: Positive | None
    test_loss: Positive | None
    test_accuracy: Share | None
    test_losses: Annotated[list[str], Field(min_length=1, max_length=1)]
    runs: Annotated[list[FinalRun], Field(min_length=1)]


class DesignRun(Schema):
    """One run of the random design; a failed one has no losses."""

    replicate: Count
    point: Count
    seed: Count
    lr: Positive
    strength: NonNegative
    weight_decay: NonNegative
    state: State
    validation_loss: Positive | None
    test_loss: Positive | None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("validation_loss", "test_loss"):
            if (getattr(self, name) is None) != (self.state == "failed"):
                raise refusal(getattr(self, name), f"what belongs to the state {self.state!r}", name)
        return self


class Budget(Schema):
    """`metrics/budget/ARM.json`."""

    arm: str
    penalty: str
    selection: str
    runs: Annotated[list[DesignRun], Field(min_length=1)]


class Layer(Schema):
    """One layer's spectrum."""

    layer: Annotated[int, Field(ge=1)]
    singular_values: Annotated[list[NonNegative], Field(min_length=1)]
    initial_singular_values: Annotated[list[NonNegative], Field(min_length=1)]
    coefficient_of_variation: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        n = len(self.singular_values)
        if len(self.initial_singular_values) != n:
            raise refusal(len(self.initial_singular_values), f"{n} values, as trained", "initial_singular_values")
        return self


class DiagnosedRun(RunKey):
    """One diagnosed run; a failed one has no links and no layers."""

    conditioning: Logarithm | None
    smoothness: Logarithm | None
    gradient_stability: Logarithm | None
    layers: list[Layer]

    @model_validator(mode="after")
    def _check(self) -> Self:
        links = (self.conditioning, self.smoothness, self.gradient_stability)
        if len({value is None for value in (*links, self.layers or None)}) > 1:
            raise refusal(links, "all links and layers, or none of them", "conditioning")
        return self


class Diagnosis(Schema):
    """`metrics/diagnose/ARM.json`."""

    arm: str
    runs: Annotated[list[DiagnosedRun], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        shapes = {
            tuple((layer.layer, len(layer.singular_values), len(layer.initial_singular_values)) for layer in run.layers)
            for run in self.runs
            if run.layers
        }
        if len(shapes) > 1:
            raise refusal(sorted(shapes), "the same layers with as many singular values in each run", "runs")
        return self


KINDS: dict[str, type[Schema]] = {
    "tune": Tuning,
    "train": Training,
    "budget": Budget,
    "diagnose": Diagnosis,
}
