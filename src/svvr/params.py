"""params.yaml, typed and validated as a whole: a value is right everywhere or refused before anything runs."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from svvr.records import ParamsError, read_yaml

SHARED = ("lr", "weight_decay", "strength")  # what any arm may tune; the random design takes this order
ENDS = ("[key]", "Range]")  # of what pydantic adds to keys
PENALTIES, DATA = (Path(__file__).parent / name for name in ("penalties", "data"))


def _known(folder: Path, name: str) -> str:
    known = sorted(path.stem for path in folder.glob("[!_.]*.py"))
    if name not in known:
        raise ValueError(f"got {name}, expected one of {', '.join(known)}")
    return name


Count = Annotated[int, Field(ge=1, le=10_000)]
Several = Annotated[int, Field(ge=2, le=10_000)]  # what a standard deviation is taken over
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Width = Annotated[int, Field(ge=2, le=8192)]  # the variance of a single singular value is undefined
Positive = Annotated[float, Field(ge=1e-12, le=1e12)]  # no later stage rounds it to 0 or lets it overflow
NonNegative = Annotated[float, Field(ge=0, le=1e12)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Measured = Literal["conditioning", "smoothness", "gradient_stability"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Known = Annotated[Name, AfterValidator(partial(_known, PENALTIES))]  # a file in svvr/penalties


class Section(BaseModel):
    """A mapping of known keys; nothing is converted but whole numbers to floats."""

    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, extra="forbid")


class Data(Section):
    """`data`: a file in svvr/data, and the parameters of its function `splits`, which checks them."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | str]
    name: Annotated[Name, AfterValidator(partial(_known, DATA))]

    def settings(self) -> tuple[tuple[str, Any], ...]:
        """Return the parameters, in the order of their names."""
        return tuple(sorted(self.__pydantic_extra__.items()))


class Model(Section):
    """`model`: widths of the hidden layers."""

    hidden: Annotated[tuple[Width, ...], Field(strict=False, min_length=1, max_length=16)]


class Training(Section):
    """`training`: epochs, examples a step, and where torch computes."""

    epochs: Count
    batch_size: Annotated[int, Field(ge=1, le=4000)]
    device: Literal["cpu", "cuda"]


class Range(Section):
    """A log-uniform range."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high < 1.001 * self.low:
            raise ValueError(f"got low = {self.low}, high = {self.high}; expected high to be at least 1.001 times low")
        return self


Space = Annotated[dict[Literal["lr", "weight_decay"], Range], Field(min_length=2)]  # that all arms share


class Tuning(Section):
    """`tuning`: the budget of the search, the same for every arm."""

    sampler: Literal["tpe", "random"]
    studies: Count
    trials: Count
    seeds_per_trial: Count
    startup_trials: Count
    batch: Count
    space: Space


class Optimizer(Section):
    """`arms.ARM.optimizer`: its name, and for sgd the momentum."""

    name: Literal["adam", "sgd"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Hyperparameters(Section):
    """`penalties.NAME`: the factor's range; further keys are its function's own, fixed, or tuned where a range."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, bool | int | float | Range]
    strength: Range | None = None


class Penalty(Hyperparameters):
    """`arms.ARM.penalty`: what is not given here is taken from `penalties.NAME`."""

    name: Known
    coupling: Literal["coupled", "decoupled"] = "coupled"


class Arm(Section):
    """`arms.ARM`: what is tuned, the penalty with all its hyperparameters, the arm to compare with (the first one)."""

    tune: Annotated[tuple[Name, ...], Field(strict=False, min_length=1)]
    penalty: Penalty
    optimizer: Optimizer = Optimizer(name="adam")
    reference: Name | None = None
    lr: Range | None = None  # a range of its own, in place of that in tuning.space

    def ranges(self, space: Space) -> dict[str, tuple[float, float]]:
        """Return what is tuned -> (low, high) of its log-uniform range; the order of `tune` does not matter."""
        known: dict[str, Any] = {"lr": self.lr or space["lr"], "strength": self.penalty.strength}
        known |= {"weight_decay": space["weight_decay"], **self.penalty.__pydantic_extra__}
        return {name: (span.low, span.high) for name, span in known.items() if name in self.tune}

    def own(self, space: Space) -> list[str]:
        """Return the names of the penalty's own hyperparameters that are tuned."""
        return [name for name in self.ranges(space) if name not in SHARED]

    def fixed(self) -> dict[str, bool | int | float]:
        """Return the penalty's own hyperparameters that are not tuned."""
        return {name: value for name, value in self.penalty.__pydantic_extra__.items() if not isinstance(value, Range)}


class Final(Section):
    """`final`: seeds a study."""

    seeds: Count


class Diagnose(Section):
    """`diagnose`: which runs are measured, at most all of a study's, and how precisely."""

    seeds: Count
    tolerance: Fraction
    last_epochs: Count


class Compare(Section):
    """`compare`: the verdict rule; margins are relative, levels are confidence levels."""

    margin: Fraction
    equivalence_level: Fraction
    level: Fraction
    link_margins: Annotated[dict[Measured, Fraction], Field(min_length=3)]
    min_activity: Annotated[float, Field(ge=0, lt=1)]
    boundary: Annotated[float, Field(ge=0, lt=0.5)]
    contrasts: Annotated[tuple[Annotated[tuple[Name, Name], Field(strict=False)], ...], Field(strict=False)]


class Setting(Section):
    """Given hyperparameters of `replicate`."""

    lr: Positive
    weight_decay: NonNegative = 0.0
    strength: NonNegative = 0.0


class Replicate(Section):
    """`replicate`: the published comparison, on runs enough for a standard deviation."""

    seeds: Several
    epochs: Count
    baseline: Setting
    regularized: Setting


