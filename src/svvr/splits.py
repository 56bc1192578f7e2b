"""The only reader of the data splits: what it returns has the shapes, types and values that training expects."""

from pathlib import Path

import numpy as np

from svvr.records import Arrays, RecordError, read_npz


def read(path: Path, *names: str) -> Arrays:
    """Read splits from an NPZ file.

    Args:
        path: the file.
        *names: of splits, e.g. `train`.

    Returns:
        For each split `x_NAME` (N, inputs) float32 and `y_NAME` (N,) int64, and nothing else.

    Raises:
        RecordError: where an array is missing, or of another type or shape, or not finite, or a label is negative.
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
    if not np.isfinite(x).all() or y.min() < 0:
        raise RecordError(f"{path}: {name} holds values that are not finite or labels below 0")
