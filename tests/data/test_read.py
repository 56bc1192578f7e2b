"""Splits that cannot be trained on are refused when they are read."""

from pathlib import Path

import numpy as np
import pytest

from svvr.core import files
from svvr.core.files import Arrays, RecordError
from svvr.data import read


def good() -> Arrays:
    return {"x_test": np.ones((20, 40), np.float32), "y_test": np.arange(20) % 10, "other": np.zeros(1)}


def test_the_arrays_of_the_named_splits_are_read(tmp_path: Path) -> None:
    files.write_npz(tmp_path / "a.npz", good())
    found = read.splits(tmp_path / "a.npz", "test")
    assert list(found) == ["x_test", "y_test"] and found["x_test"].shape == (20, 40)


@pytest.mark.parametrize(
    "name,array,message",
    [
        ("x_test", np.ones((20, 40)), "expected float32"),
        ("x_test", np.ones((20, 40, 1), np.float32), "expected float32"),
        ("x_test", np.ones((21, 40), np.float32), "expected float32"),
        ("y_test", np.ones(20), "int64"),
        ("x_test", np.ones((20, 39), np.float32), "expected 40 columns of finite values"),
        ("x_test", np.full((20, 40), np.nan, np.float32), "expected 40 columns of finite values"),
        ("x_test", np.full((20, 40), -3e38, np.float32), "expected 40 columns of finite values below 1e"),
        ("y_test", np.arange(20) % 10 - 1, "other labels than each of 0 to 9"),
        ("y_test", np.arange(20) % 9, "other labels than each of 0 to 9"),
        ("y_test", np.arange(20) % 11, "other labels than each of 0 to 9"),
    ],
)
def test_other_arrays_are_refused_in_one_line(tmp_path: Path, name: str, array: np.ndarray, message: str) -> None:
    files.write_npz(tmp_path / "a.npz", good() | {name: array})
    with pytest.raises(RecordError, match=message) as error:
        read.splits(tmp_path / "a.npz", "test")
    assert "\n" not in str(error.value) and "a.npz" in str(error.value)


def test_a_missing_split_is_named(tmp_path: Path) -> None:
    files.write_npz(tmp_path / "a.npz", good())
    with pytest.raises(RecordError, match="expected the array 'x_train'"):
        read.splits(tmp_path / "a.npz", "train", "test")
