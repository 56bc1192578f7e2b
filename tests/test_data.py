"""The splits against MNIST-1D's own function."""

import random
from pathlib import Path

import numpy as np
import pytest
from mnist1d.data import get_dataset_args, make_dataset

from svvr.data import mnist1d
from svvr.records import read_json

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_splits_are_the_official_examples_and_fresh_ones_standardised_alike() -> None:
    official, before = make_dataset(), repr((random.getstate(), np.random.get_state()))
    parts = mnist1d.splits(42, 200, 1042)
    assert repr((random.getstate(), np.random.get_state())) == before  # the global generators are left as they were
    for split, suffix in (("train", ""), ("validation", "_test")):
        np.testing.assert_array_equal(parts[0][f"x_{split}"], official[f"x{suffix}"].astype(np.float32), strict=True)
        np.testing.assert_array_equal(parts[0][f"y_{split}"], official[f"y{suffix}"], strict=True)
    assert mnist1d.rows(parts[0]) == read_json(ROOT / "metrics/data.json")[:4]
    raw, _ = mnist1d.raw_examples(1042, 200)
    expected = (raw + 0.0055075) / 0.1546780  # the official examples' moments, measured with other code
    np.testing.assert_allclose(parts[1]["x_test"], expected, rtol=0, atol=5e-6)
    arguments = get_dataset_args()
    arguments.seed, arguments.num_samples = 1042, 200
    own = make_dataset(arguments)  # the same draws, standardised with their own moments
    theirs = np.concatenate([own["x"], own["x_test"]])
    np.testing.assert_allclose((raw - raw.mean()) / raw.std(), theirs, rtol=0, atol=1e-12)
    assert np.bincount(parts[1]["y_test"]).tolist() == [20] * 10
    assert not {row.tobytes() for row in parts[0]["x_train"]} & {row.tobytes() for row in parts[1]["x_test"]}
