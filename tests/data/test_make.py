"""The splits against MNIST-1D's own function."""

import random

import numpy as np
import pytest
from mnist1d.data import get_dataset_args, make_dataset

from svvr.core.files import array_hash
from svvr.data import make


@pytest.fixture(scope="module")
def parts() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return make.splits(42, 200, 1042)


def test_train_and_validation_are_the_official_examples(parts: tuple[dict[str, np.ndarray], ...]) -> None:
    official = make_dataset()
    for split, suffix in (("train", ""), ("validation", "_test")):
        np.testing.assert_array_equal(parts[0][f"x_{split}"], official[f"x{suffix}"].astype(np.float32))
        np.testing.assert_array_equal(parts[0][f"y_{split}"], official[f"y{suffix}"])
    assert parts[0]["x_train"].shape == (4000, 40) and parts[0]["x_train"].dtype == np.float32
    assert parts[0]["x_validation"].shape == (1000, 40) and parts[0]["y_train"].dtype == np.int64


def test_the_test_split_is_fresh_balanced_and_standardised_as_the_official_examples(
    parts: tuple[dict[str, np.ndarray], ...],
) -> None:
    arguments = get_dataset_args()
    arguments.seed, arguments.num_samples = 1042, 200
    own = make_dataset(arguments)  # standardised with its own moments: an affine map of ours
    x, expected = parts[1]["x_test"], np.concatenate([own["x"], own["x_test"]])
    slope, offset = np.polyfit(expected.ravel(), x.ravel(), 1)
    np.testing.assert_allclose(x, slope * expected + offset, atol=1e-5)
    assert abs(slope - 1) > 1e-4 or abs(offset) > 1e-4
    assert np.bincount(parts[1]["y_test"]).tolist() == [20] * 10
    train = {row.tobytes() for row in parts[0]["x_train"]}
    assert not any(row.tobytes() in train for row in x)


def test_raw_moments_are_those_measured_elsewhere() -> None:
    mean, sd = make.moments(make.raw_examples(42, make.N_OFFICIAL)[0])
    assert mean == pytest.approx(-0.0055075, abs=5e-8)
    assert sd == pytest.approx(0.1546780, abs=5e-8)


def test_the_global_generators_are_left_as_they_were() -> None:
    np.random.seed(7)
    random.seed(7)
    expected = np.random.rand(), random.random()
    np.random.seed(7)
    random.seed(7)
    make.raw_examples(1, 20)
    assert (np.random.rand(), random.random()) == expected


def test_what_cannot_be_drawn_is_refused() -> None:
    for n in (0, -10, 15):
        with pytest.raises(ValueError, match=f"number of examples: got {n}, expected a positive multiple of 10"):
            make.raw_examples(1, n)
    with pytest.raises(ValueError, match=r"data\.test_seed: got 4, expected another seed than data\.seed"):
        make.splits(4, 20, 4)


def test_the_record_names_every_array_with_its_hash(parts: tuple[dict[str, np.ndarray], ...]) -> None:
    record = make.record(*parts)
    assert (record["n_train"], record["n_validation"], record["n_test"]) == (4000, 1000, 200)
    assert {row["name"]: row["sha256"] for row in record["arrays"]} == {
        name: array_hash(array) for name, array in (parts[0] | parts[1]).items()
    }
