"""A file of one's own in data/source: an NPZ with `x` and `y`, or a CSV with a column of labels."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import pandas as pd

from svvr.data import Size, stratified
from svvr.records import Arrays, npz_arrays

Array = npt.NDArray[Any]
SOURCE = Path("data/source")


def splits(*, seed: int, path: str, label: str = "label", validation: Size = 0.2, test: Size = 0.2) -> Arrays:
    """Split a file's examples by seed: numeric features, labels of any kind, in a CSV's column `label`.

    DVC watches data/source. Sizes are numbers of examples or shares.
    """
    file, read = Path(path), {".npz": _npz, ".csv": _csv}
    if file.suffix not in read or file.parent != SOURCE or not file.is_file():
        raise ValueError(f"data.path: got {path}, expected an NPZ or CSV file in {SOURCE}")
    try:
        x, y = read[file.suffix](file, label)
        values = np.asarray(x, dtype=np.float64)
    except (ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise ValueError(f"{path}: {str(error) or type(error).__name__}") from None
    if values.ndim != 2 or y.ndim != 1 or len(values) != len(y):
        raise ValueError(f"{path}: got x {values.shape} and y {y.shape}, expected (n, features) and (n,)")
    if not np.isfinite(values).all() or pd.isna(y).any():
        raise ValueError(f"{path}: got a number or label that is missing or not finite, expected complete examples")
    return stratified(values, y.astype(str) if y.dtype == object else y, seed, validation, test)


def _npz(file: Path, _: str) -> tuple[Array, Array]:
    arrays = npz_arrays(file.read_bytes(), "x", "y")
    if arrays["x"].dtype.kind not in "biuf":
        raise ValueError(f"got x of {arrays['x'].dtype}, expected real numbers")
    return arrays["x"], arrays["y"]


def _csv(file: Path, label: str) -> tuple[Array, Array]:
    frame = pd.read_csv(file)
    if label not in frame:
        raise ValueError(f"got the columns {', '.join(map(str, frame))}, expected data.label {label} among them")
    features = frame.drop(columns=label)
    if text := list(features.select_dtypes(exclude=["number", "bool"])):
        raise ValueError(f"got text in {', '.join(map(str, text))}, expected numbers in all columns but {label}")
    return features.to_numpy(), frame[label].to_numpy()
