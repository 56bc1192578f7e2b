"""Data sets, one file each: a function `splits(*, seed, ...)` whose parameters are the keys of `data` beside `name`."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError, validate_call

from svvr.params import said
from svvr.records import Arrays, Row, array_hash

SPLITS = ("train", "validation", "test")
Size = Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)]  # a number of examples, or a share of all


def make(name: str, settings: Mapping[str, Any]) -> Arrays:
    """Return a data set's splits: `x_train` (n, inputs) float32, `y_train` (n,) int64 from 0, and so on for SPLITS.

    Raises ValueError, which names the key, for settings or examples that cannot be used.
    """
    splits: Callable[..., Arrays] = importlib.import_module(f"svvr.data.{name}").splits
    try:
        return validate_call(config={"strict": True})(splits)(**settings)
    except ValidationError as error:
        raise ValueError(f"data.{said(error)}") from None


@dataclass(frozen=True)
class Asked:
    """A data set to make."""

    name: str
    settings: tuple[tuple[str, Any], ...]

    def modules(self) -> tuple[str, ...]:
        """Return the modules that make it."""
        return (f"svvr.data.{self.name}",)


@dataclass(frozen=True)
class Made:
    """Arrays by name, as finished work that can be kept."""

    content: Arrays

    def arrays(self) -> Arrays:
        return self.content

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        return cls(arrays)


def compute(units: Sequence[Asked], _: Arrays) -> list[Made]:
    return [Made(make(unit.name, dict(unit.settings))) for unit in units]


def rows(arrays: Arrays) -> list[Row]:
    """Describe the splits: a row an array."""
    return [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "sha256": array_hash(array)}
        for name, array in arrays.items()
    ]


def stratified(x: npt.ArrayLike, y: npt.ArrayLike, seed: int, validation: Size, test: Size) -> Arrays:
    """Split examples x (n, features) with labels y (n,) of any kind, each split with the classes' shares of the whole.

    Features are standardised by the train split's means and standard deviations; constant ones are left out. Raises
    ValueError where a split would lack a class.
    """
    values, (names, classes) = np.asarray(x, dtype=np.float64), np.unique(np.asarray(y), return_inverse=True)
    counts, n = np.bincount(classes), len(classes)
    if len(names) < 2 or counts.min() < 3:
        got = f"{len(names)} classes with {counts.min()} to {counts.max()} examples"
        raise ValueError(f"data: got {got}, expected at least 2 classes with at least 3 examples")
    order = np.random.default_rng(seed).permutation(n)
    order = order[np.argsort(classes[order], kind="stable")]  # by class, at random within
    rank = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    order = order[np.argsort(rank, kind="stable")]  # each class evenly from the first to the last
    n_test, n_validation = (round(n * size) if isinstance(size, float) else size for size in (test, validation))
    parts = dict(zip(SPLITS[::-1], np.split(order, [n_test, n_test + n_validation]), strict=True))
    for split, part in parts.items():
        if len(set(classes[part])) < len(names):
            got = f"{len(part)} of {n} examples in {split}"
            raise ValueError(f"data: got {got}, expected enough that each of {len(names)} classes is in every split")
    train = values[parts["train"]]
    varies = np.ptp(train, axis=0) > 0
    mean, sd = train.mean(0), np.where(varies, train.std(0), 1)
    if not varies.all():
        print(f"data: {(~varies).sum()} of {len(varies)} features left out, constant in train")
    found: Arrays = {}
    for split in SPLITS:
        part = parts[split]
        found[f"x_{split}"] = ((values[part] - mean) / sd)[:, varies].astype(np.float32)
        found[f"y_{split}"] = classes[part].astype(np.int64)
    return found
