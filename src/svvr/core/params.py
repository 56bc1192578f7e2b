"""params.yaml, typed and validated as a whole: a value is right everywhere or refused before anything runs."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, model_validator

from svvr.core.messages import part, refusal, sentence, show

Knob = Literal["lr", "strength", "weight_decay"]
ARM = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")  # a name of an arm


class ParamsError(ValueError):
    """A params.yaml that cannot be used; the message is one line: file, dotted key, got, expected."""


def _whole(low: int, high: int) -> BeforeValidator:
    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise refusal(value, f"a whole number from {low} to {high}")
        return value

    return BeforeValidator(check)


def _number(expected: str, holds: Callable[[float], bool]) -> BeforeValidator:
    def check(value: Any) -> float:
        try:
            # 1e-5 is a number to YAML 1.2, hence to DVC, and a string to PyYAML
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not (math.isfinite(number) and holds(number)):
            raise refusal(value, expected)
        return number

    return BeforeValidator(check)


def _sequence(low: int, high: int) -> BeforeValidator:
    def check(value: Any) -> list[Any]:
        if not isinstance(value, list) or not low <= len(value) <= high:
            raise refusal(value, f"a list of {low} entries" if low == high else f"a list of {low} to {high} entries")
        return value

    return BeforeValidator(check)


def _arm_name(value: Any) -> str:
    if not isinstance(value, str) or not ARM.fullmatch(value):
        raise refusal(value, "an arm's name: a letter, then at most 63 letters, digits or _, as files bear it")
    return value


def _some_arms(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict) or not value:
        raise refusal(value, "a mapping of at least one arm")
    return value


def _penalty_name(value: Any) -> str:
    if value not in penalty_names():
        raise refusal(value, f"a penalty, the name of a file in svvr/penalties: {', '.join(penalty_names())}")
    return str(value)


def penalty_names() -> list[str]:
    """Return the names of the penalties, sorted: the files beside `svvr/penalties/__init__.py`, none of them loaded."""
    return sorted(
        path.stem for path in (Path(__file__).parents[1] / "penalties").glob("*.py") if path.stem != "__init__"
    )


Count = Annotated[int, _whole(1, 10_000)]
Several = Annotated[int, _whole(2, 10_000)]  # what a standard deviation is taken over
Seed = Annotated[int, _whole(0, 2**32 - 1)]
Width = Annotated[int, _whole(2, 8192)]  # the variance of a single singular value is undefined
Positive = Annotated[float, _number("a finite number above 0", lambda x: x > 0)]
NonNegative = Annotated[float, _number("a finite number, 0 or above", lambda x: x >= 0)]
Fraction = Annotated[float, _number("a number above 0 and below 1", lambda x: 0 < x < 1)]
ArmName = Annotated[str, BeforeValidator(_arm_name)]
Contrast = Annotated[tuple[ArmName, ArmName], _sequence(2, 2)]  # arm, reference


class _Section(BaseModel):
    """A mapping of known keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        known = ", ".join(cls.model_fields)
        if not isinstance(data, dict):
            raise refusal(data, f"a mapping with the keys {known}")
        for key in data:
            if key not in cls.model_fields:
                raise refusal(key, f"a key among {known}", part(key))
        for key, field in cls.model_fields.items():
            if field.is_required() and key not in data:
                raise refusal(None, f"this key, one of {known}", key)
        return data


class Data(_Section):
    """`data`: seeds of MNIST-1D's generator, and the size of the test split."""

    seed: Seed
    n_test: Annotated[int, _whole(10, 1_000_000)]
    test_seed: Seed

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_test % 10:
            raise refusal(self.n_test, "a multiple of 10, as many examples of each class", "n_test")
        if self.test_seed == self.seed:
            raise refusal(self.test_seed, f"another seed than data.seed = {self.seed}", "test_seed")
        return self


class Model(_Section):
    """`model`: widths of the hidden layers."""

    hidden: Annotated[tuple[Width, ...], _sequence(1, 16)]


