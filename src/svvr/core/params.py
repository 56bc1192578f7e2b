"""params.yaml, typed and validated as a whole: a value is right everywhere or refused before anything runs.

A section is a class, in the file's order, and a line of `Params`; what its values may be stands in their types.
"""

import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from svvr.core import yaml_file
from svvr.core.messages import part, refusal, sentence

ARM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # a name of an arm
SMALLEST, LARGEST = 1e-12, 1e12  # numbers that no later stage rounds to 0 or lets overflow


class ParamsError(ValueError):
    """A params.yaml that cannot be used; the message is one line: file, dotted key, got, expected."""


def penalty_names() -> list[str]:
    """Return the names of the penalties, sorted: the files beside `svvr/penalties/__init__.py`, none of them loaded."""
    return sorted(
        path.stem for path in (Path(__file__).parents[1] / "penalties").glob("*.py") if path.stem != "__init__"
    )


def _arm_name(value: object) -> str:
    if not isinstance(value, str) or not ARM.fullmatch(value):
        raise refusal(value, "an arm's name: a letter, then at most 63 letters, digits or _")
    return value


def _penalty_name(value: object) -> str:
    if not isinstance(value, str) or value not in penalty_names():
        raise refusal(value, f"a penalty, the name of a file in svvr/penalties: {', '.join(penalty_names())}")
    return value


def _not_tiny(value: float) -> float:
    if 0 < value < SMALLEST:
        raise refusal(value, f"0, or a number, at least {SMALLEST}")
    return value


Knob = Literal["lr", "strength", "weight_decay"]
ArmName = Annotated[str, BeforeValidator(_arm_name)]
Count = Annotated[int, Field(ge=1, le=10_000)]
Several = Annotated[int, Field(ge=2, le=10_000)]  # what a standard deviation is taken over
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Width = Annotated[int, Field(ge=2, le=8192)]  # the variance of a single singular value is undefined
Positive = Annotated[float, Field(ge=SMALLEST, le=LARGEST)]
NonNegative = Annotated[float, Field(ge=0, le=LARGEST), AfterValidator(_not_tiny)]
Fraction = Annotated[float, Field(ge=SMALLEST, le=0.999999)]
# Not strict, as YAML's lists become tuples, which cannot be changed; what they hold stays strict.
Contrast = Annotated[tuple[ArmName, ArmName], Field(strict=False)]  # arm, reference
Contrasts = Annotated[tuple[Contrast, ...], Field(strict=False, max_length=1000)]
Knobs = Annotated[tuple[Knob, ...], Field(strict=False, min_length=1)]
Widths = Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=16)]
Strengths = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=2, max_length=1000)]


class _Section(BaseModel):
    """A mapping of known keys; numbers are finite, and nothing is converted but whole numbers to floats."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        known = ", ".join(cls.model_fields)  # which pydantic's own error does not name
        if not isinstance(data, dict):
            raise refusal(data, f"a mapping with the keys {known}")
        for key in data:
            if key not in cls.model_fields:
                raise refusal(key, f"a key among {known}", part(key))
        return data


class Data(_Section):
    """`data`: seeds of MNIST-1D's generator, and the size of the test split."""

    seed: Seed
    n_test: Annotated[int, Field(ge=10, le=1_000_000, multiple_of=10)]  # as many examples of each of 10 classes
    test_seed: Seed

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.test_seed == self.seed:
            raise refusal(self.test_seed, f"another seed than data.seed = {self.seed}", "test_seed")
        return self


class Model(_Section):
    """`model`: widths of the hidden layers."""

    hidden: Widths


class Training(_Section):
    """`training`: epochs, examples a step, and where torch computes."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=1, le=4000)]
    device: Literal["cpu", "cuda"]


class Range(_Section):
    """A log-uniform range."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high < 1.001 * self.low:
            raise refusal(self.high, f"at least 1.001 times low = {self.low}", "high")
        return self

    def __repr__(self) -> str:
        return f"{{low: {self.low}, high: {self.high}}}"


