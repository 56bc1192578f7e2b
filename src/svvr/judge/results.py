"""The shape of the records that gather all arms or none: what compare, dose_response and replicate write for plot."""

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from svvr.core.messages import refusal
from svvr.judge.dose import FIGURES
from svvr.judge.schemas import Count, NonNegative, Positive, Schema, Share
from svvr.links import BY_NAME, LINKS

Verdict = Literal["supported", "not supported", "opposite", "inconclusive", "no verdict"]


def _known_link(name: str) -> str:
    if name not in BY_NAME:
        raise refusal(name, f"one of {', '.join(link.name for link in LINKS)}")
    return name


class Contrast(Schema):
    """One contrast in one link; without an effect where runs failed."""

    arm: str
    reference: str
    link: Annotated[str, AfterValidator(_known_link)]
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
    """One arm of the summary, with its curves against the number of trials; None where failed runs leave a gap."""

    arm: str
    running_best: list[float | None]
    expected_best: list[float | None]
    expected_test_loss: list[float | None]


class BudgetPoint(Schema):
    """A contrast at a budget, by random search; without an effect where runs failed."""

    arm: str
    reference: str
    n_trials: Annotated[int, Field(ge=1)]
    effect_percent: float | None
    equivalence_ci_low: float | None
    equivalence_ci_high: float | None
    ci_low: float | None
    ci_high: float | None


class BudgetVerdict(BudgetPoint):
    """The verdict on a contrast at a budget."""

    label: str
    verdict: Verdict
    reason: str | None
    replicates_needed: Count | None
    decided_from: Count | None


class Summary(Schema):
    """`metrics/summary.json`."""

    overall: list[str]
    sampler: Literal["tpe", "random"]
    arms: list[ComparedArm]
    contrasts: list[Contrast]
    budget: list[BudgetPoint]
    budget_verdicts: list[BudgetVerdict]


class DoseCurve(Schema):
    """Means and intervals, one a strength; None where runs failed."""

    mean: list[float | None]
    ci_low: list[float | None]
    ci_high: list[float | None]


class DoseSetting(Schema):
    """One setting of the dose-response."""

    lr: Positive
    weight_decay: NonNegative
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
        for name in FIGURES:
            curve: DoseCurve = getattr(self, name)
            if {len(curve.mean), len(curve.ci_low), len(curve.ci_high)} != {n}:
                raise refusal(curve.mean, f"{n} values, one a strength, in each list", name)
        return self


class DoseResponse(DoseSetting):
    """`metrics/dose_response.json`: the first setting, and the further ones."""

    others: list[DoseSetting]


class ReplicatedRun(Schema):
    """One run of a row."""

    validation_loss: Annotated[list[Positive], Field(min_length=1)]


class Row(Schema):
    """One row of the replication."""

    row: Annotated[str, Field(min_length=1)]
    published: Positive | None
    runs: Annotated[list[ReplicatedRun], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len({len(run.validation_loss) for run in self.runs}) > 1:
            raise refusal([len(run.validation_loss) for run in self.runs], "as many epochs in each run", "runs")
        return self


class Replication(Schema):
    """`metrics/replicate.json`."""

    rows: Annotated[list[Row], Field(min_length=1)]
