"""Calibration by hand."""

import numpy as np
import pytest

from svvr.measure.calibration import calibration_error
from tests.measure.problems import Array


def test_calibration_error_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 1])
    # two bins: all in (0.5, 1]: mean confidence 2.85 / 4, accuracy 3 / 4
    assert calibration_error(probabilities, labels, 2) == pytest.approx(0.75 - 0.7125)
    # five bins: 0.55, 0.6 in (0.4, 0.6]; 0.8 in (0.6, 0.8]; 0.9 in (0.8, 1]
    expected = (2 * (1 - 0.575) + 0.8 + 0.1) / 4
    assert calibration_error(probabilities, labels, 5) == pytest.approx(expected)


def test_calibration_is_perfect_or_hopeless() -> None:
    certain = np.eye(3)
    assert calibration_error(certain, np.arange(3)) == 0
    assert calibration_error(certain, np.array([1, 2, 0])) == 1


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        (np.eye(2), np.arange(2), 0, "bins: got 0"),
        (np.ones(2), np.arange(2), 5, "probabilities: got shape"),
        (np.ones((0, 2)), np.zeros(0, int), 5, "probabilities: got shape"),
        (np.eye(2), np.arange(3), 5, "labels: got int64"),
        (np.eye(2), np.zeros(2), 5, "labels: got float64"),
        (np.eye(2), np.array([0, 2]), 5, "labels: got labels 0 to 2"),
        (np.eye(2), np.array([-1, 1]), 5, "labels: got labels -1 to 1"),
        (np.ones((2, 2)), np.arange(2), 5, "no distributions"),
        (np.array([[1.5, -0.5], [0, 1]]), np.arange(2), 5, "no distributions"),
        (np.full((2, 2), np.nan), np.arange(2), 5, "no distributions"),
    ],
)
def test_calibration_error_refuses(probabilities: Array, labels: Array, bins: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        calibration_error(probabilities, labels, bins)
