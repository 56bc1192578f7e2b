"""MNIST-1D: its official train and validation splits, and a fresh test split from the same generator."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from svvr.records import Arrays, Row, array_hash

N_OFFICIAL, N_TRAIN = 5000, 4000


def splits(seed: int, n_test: int, test_seed: int) -> tuple[Arrays, Arrays]:
    """Make the three splits, standardised with the official examples' raw mean and standard deviation.

    Args:
        seed: generator seed of the official examples.
        n_test: number of test examples, a multiple of 10.
        test_seed: generator seed of the test split.

    Returns:
        `x_train` (4000, 40), `y_train` (4000,), `x_validation` (1000, 40), `y_validation` (1000,); and `x_test`
        (n_test, 40), `y_test` (n_test,). x float32, y int64.
    """
    x, y = raw_examples(seed, N_OFFICIAL)
    mean, sd = moments(x)
    x = ((x - mean) / sd).astype(np.float32)
    x_test, y_test = raw_examples(test_seed, n_test)
    development = {
        "x_train": x[:N_TRAIN],
        "y_train": y[:N_TRAIN],
        "x_validation": x[N_TRAIN:],
        "y_validation": y[N_TRAIN:],
    }
    return development, {"x_test": ((x_test - mean) / sd).astype(np.float32), "y_test": y_test}


@dataclass(frozen=True)
class Made:
    """Arrays by name, as finished work that can be kept."""

    content: Arrays

    def arrays(self) -> Arrays:
        """Return them."""
        return self.content

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Made":
        """Return what `arrays` was called on."""
        return cls(arrays)


def make(units: Sequence[tuple[int, int, int]], _: Arrays) -> list[Made]:
    """Make all splits for each unit, which holds the arguments of `splits`."""
    return [Made({**development, **test}) for development, test in (splits(*unit) for unit in units)]


def rows(arrays: Arrays) -> list[Row]:
    """Describe the splits: a row an array."""
    return [
        {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "sha256": array_hash(array)}
        for name, array in arrays.items()
    ]


def raw_examples(seed: int, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw MNIST-1D examples before standardisation, as many of each digit: (n, 40) signals and (n,) digits, shuffled.

    The draws are those of `mnist1d.data.make_dataset`, which hides the raw mean and standard deviation that the test
    split needs. numpy's global generator is seeded, and put back afterwards.

    Source: Greydanus & Kobak, MNIST-1D (arXiv 2011.14439).
    """
    from mnist1d.data import get_dataset_args, get_templates  # takes a second, which a look-up need not wait for
    from mnist1d.transform import transform

    arguments, templates = get_dataset_args(), get_templates()
    with _global_seed(seed):
        digits = np.repeat(templates["y"], n // 10)
        signals = [transform(templates["x"][digit], templates["t"], arguments)[0] for digit in digits]
        order = np.random.permutation(n)
    return np.stack(signals)[order], digits[order].astype(np.int64)


def moments(x: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and population standard deviation from correctly rounded sums: the same on every processor."""
    values = x.ravel().tolist()
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    before = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(before)
