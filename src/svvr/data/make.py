"""MNIST-1D: its official train and validation splits, and a fresh test split from the same generator."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from mnist1d.data import get_dataset_args, get_templates
from mnist1d.transform import transform

from svvr.core.files import Arrays, array_hash

N_OFFICIAL, N_TRAIN = 5000, 4000


def splits(seed: int, n_test: int, test_seed: int) -> tuple[Arrays, Arrays]:
    """Make the three splits.

    The test split is standardised with the official examples' raw mean and standard deviation.

    Args:
        seed: generator seed of the official examples.
        n_test: number of test examples, a multiple of 10.
        test_seed: generator seed of the test split.

    Returns:
        `x_train` (4000, 40), `y_train` (4000,), `x_validation` (1000, 40), `y_validation` (1000,); and `x_test`
        (n_test, 40), `y_test` (n_test,). x float32, y int64.

    Raises:
        ValueError: where both seeds are equal, or n_test is no positive multiple of 10.
    """
    if seed == test_seed:
        raise ValueError(f"data.test_seed: got {test_seed}, expected another seed than data.seed")
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


def record(development: Arrays, test: Arrays) -> dict[str, Any]:
    """Describe the splits: their sizes, and each array's shape, type and hash."""
    return {
        "n_train": len(development["y_train"]),
        "n_validation": len(development["y_validation"]),
        "n_test": len(test["y_test"]),
        "arrays": [
            {"name": name, "shape": list(array.shape), "dtype": str(array.dtype), "sha256": array_hash(array)}
            for name, array in (development | test).items()
        ],
    }


def raw_examples(seed: int, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw MNIST-1D examples before standardisation, as many of each digit.

    The order of the draws is that of `mnist1d.data.make_dataset`, whose result this is up to standardisation: that
    function hides the raw mean and standard deviation, which the test split needs.

    Args:
        seed: of numpy's global generator, whose state is put back afterwards.
        n: number of examples, a multiple of 10.

    Returns:
        (n, 40) signals and (n,) digits, shuffled.

    Raises:
        ValueError: where n is no positive multiple of 10.

    Source: Greydanus & Kobak, MNIST-1D (arXiv 2011.14439).
    """
    if n <= 0 or n % 10:
        raise ValueError(f"number of examples: got {n}, expected a positive multiple of 10")
    arguments, templates = get_dataset_args(), get_templates()
    with _global_seed(seed):
        digits = np.repeat(templates["y"], n // 10)
        signals = [transform(templates["x"][digit], templates["t"], arguments)[0] for digit in digits]
        order = np.random.permutation(n)
    return np.stack(signals)[order], digits[order].astype(np.int64)


def moments(x: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and population standard deviation, correctly rounded sums: the same on every processor."""
    values = x.ravel().tolist()
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))


@contextmanager
def _global_seed(seed: int) -> Iterator[None]:
    numpy_state, python_state = np.random.get_state(), random.getstate()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