class Training(_Section):
    """`training`: epochs, examples a step, and where torch computes."""

    epochs: Count
    batch_size: Annotated[int, _whole(1, 4000)]
    device: Literal["cpu", "cuda"]


def near_end(value: float, low: float, high: float, share: float) -> bool:
    """Tell whether a value lies within a share of a log range's length from either end."""
    position = math.log(value / low) / math.log(high / low)
    return not share < position < 1 - share


class Range(_Section):
    """A log-uniform range."""

    low: Positive
    high: Positive

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.low >= self.high:
            raise refusal(self.low, f"a number below high = {self.high}", "low")
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


class Penalty(_Section):
    """`arms.ARM.penalty`: a file's name in svvr/penalties, and the range of the penalty's factor (None for none)."""

    name: Annotated[str, BeforeValidator(_penalty_name)]
    strength: Range | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.name == "none" and self.strength is not None:
            raise refusal(self.strength, "no such key with the penalty none", "strength")
        if self.name != "none" and self.strength is None:
            raise refusal(None, f"a range {{low, high}} for the penalty {self.name}", "strength")
        return self


class Arm(_Section):
    """`arms.ARM`: the knobs that are tuned, the penalty, and the arm to be compared with (None for none)."""

    tune: Annotated[tuple[Knob, ...], _sequence(1, len(get_args(Knob)))]
    penalty: Penalty
    reference: ArmName | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(set(self.tune)) < len(self.tune):
            raise refusal(list(self.tune), "each knob once", "tune")
        if "lr" not in self.tune:
            raise refusal(list(self.tune), "lr among the knobs, which every arm tunes", "tune")
        if self.penalty.name == "none" and "strength" in self.tune:
            raise refusal(list(self.tune), "no strength with the penalty none", "tune")
        if self.penalty.name != "none" and "strength" not in self.tune:
            raise refusal(list(self.tune), f"strength among the knobs, for the penalty {self.penalty.name}", "tune")
        return self

    def ranges(self, space: Space) -> dict[str, tuple[float, float]]:
        """Return knob -> (low, high) of its log-uniform range; the order of `tune` does not matter."""
        known = {"lr": space.lr, "strength": self.penalty.strength, "weight_decay": space.weight_decay}
        return {knob: (span.low, span.high) for knob, span in known.items() if knob in self.tune and span is not None}


class Final(_Section):
    """`final`: seeds a study."""

    seeds: Count


class Diagnose(_Section):
    """`diagnose`: which runs are measured, and how precisely."""

    seeds: Count
    probes: Annotated[int, _whole(2, 100_000)]
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
    min_activity: Annotated[float, _number("a number from 0 to below 1", lambda x: 0 <= x < 1)]
    boundary: Annotated[float, _number("a number from 0 to below 0.5", lambda x: 0 <= x < 0.5)]
    contrasts: Annotated[tuple[Contrast, ...], _sequence(0, 1000)]

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


class ReplicateRegularized(_Section):
    """`replicate.regularized`: the published learning rate and strength."""

    lr: Positive
    strength: NonNegative


class Replicate(_Section):
    """`replicate`: the published hyperparameters, on runs enough for a standard deviation."""

    seeds: Several
    epochs: Count
    baseline: ReplicateBaseline
    regularized: ReplicateRegularized


class DoseResponse(_Section):
    """`dose_response`: one learning rate, increasing strengths, seeds a strength."""

    lr: Positive
    strengths: Annotated[tuple[NonNegative, ...], _sequence(2, 1000)]
    seeds: Several

    @model_validator(mode="after")
    def _check(self) -> Self:
        if any(a >= b for a, b in pairwise(self.strengths)):
            raise refusal(list(self.strengths), "strengths that increase", "strengths")
        return self


