"""The data sets: MNIST-1D against its own function, splits against scikit-learn, files of one's own."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mnist1d.data import get_dataset_args, make_dataset
from sklearn.datasets import load_digits
from sklearn.preprocessing import StandardScaler

from svvr import data
from svvr.data import mnist1d
from svvr.records import read_json
from svvr.training.run import Run

ROOT = Path(__file__).parents[1]
NOISE = np.random.default_rng(0).normal(size=(90, 7))
LABELS = np.repeat(["ant", "bee", "Übel"], [50, 25, 15])


@pytest.mark.slow
def test_mnist1d_is_the_official_examples_and_fresh_ones_standardised_alike() -> None:
    official, before = make_dataset(), repr((random.getstate(), np.random.get_state()))
    parts = data.make("mnist1d", {"seed": 42, "n_test": 200, "test_seed": 1042})
    assert repr((random.getstate(), np.random.get_state())) == before  # the global generators are left as they were
    for split, suffix in (("train", ""), ("validation", "_test")):
        np.testing.assert_array_equal(parts[f"x_{split}"], official[f"x{suffix}"].astype(np.float32), strict=True)
        np.testing.assert_array_equal(parts[f"y_{split}"], official[f"y{suffix}"], strict=True)
    assert data.rows(parts)[:4] == read_json(ROOT / "metrics/data.json")[:4]
    raw, _ = mnist1d.raw_examples(1042, 200)
    expected = (raw + 0.0055075) / 0.1546780  # the official examples' moments, measured with other code
    np.testing.assert_allclose(parts["x_test"], expected, rtol=0, atol=5e-6)
    assert np.bincount(parts["y_test"]).tolist() == [20] * 10
    assert not {row.tobytes() for row in parts["x_train"]} & {row.tobytes() for row in parts["x_test"]}


def test_mnist1d_s_options_are_those_of_its_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = get_dataset_args()
    arguments.seed, arguments.num_samples, arguments.shear_scale, arguments.template_len = 7, 200, 0.1, 24
    own = make_dataset(arguments)  # the same draws, standardised with their own moments
    raw, _ = mnist1d.raw_examples(7, 200, shear_scale=0.1, template_len=24)
    theirs = np.concatenate([own["x"], own["x_test"]])
    np.testing.assert_allclose((raw - raw.mean()) / raw.std(), theirs, rtol=0, atol=1e-12)
    monkeypatch.setattr(mnist1d, "N_OFFICIAL", 60)
    monkeypatch.setattr(mnist1d, "N_TRAIN", 50)
    parts = data.make("mnist1d", {"seed": 1, "n_test": 10, "test_seed": 2, "n_train": 30, "final_seq_length": 33})
    assert [len(parts[f"y_{split}"]) for split in data.SPLITS] == [30, 10, 10] and parts["x_test"].shape == (10, 33)


def test_noisy_labels_are_a_share_of_train_drawn_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = np.zeros((5000, 1)) + np.arange(5000)[:, None], np.arange(5000) % 10
    monkeypatch.setattr(mnist1d, "raw_examples", lambda seed, n, **_: (x[:n], y[:n]))
    settings = {"seed": 1, "n_test": 100, "test_seed": 2}
    clean, noisy = (data.make("mnist1d", settings | more) for more in ({}, {"label_noise": 0.2}))
    assert {name for name in clean if not np.array_equal(clean[name], noisy[name])} == {"y_train"}
    changed = (clean["y_train"] != noisy["y_train"]).mean()
    assert abs(changed - 0.2 * 0.9) < 4 * (0.2 * 0.9 * 0.1 / 4000) ** 0.5  # a tenth of what is drawn is drawn again
    assert np.bincount(noisy["y_train"]).std() < 4 * (400 * 0.2) ** 0.5


def in_source(folder: Path, name: str, content: Any) -> str:
    (folder / "data/source").mkdir(parents=True, exist_ok=True)
    path = folder / "data/source" / name
    np.savez(path, **content) if name.endswith(".npz") else content.to_csv(path, index=False)
    return f"data/source/{name}"


@pytest.mark.parametrize("name", ["own.csv", "own.npz"])
def test_a_file_is_split_evenly_and_standardised_by_its_train_split(elsewhere: Path, name: str) -> None:
    x = np.column_stack([NOISE * 5 + 3, np.ones(90)])  # the last one tells nothing
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(8)]).assign(kind=LABELS)
    path = in_source(elsewhere, name, frame if name.endswith(".csv") else {"x": x, "y": LABELS})
    settings = {"path": path, "seed": 1, "validation": 18, "test": 0.2}
    parts = data.make("file", settings | ({"label": "kind"} if name.endswith(".csv") else {}))
    assert [len(parts[f"y_{split}"]) for split in data.SPLITS] == [54, 18, 18]
    for split in data.SPLITS:
        shares = np.bincount(parts[f"y_{split}"]) / len(parts[f"y_{split}"])
        np.testing.assert_allclose(shares, [50 / 90, 25 / 90, 15 / 90], atol=0.5 / 18)
    fitted = StandardScaler().fit(x[:, :7])
    every = np.concatenate([parts[f"x_{split}"] for split in data.SPLITS])
    assert every.shape == (90, 7) and every.dtype == np.float32
    train = parts["x_train"].astype(np.float64)
    np.testing.assert_allclose([train.mean(0), train.std(0)], [np.zeros(7), np.ones(7)], atol=1e-6)
    scaled = np.sort((every - every.mean(0)) / every.std(0), axis=0)
    np.testing.assert_allclose(
        scaled, np.sort(fitted.transform(x[:, :7]), axis=0), atol=1e-5
    )  # nothing lost or doubled
    again, other = (data.make("file", settings | {"label": "kind", "seed": seed}) for seed in (1, 2))
    assert again["x_test"].tobytes() == parts["x_test"].tobytes() != other["x_test"].tobytes()


def test_digits_are_scikit_learn_s() -> None:
    parts, (x, y) = data.make("digits", {"seed": 0}), load_digits(return_X_y=True)
    assert sum(len(parts[f"y_{split}"]) for split in data.SPLITS) == len(y) == 1797
    assert Run(0, 0.0, hidden=(3,)).sizes(parts) == ((x[: len(x)].std(0) > 0).sum(), 3, 10)
    assert sorted(np.concatenate([parts[f"y_{split}"] for split in data.SPLITS])) == sorted(y)


X = NOISE.copy()
HOLED = np.where(np.arange(90)[:, None] == 3, np.nan, X)
FEW = np.array(["a"] * 88 + ["b"] * 2)
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("file", {"path": "data/source/none.csv"}, "data.path: got data/source/none.csv, expected an NPZ or CSV file in"),
    ("file", {"x": X, "y": LABELS, "test": 100}, "data: got 0 of 90 examples in validation, expected enough"),
    ("file", {"x": X, "y": FEW}, "data: got 2 classes with 2 to 88 examples, expected at least 2"),
    ("file", {"x": X, "y": np.zeros(90)}, "data: got 1 classes with 90 to 90 examples, expected at least 2"),
    ("file", {"x": X + 1j, "y": LABELS}, "data/source/own.npz: got x of complex128, expected real numbers"),
    ("file", {"x": X.astype(object), "y": LABELS}, "data/source/own.npz: Object arrays cannot be loaded"),
    ("file", {"x": X, "y": LABELS.astype(object)}, "data/source/own.npz: Object arrays cannot be loaded"),
    ("file", {"x": HOLED, "y": LABELS}, "data/source/own.npz: got a number or label that is missing"),
    ("file", {"x": X[:, 0], "y": LABELS}, "data/source/own.npz: got x (90,) and y (90,), expected"),
    ("file", {"x": X, "y": LABELS, "seed": "1"}, "data.seed: got '1', expected a valid integer"),
    ("file", {"x": X, "y": LABELS, "validation": "0.2"}, "data.validation: got '0.2', expected a valid number"),
    ("file", {"x": X, "y": LABELS, "size": 3}, "data.size: got 3, expected no such key"),
    ("file", {"text": True}, "data/source/own.csv: got text in f1, expected numbers in all columns but label"),
    (
        "file",
        {"text": True, "label": "kind"},
        "data/source/own.csv: got the columns f0, f1, label, expected data.label",
    ),
    ("digits", {"seed": 0, "test": 0.0}, "data.test: got 0.0, expected greater than 0"),
    ("mnist1d", {"seed": 1, "test_seed": 2}, "data.n_test: got nothing, expected a value"),
    ("mnist1d", {"seed": 1, "test_seed": 1, "n_test": 10}, "data.test_seed: got 1, expected another than data.seed"),
    ("mnist1d", {"seed": 1, "test_seed": 2, "n_test": 15}, "data.n_test: got 15, expected a multiple of 10"),
    ("mnist1d", {"seed": 1, "test_seed": 2, "n_test": 10, "noise": 3}, "data.noise: got 3, expected options of the"),
]


@pytest.mark.parametrize(("name", "settings", "said"), BROKEN)
def test_what_cannot_be_used_is_named(elsewhere: Path, name: str, settings: dict[str, Any], said: str) -> None:
    arrays = {key: settings[key] for key in ("x", "y") if key in settings}
    rest = {key: value for key, value in settings.items() if key not in ("x", "y", "text")}
    if arrays:
        rest = {"path": in_source(elsewhere, "own.npz", arrays)} | rest
    if "text" in settings:
        frame = pd.DataFrame({"f0": X[:, 0], "f1": LABELS, "label": LABELS})
        rest = {"path": in_source(elsewhere, "own.csv", frame)} | rest
    with pytest.raises(ValueError) as caught:
        data.make(name, {"seed": 0} | rest)
    assert str(caught.value).startswith(said), str(caught.value)