class Space(_Section):
    """`tuning.space`: ranges of the knobs that arms share."""

    lr: Range
    weight_decay: Range


class Tuning(_Section):
    """`tuning`: the budget of the search, the same for every arm."""

    sampler: Literal["tpe", "random"]
    studies: Count
    trials: Count
    seeds_per_trial: Count
    startup_trials: Count
    batch: Count
    space: Space


class Optimizer(_Section):
    """`arms.ARM.optimizer`: its name, and for sgd the momentum."""

    name: Literal["adam", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "adam" and self.momentum:
            raise refusal(self.momentum, "no such key with adam", "momentum")
        return self


class Penalty(_Section):
    """`arms.ARM.penalty`: a file's name in svvr/penalties, and the range of the penalty's factor (None for none)."""

    name: Annotated[str, BeforeValidator(_penalty_name)]
    strength: Range | None = None
    coupling: Literal["coupled", "decoupled"] = "coupled"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "none" and self.strength is not None:
            raise refusal(self.strength, "no such key with the penalty none", "strength")
        if self.name != "none" and self.strength is None:
            raise refusal(None, f"a range {{low, high}} for the penalty {self.name}", "strength")
        return self


class Arm(_Section):
    """`arms.ARM`: the knobs that are tuned, the penalty, and the arm to be compared with (None for none)."""

    tune: Knobs
    penalty: Penalty
    optimizer: Optimizer = Optimizer(name="adam")
    reference: ArmName | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        has_penalty, tunes_strength = self.penalty.name != "none", "strength" in self.tune
        if len(set(self.tune)) < len(self.tune):
            raise refusal(list(self.tune), "each knob once", "tune")
        if "lr" not in self.tune:
            raise refusal(list(self.tune), "lr among the knobs, which every arm tunes", "tune")
        if tunes_strength != has_penalty:
            expected = "strength among the knobs, for" if has_penalty else "no strength with"
            raise refusal(list(self.tune), f"{expected} the penalty {self.penalty.name}", "tune")
        return self

    def ranges(self, space: Space) -> dict[str, tuple[float, float]]:
        """Return knob -> (low, high) of its log-uniform range; the order of `tune` does not matter."""
        known = {"lr": space.lr, "strength": self.penalty.strength, "weight_decay": space.weight_decay}
        return {knob: (span.low, span.high) for knob, span in known.items() if knob in self.tune and span is not None}


class Final(_Section):
    """`final`: seeds a study."""

    seeds: Count


class Diagnose(_Section):
    """`diagnose`: which runs are measured, at most all of a study's, and how precisely."""

    seeds: Count
    probes: Annotated[int, Field(ge=2, le=100_000)]
    tolerance: Fraction
    last_epochs: Count


class LinkMargins(_Section):
    """`compare.link_margins`: relative margins of the links before generalisation."""

    conditioning: Fraction
    smoothness: Fraction
    gradient_stability: Fraction


class Compare(_Section):
    """`compare`: the verdict rule; margins are relative, levels are confidence levels."""

    margin: Fraction
    equivalence_level: Fraction
    level: Fraction
    link_margins: LinkMargins
    min_activity: Annotated[float, Field(ge=0, lt=1)]
    boundary: Annotated[float, Field(ge=0, lt=0.5)]
    contrasts: Contrasts

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.equivalence_level > self.level:
            raise refusal(self.equivalence_level, f"at most level = {self.level}", "equivalence_level")
        for i, pair in enumerate(self.contrasts):
            if pair[0] == pair[1]:
                raise refusal(list(pair), "two different arms", f"contrasts.{i}")
            if pair in self.contrasts[:i]:
                raise refusal(list(pair), "each contrast once", f"contrasts.{i}")
        return self


class ReplicateBaseline(_Section):
    """`replicate.baseline`: the published learning rate."""

    lr: Positive


class ReplicateRegularized(ReplicateBaseline):
    """`replicate.regularized`: the published learning rate and strength."""

    strength: NonNegative


class Replicate(_Section):
    """`replicate`: the published hyperparameters, on runs enough for a standard deviation."""

    seeds: Several
    epochs: Count
    baseline: ReplicateBaseline
    regularized: ReplicateRegularized


class Budget(_Section):
    """`budget`: the random design that all arms share; replicates of points, each trained on the same seeds."""

    replicates: Annotated[int, Field(ge=2, le=1000)]  # what the standard error is taken over
    points: Annotated[int, Field(ge=2, le=4096)]
    seeds: Several  # one chooses, the others tell


class DoseSetting(_Section):
    """One of `dose_response.settings`: what stays as it is while the strength changes."""

    lr: Positive
    weight_decay: NonNegative


class DoseResponse(_Section):
    """`dose_response`: settings, increasing strengths, seeds a strength."""

    settings: Annotated[tuple[DoseSetting, ...], Field(strict=False, min_length=1, max_length=4)]
    strengths: Strengths
    seeds: Several

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(a >= b for a, b in pairwise(self.strengths)):
            raise refusal(list(self.strengths), "strengths that increase", "strengths")
        return self


class Params(_Section):
    """All of params.yaml, a section an attribute."""

    seed: Seed
    data: Data
    model: Model
    training: Training
    selection: Literal["last_epoch", "best_epoch"]
    tuning: Tuning
    arms: Annotated[dict[ArmName, Arm], Field(min_length=1)]
    final: Final
    budget: Budget
    diagnose: Diagnose
    compare: Compare
    replicate: Replicate
    dose_response: DoseResponse

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_twins(self.arms)
        _check_references(self.arms)
        for i, pair in enumerate(self.compare.contrasts):
            for name in pair:
                if name not in self.arms:
                    raise refusal(name, f"one of the arms {', '.join(self.arms)}", f"compare.contrasts.{i}")
        return self


def _check_twins(arms: Mapping[str, Arm]) -> None:
    """Refuse arms whose names differ only in case, and arms of one penalty with several ranges of its strength."""
    spelled: dict[str, str] = {}
    ranged: dict[tuple[str, str], str] = {}
    for name, arm in arms.items():
        twin = spelled.setdefault(name.lower(), name)
        if twin != name:
            raise refusal(
                name, f"a name that differs from {twin} in more than case, since it names files", f"arms.{name}"
            )
        twin = ranged.setdefault((arm.penalty.name, arm.penalty.coupling), name)
        span = arms[twin].penalty.strength
        if arm.penalty.strength != span:
            expected = f"{span!r} as in arms.{twin}, since both have the penalty {arm.penalty.name}"
            raise refusal(arm.penalty.strength, expected, f"arms.{name}.penalty.strength")


def _check_references(arms: Mapping[str, Arm]) -> None:
    """Refuse references to no arm and references that lead in a circle."""
    for name in arms:
        chain = [name]
        while (reference := arms[chain[-1]].reference) is not None:
            key = f"arms.{chain[-1]}.reference"
            if reference not in arms:
                raise refusal(reference, f"one of the arms {', '.join(arms)}", key)
            if reference in chain:
                circle = " -> ".join([*chain, reference])
                raise refusal(reference, f"a reference that does not lead back to the arm ({circle})", key)
            chain.append(reference)


def load(path: Path) -> Params:
    """Read and validate params.yaml.

    Returns:
        The parameters, frozen; the attributes are the file's keys, lists are tuples.

    Raises:
        ParamsError: where the file cannot be read or used; its one line names the file, the dotted key, what was got
            and what was expected.
    """
    try:
        return Params.model_validate(yaml_file.read(path))
    except yaml_file.YamlError as error:
        raise ParamsError(str(error)) from None
    except ValidationError as error:
        raise ParamsError(sentence(path, error)) from None
