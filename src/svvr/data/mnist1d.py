"""MNIST-1D: its official train and validation splits, and a fresh test split from the same generator."""

import math
from types import SimpleNamespace
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from svvr.params import Seed
from svvr.records import Arrays

N_OFFICIAL, N_TRAIN = 5000, 4000
FIXED = ("num_samples", "train_split", "seed")  # options of the generator that `splits` sets itself


def splits(
    *,
    seed: Seed,
    n_test: Annotated[int, Field(ge=10, le=1_000_000, multiple_of=10)],
    test_seed: Seed,
    n_train: Annotated[int, Field(ge=10, le=N_TRAIN)] = N_TRAIN,
    label_noise: Annotated[float, Field(ge=0, lt=1)] = 0.0,
    **generator: int | float,
) -> Arrays:
    """Make the three splits, standardised with the official examples' raw mean and standard deviation.

    `seed` draws the official examples: the first `n_train` of 4000, a share `label_noise` of their labels drawn anew
    from all 10 classes, and 1000 for validation. `test_seed`, another one, draws `n_test`. Signals have 40 values.
    `generator` are options of `mnist1d.data.get_dataset_args`, such as template_len, corr_noise_scale and shear_scale.
    """
    if test_seed == seed:
        raise ValueError(f"data.test_seed: got {seed}, expected another than data.seed")
    x, y = raw_examples(seed, N_OFFICIAL, **generator)
    mean, sd = moments(x)
    x = ((x - mean) / sd).astype(np.float32)
    x_test, y_test = raw_examples(test_seed, n_test, **generator)
    train, validation = slice(0, n_train), slice(N_TRAIN, N_OFFICIAL)
    y_train, rng = y[train].copy(), np.random.default_rng(seed)
    redrawn = rng.permutation(n_train)[: round(label_noise * n_train)]
    y_train[redrawn] = rng.integers(10, size=len(redrawn))
    found = {"x_train": x[train], "y_train": y_train, "x_validation": x[validation], "y_validation": y[validation]}
    return found | {"x_test": ((x_test - mean) / sd).astype(np.float32), "y_test": y_test}


def raw_examples(seed: int, n: int, **generator: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Draw MNIST-1D examples before standardisation, as many of each digit: (n, 40) signals and (n,) digits, shuffled.

    The draws are those of `mnist1d.data.make_dataset` (Greydanus & Kobak, arXiv 2011.14439), which hides the raw mean
    and standard deviation that the test split needs. numpy's global generator is put back afterwards.
    """
    from mnist1d.data import get_dataset_args, get_templates  # takes a second, which a look-up need not wait for
    from mnist1d.transform import transform

    known, templates = get_dataset_args(as_dict=True), get_templates()
    options = {name: each for name, each in known.items() if type(each) in (int, float) and name not in FIXED}
    for key, value in generator.items():
        if key not in options or (isinstance(options[key], int) and not isinstance(value, int)):
            like = ", ".join(f"{name}: {each}" for name, each in options.items())
            raise ValueError(f"data.{key}: got {value}, expected options of the generator like {like}")
    arguments, before = SimpleNamespace(**known | generator), np.random.get_state()
    np.random.seed(seed)
    try:
        digits = np.repeat(templates["y"], n // 10)
        signals = [transform(templates["x"][digit], templates["t"], arguments)[0] for digit in digits]
        order = np.random.permutation(n)
    finally:
        np.random.set_state(before)
    return np.stack(signals)[order], digits[order].astype(np.int64)


def moments(x: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Return mean and population standard deviation from correctly rounded sums: the same on every processor."""
    values = x.ravel().tolist()
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
