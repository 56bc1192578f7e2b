"""The only reader of the data splits: what it returns has the shapes, types and values that training expects."""

from pathlib import Path

import numpy as np

from svvr.core.files import Arrays, RecordError, read_npz

N_INPUTS, N_CLASSES = 40, 10  # of MNIST-1D
LARGEST = 1e6  # of a standardised feature


def splits(path: Path, *names: str) -> Arrays:
    """Read splits from an NPZ file.

    Args:
        path: the file.
        *names: of splits, e.g. `train`.

    Returns:
        For each split `x_NAME` (N, inputs) float32 and `y_NAME` (N,) int64, and nothing else.

    Raises:
        RecordError: where an array is missing, or of another type or shape, or its values are not MNIST-1D's.
    """
    arrays = read_npz(path, *(f"{kind}_{name}" for name in names for kind in "xy"))
    for name in names:
        _check(path, name, arrays)
    return {f"{kind}_{name}": arrays[f"{kind}_{name}"] for name in names for kind in "xy"}


def _check(path: Path, name: str, arrays: Arrays) -> None:
    x, y = arrays[f"x_{name}"], arrays[f"y_{name}"]
    got = f"{path}: x_{name} is {x.dtype} {x.shape}, y_{name} is {y.dtype} {y.shape}"
    if x.dtype != np.float32 or y.dtype != np.int64 or x.ndim != 2 or y.shape != x.shape[:1] or not x.size:
        raise RecordError(f"{got}; expected float32 (N, inputs) and int64 (N,)")
    if x.shape[1] != N_INPUTS or not np.abs(x).max() < LARGEST:
        raise RecordError(f"{got}; expected {N_INPUTS} columns of finite values below {LARGEST:g}")
    if not np.array_equal(np.unique(y), np.arange(N_CLASSES)):
        raise RecordError(f"{path}: y_{name} holds other labels than each of 0 to {N_CLASSES - 1}")
