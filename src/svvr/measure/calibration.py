"""How far a model's confidence is from its accuracy."""

import numpy as np

from svvr.measure.network import Array, check_labels


def calibration_error(probabilities: Array, labels: Array, bins: int = 15) -> float:
    """Return the expected calibration error over bins of equal width.

    Args:
        probabilities: (N, C), rows that sum to 1.
        labels: (N,) integers in [0, C).
        bins: number of bins of confidence, ((b - 1) / bins, b / bins] each.

    Returns:
        sum over bins of their share of examples times |accuracy - mean confidence|, in [0, 1].

    Raises:
        ValueError: for shapes or labels that do not fit, rows that are no probabilities, or fewer than 1 bin.

    Source:
        Guo et al. 2017, equation 3.
    """
    table, truth = np.asarray(probabilities, np.float64), np.asarray(labels)
    if bins < 1:
        raise ValueError(f"bins: got {bins}, expected at least 1")
    if table.ndim != 2 or table.size == 0:
        raise ValueError(f"probabilities: got shape {table.shape}, expected (N, C) with N and C above 0")
    check_labels("labels", truth, *table.shape)
    if not ((table >= 0).all() and np.allclose(table.sum(1), 1, rtol=0, atol=1e-4)):
        raise ValueError("probabilities: got rows that are no distributions, expected 0 or more with a sum of 1")
    confidence = table.max(1)
    excess = (table.argmax(1) == truth) - confidence
    # A bin is closed above; a sum of 1 + 1e-16 still belongs to the last.
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    return float(np.abs(np.bincount(number, excess, bins)).sum() / len(truth))
