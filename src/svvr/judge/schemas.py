"""What a stage's record holds, as far as later stages rely on it: a record edited by hand is refused by name."""

import math
from collections.abc import Iterable, Sequence
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
Verdict = Literal["supported", "not supported", "opposite", "inconclusive", "no verdict"]
Link = Literal["generalisation", "conditioning", "smoothness", "gradient_stability"]
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


def read_arms(folder: Path, schema: type[Schema], arms: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Read the record of each arm in a folder, `ARM.json`; see `read`."""
    return {arm: read(folder / f"{arm}.json", schema, arm) for arm in arms}


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
        known = [loss for loss in self.losses if loss is not None]
        if self.objective is not None and not math.isclose(self.objective, math.fsum(known) / len(self.losses)):
            raise refusal(self.objective, "the mean of the losses", "objective")
        return self


class Study(Schema):
    """One study with its winner."""

    study: Count
    best: dict[str, Positive]
    objective: Positive
    on_boundary: list[str]
    trials: Annotated[list[Trial], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.best, self.objective) not in [(trial.params, trial.objective) for trial in self.trials]:
            raise refusal(self.best, "the knobs and objective of one of its trials", "best")
        if self.objective > min(trial.objective for trial in self.trials if trial.objective is not None):
            raise refusal(self.objective, "the lowest of its trials", "objective")
        return self


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
        if self.n_trials != sum(len(study.trials) for study in self.studies):
            raise refusal(self.n_trials, "the number of trials of all studies", "n_trials")
        return self


class _Run(Schema):
    study: Count
    seed: Count
    initial_weights: Annotated[str, Field(min_length=1)]


class FinalRun(_Run):
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        _refuse_repeated(self.runs)
        return self


class Layer(Schema):
    """One layer's spectrum."""

    layer: Annotated[int, Field(ge=1)]
    singular_values: Annotated[list[NonNegative], Field(min_length=1)]
    initial_singular_values: Annotated[list[NonNegative], Field(min_length=1)]
    coefficient_of_variation: Positive


class DiagnosedRun(_Run):
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
        _refuse_repeated(self.runs)
        shapes = {
            tuple((layer.layer, len(layer.singular_values), len(layer.initial_singular_values)) for layer in run.layers)
            for run in self.runs
            if run.layers
        }
        if len(shapes) > 1:
            raise refusal(sorted(shapes), "the same layers with as many singular values in each run", "runs")
        return self


def _refuse_repeated(runs: Sequence[_Run]) -> None:
    keys = [(run.study, run.seed) for run in runs]
    for number, key in enumerate(keys):
        if key in keys[:number]:
            raise refusal(f"study {key[0]}, seed {key[1]} twice", "each run once", f"runs.{number}")


class Contrast(Schema):
    """One contrast in one link; without an effect where runs failed."""

    arm: str
    reference: str
    link: Link
    margin_percent: Positive
    equivalence_level: Share
    level: Share
    n_studies: Count
    n_pairs: Count | None
    studies_needed: Count | None
    effect_percent: float | None
    equivalence_ci_low: float | None
    equivalence_ci_high: float | None
    ci_low: float | None
    ci_high: float | None
    verdict: Verdict
    study_effects: list[float]
    pair_effects: list[list[float]]
    flags: list[str]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for low, high in (("equivalence_ci_low", "equivalence_ci_high"), ("ci_low", "ci_high")):
            if (getattr(self, low) is None) != (getattr(self, high) is None):
                raise refusal(getattr(self, high), "both ends of an interval or none", high)
        return self


class ComparedArm(Schema):
    """One arm of the summary."""

    arm: str
    expected_best: list[float] | None


class Summary(Schema):
    """`metrics/summary.json`."""

    overall: list[str]
    arms: list[ComparedArm]
    contrasts: list[Contrast]


class DoseCurve(Schema):
    """Means and intervals, one a strength; None where runs failed."""

    mean: list[float | None]
    ci_low: list[float | None]
    ci_high: list[float | None]


class DoseResponse(Schema):
    """`metrics/dose_response.json`."""

    lr: Positive
    strengths: Annotated[list[NonNegative], Field(min_length=1)]
    n_seeds: Count
    validation_loss: DoseCurve
    test_loss: DoseCurve
    conditioning: DoseCurve
    smoothness: DoseCurve
    gradient_stability: DoseCurve

    @model_validator(mode="after")
    def _check(self) -> Self:
        n = len(self.strengths)
        for name in ("validation_loss", "test_loss", "conditioning", "smoothness", "gradient_stability"):
            curve: DoseCurve = getattr(self, name)
            if {len(curve.mean), len(curve.ci_low), len(curve.ci_high)} != {n}:
                raise refusal(curve.mean, f"{n} values, one a strength, in each list", name)
        return self


class ReplicatedRun(Schema):
    """One run of a row."""

    validation_loss: Annotated[list[Positive], Field(min_length=1)]


class Row(Schema):
    """One row of the replication."""

    row: Annotated[str, Field(min_length=1)]
    published: Positive
    runs: Annotated[list[ReplicatedRun], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({len(run.validation_loss) for run in self.runs}) > 1:
            raise refusal([len(run.validation_loss) for run in self.runs], "as many epochs in each run", "runs")
        return self


class Replication(Schema):
    """`metrics/replicate.json`."""

    rows: Annotated[list[Row], Field(min_length=1)]


OF_ARMS: dict[str, type[Schema]] = {"tune": Tuning, "train": Training, "diagnose": Diagnosis}  # by folder