class Budget(Section):
    """`budget`: the random design that all arms share; replicates of points, each trained on the same seeds."""

    replicates: Annotated[int, Field(ge=2, le=1000)]  # what the standard error is taken over
    points: Annotated[int, Field(ge=2, le=4096)]
    seeds: Several  # one selects, the others evaluate


class Dose(Section):
    """A path of `dose_response`: a penalty at several strengths, all else fixed."""

    penalty: Known
    lr: Positive
    weight_decay: NonNegative = 0.0
    strengths: Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=2, max_length=1000)]


class DoseResponse(Section):
    """`dose_response`: paths, seeds a strength."""

    settings: Annotated[tuple[Dose, ...], Field(strict=False, min_length=1, max_length=4)]
    seeds: Several


class Params(Section):
    """All of params.yaml, a section an attribute."""

    seed: Seed
    data: Data
    model: Model
    training: Training
    selection: Literal["last_epoch", "best_epoch"]
    tuning: Tuning
    penalties: dict[Name, Hyperparameters]
    arms: Annotated[dict[Name, Arm], Field(min_length=1)]
    final: Final
    budget: Budget
    diagnose: Diagnose
    compare: Compare
    replicate: Replicate
    dose_response: DoseResponse

    @model_validator(mode="before")
    @classmethod
    def _share(cls, data: Any) -> Any:
        """Give every arm its reference, and its penalty what `penalties` says of it; what is malformed is left."""
        found: dict[Any, Any] = {}
        try:
            for name, arm in data["arms"].items():
                common = data["penalties"].get(arm["penalty"]["name"], {})
                first = {"reference": next(iter(found))} if found else {}
                found[name] = first | arm | {"penalty": common | arm["penalty"]}
        except (TypeError, KeyError, AttributeError):
            return data
        return data | {"arms": found}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (rule := self.compare).equivalence_level > rule.level:
            raise ValueError(f"compare.equivalence_level: got {rule.equivalence_level}, expected at most compare.level")
        if any(list(path.strengths) != sorted({*path.strengths}) for path in self.dose_response.settings):
            raise ValueError("dose_response.settings: got strengths that do not increase, expected them to")
        for name, arm in self.arms.items():
            _check_arm(name, arm, self.arms)
        for pair in rule.contrasts:
            if not set(pair) <= set(self.arms) or pair[0] == pair[1] or rule.contrasts.count(pair) > 1:
                raise ValueError(f"compare.contrasts: got {list(pair)}, expected two of {', '.join(self.arms)}, once")
        return self

    def contrasts(self) -> list[tuple[str, str]]:
        """Return (arm, reference) of every contrast: those of `compare`, then arms in none of them."""
        named = {arm for pair in self.compare.contrasts for arm in pair}
        others = [(name, arm.reference) for name, arm in self.arms.items() if name not in named and arm.reference]
        return [*self.compare.contrasts, *others]


def _check_arm(name: str, arm: Arm, arms: dict[str, Arm]) -> None:
    if ((penalty := arm.penalty).name == "none") == (penalty.strength is not None):
        expected = "no range of strengths" if penalty.strength else "strength: {low, high}"
        raise ValueError(f"arms.{name}.penalty: got {penalty.name}, expected {expected} with it")
    if shared := penalty.__pydantic_extra__.keys() & SHARED:
        raise ValueError(f"arms.{name}.penalty: got {min(shared)}, expected the penalty's own hyperparameters")
    tuned = {"lr", *(each for each, value in penalty.__pydantic_extra__.items() if isinstance(value, Range))}
    tuned |= {"strength"} if penalty.strength else set()
    if not tuned <= set(arm.tune) <= tuned | {"weight_decay"} or len(set(arm.tune)) < len(arm.tune):
        expected = f"each once: {', '.join(sorted(tuned))}, and weight_decay where it is tuned"
        raise ValueError(f"arms.{name}.tune: got {list(arm.tune)}, expected {expected}")
    if arm.optimizer.name == "adam" and arm.optimizer.momentum:
        raise ValueError(f"arms.{name}.optimizer.momentum: got {arm.optimizer.momentum}, expected none with adam")
    if arm.reference and (arm.reference == name or arm.reference not in arms):
        raise ValueError(f"arms.{name}.reference: got {arm.reference}, expected another of {', '.join(arms)}")


def load(path: Path = Path("params.yaml")) -> Params:
    """Read and validate params.yaml; the attributes are its keys, lists are tuples. Raises ParamsError."""
    try:
        return Params.model_validate(read_yaml(path))
    except ValidationError as error:
        raise ParamsError(f"{path}: {said(error)}") from None


def said(error: ValidationError) -> str:
    """Return the first of pydantic's complaints in our words: the key, what was got, what was expected."""
    found = error.errors(include_url=False)
    kinds = {"bool", "int", "float", "str", "constrained-int", "constrained-float"}  # of values that may be several
    kept = [each for each in found if each["loc"][-1:] == () or each["loc"][-1] not in kinds]
    first = next((each for each in found if each["type"] == "extra_forbidden"), (kept or found[::-1])[0])
    key = ".".join(str(part) for part in first["loc"] if part not in kinds and not str(part).endswith(ENDS))
    text = first["msg"].removeprefix("Value error, ")
    if first["type"] != "value_error":
        kind = first["type"].replace("missing_keyword_only_argument", "missing")
        got = "nothing" if kind == "missing" else repr(first["input"])[:80]
        words = {"missing": "Input should be a value", "extra_forbidden": "Input should be no such key"}
        words["unexpected_keyword_argument"] = words["extra_forbidden"]
        text = f"got {got}, {words.get(kind, text)}".replace("Input should be", "expected")
    return f"{key}{key and ': '}{text}"