class Params(_Section):
    """All of params.yaml, a section an attribute."""

    data: Data
    model: Model
    training: Training
    selection: Literal["last_epoch", "best_epoch"]
    tuning: Tuning
    arms: Annotated[dict[ArmName, Arm], BeforeValidator(_some_arms)]
    final: Final
    diagnose: Diagnose
    compare: Compare
    replicate: Replicate
    dose_response: DoseResponse

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.diagnose.seeds > self.final.seeds:
            raise refusal(self.diagnose.seeds, f"at most final.seeds = {self.final.seeds}", "diagnose.seeds")
        _check_arms(self.arms)
        for i, pair in enumerate(self.compare.contrasts):
            for name in pair:
                if name not in self.arms:
                    raise refusal(name, f"one of the arms {', '.join(self.arms)}", f"compare.contrasts.{i}")
        return self


def _check_arms(arms: Mapping[str, Arm]) -> None:
    spelled: dict[str, str] = {}
    ranged: dict[str, str] = {}
    for name, arm in arms.items():
        twin = spelled.setdefault(name.lower(), name)
        if twin != name:
            raise refusal(name, f"a name that differs from {twin} in more than case, as files bear it", f"arms.{name}")
        twin = ranged.setdefault(arm.penalty.name, name)
        span = arms[twin].penalty.strength
        if arm.penalty.strength != span:
            expected = f"{span!r} as in arms.{twin}, since both have the penalty {arm.penalty.name}"
            raise refusal(arm.penalty.strength, expected, f"arms.{name}.penalty.strength")
    for name in arms:
        _check_reference(name, arms)


def _check_reference(name: str, arms: Mapping[str, Arm]) -> None:
    chain = [name]
    while (reference := arms[chain[-1]].reference) is not None:
        key = f"arms.{chain[-1]}.reference"
        if reference not in arms:
            raise refusal(reference, f"one of the arms {', '.join(arms)}", key)
        if reference in chain:
            expected = "a reference that does not lead back to the arm"
            raise refusal(reference, f"{expected} ({' -> '.join([*chain, reference])})", key)
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
        return Params.model_validate(_parse(path))
    except ValidationError as error:
        raise ParamsError(sentence(path, error)) from None


def _parse(path: Path) -> Any:
    """Read the YAML of a file; a key that stands twice in a mapping is refused, where PyYAML keeps the last."""
    text = _read(path)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        repeated = list(_repeated(root, "", set()))
        value = loader.construct_document(root) if root else None
    except yaml.YAMLError as error:
        raise ParamsError(f"{path}: {_complaint(text, error)}") from None
    except RecursionError:
        raise ParamsError(f"{path}: got brackets too deep to follow, expected a few levels") from None
    except Exception as error:  # a date such as 2026-13-45, a tag such as !!int on no number
        raise ParamsError(
            f"{path}: got a value that cannot be read ({show(str(error))}), expected plain YAML"
        ) from None
    for key, first, second in repeated:
        raise ParamsError(f"{path}: {key}: got it in line {first} and again in line {second}, expected each key once")
    if value is None:
        raise ParamsError(f"{path}: got an empty file, expected the keys {', '.join(Params.model_fields)}")
    return value


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ParamsError(f"{path}: got no readable file ({error.strerror}), expected the parameters in YAML") from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{path}: got a byte at {error.start} that is not UTF-8, expected text in UTF-8") from None


def _repeated(node: yaml.Node | None, above: str, seen: set[int]) -> Iterator[tuple[str, int, int]]:
    """Yield the dotted key and the two lines of each repeated key; `seen` are nodes done, as aliases can loop."""
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for i, item in enumerate(node.value):
            yield from _repeated(item, f"{above}{i}.", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in lines:
                yield above + part(name), lines[name], line
            lines[name] = line
            yield from _repeated(value, f"{above}{part(name)}.", seen)


def _complaint(text: str, error: yaml.YAMLError) -> str:
    """Say where YAML is broken, and how."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        line, what = error.problem_mark.line + 1, " ".join(filter(None, [error.context, error.problem]))
    else:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        what = "a character that YAML does not allow"
    if "'\\t' that cannot start" in what:
        return f"line {line}: got a tab, expected indentation by spaces"
    return f"line {line}: got broken YAML ({what}), expected `key: value` or `key: {{key: value}}`"
