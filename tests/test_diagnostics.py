"""Diagnostics against float64 oracles written out by hand, and what becomes of runs without a figure."""

import dataclasses
import itertools
import json
import math
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from svvr import diagnostics
from svvr.diagnostics import Measured, Measurement, measure
from svvr.records import Arrays, npz_bytes, read_npz, write_npz
from svvr.seeds import derive
from svvr.training.model import initial_weights

Array = npt.NDArray[Any]
SIZES = (4, 5, 6, 3)
WIDE = (40, 128, 128, 10)
RUN = {"study": 1, "seed": 7, "gradient_norm_mean": [9.0, 2.0, 2.0], "gradient_norm_sd": [9.0, 0.5, 0.5]}
COLUMNS = (
    "study seed conditioning smoothness gradient_stability hessian_top calibration_error train_loss "
    "test_loss train_test_gap reason singular_values initial_singular_values variance coefficient_of_variation "
    "stable_rank ln_condition"
)


def split(flat: Any, sizes: Sequence[int]) -> list[tuple[Any, Any]]:
    """Cut flat parameters, an array or a tensor, into each layer's weight and bias."""
    layers, at = [], 0
    for n_in, m in itertools.pairwise(sizes):
        layers.append((flat[at : at + m * n_in].reshape(m, n_in), flat[at + m * n_in : at + m * n_in + m]))
        at += m * (n_in + 1)
    return layers


def problem(sizes: Sequence[int] = SIZES, seed: int = 0) -> tuple[Array, Arrays]:
    """Return weights (P,) and both splits of a random problem, with all classes in both."""
    rng = np.random.default_rng(seed)
    p = sum(m * (n_in + 1) for n_in, m in itertools.pairwise(sizes))
    data: Arrays = {}
    for name, n in (("train", 60), ("test", 40)):
        data[f"x_{name}"] = rng.normal(size=(n, sizes[0])).astype(np.float32)
        data[f"y_{name}"] = rng.permutation(np.arange(n) % sizes[-1])
    return rng.normal(0, 0.7, p).astype(np.float32), data


def loss_by_hand(flat: Tensor, sizes: Sequence[int], x: Tensor, y: Tensor) -> Tensor:
    out = x
    for number, (weight, bias) in enumerate(split(flat, sizes)):
        out = out @ weight.T + bias
        out = out if number == len(sizes) - 2 else out.clamp(min=0)
    return (torch.logsumexp(out, 1) - out[torch.arange(len(y)), y]).mean()


def oracle(weights: Array, sizes: Sequence[int], x: Array, y: Array) -> tuple[float, Array]:
    """Return the loss and its dense Hessian, in float64."""
    features, labels = torch.tensor(x, dtype=torch.float64), torch.tensor(y)
    flat = torch.tensor(weights, dtype=torch.float64)
    dense = torch.autograd.functional.hessian(lambda w: loss_by_hand(w, sizes, features, labels), flat)
    return loss_by_hand(flat, sizes, features, labels).item(), dense.numpy()


def unit(weights: Array | None, sizes: Sequence[int] = SIZES, **changes: Any) -> Measurement:
    return dataclasses.replace(Measurement(7, weights, tuple(sizes[1:-1]), 1e-4, test=True), **changes)


def figures(unit: Measurement, data: Arrays) -> dict[str, Any]:
    (measured,) = measure([unit], data)
    assert measured.figures is not None and measured.reason is None
    return measured.figures


def test_a_measurement_agrees_with_the_oracles() -> None:
    weights, data = problem()
    found = figures(unit(weights), data)
    loss, dense = oracle(weights, SIZES, data["x_train"], data["y_train"])
    test_loss, _ = oracle(weights, SIZES, data["x_test"], data["y_test"])
    top = np.linalg.eigvalsh(dense)[-1]
    assert found["hessian_top"] == pytest.approx(top, rel=1e-4)
    assert found["smoothness"] == pytest.approx(math.log(top), abs=1e-4)
    assert found["train_loss"] == pytest.approx(loss, rel=1e-12)
    assert found["test_loss"] == pytest.approx(test_loss, rel=1e-12)
    assert found["train_test_gap"] == pytest.approx(test_loss - loss, rel=1e-9)
    assert 0 < found["calibration_error"] < 1
    conditions = [np.linalg.cond(matrix.astype(np.float64)) for matrix, _ in split(weights, SIZES)]
    assert found["conditioning"] == pytest.approx(np.mean(np.log(conditions)))
    start = split(initial_weights(SIZES, derive("initial_weights", 7)).double().numpy(), SIZES)
    for values, (matrix, _) in zip(found["initial_singular_values"], start, strict=True):
        np.testing.assert_allclose(values, np.linalg.svd(matrix, compute_uv=False), rtol=1e-12)
    short = figures(unit(weights, test=False), {name: data[name] for name in ("x_train", "y_train")})
    missing = {"calibration_error", "train_loss", "test_loss", "train_test_gap"}
    assert short == {name: value for name, value in found.items() if name not in missing}
    other = figures(unit(weights, seed=8), data)
    assert other["hessian_top"] == pytest.approx(found["hessian_top"], rel=1e-4)
    moved = {name for name in found if other[name] != found[name]}  # its own streams alone
    assert {"initial_singular_values"} <= moved <= {"initial_singular_values", "smoothness", "hessian_top"}


@pytest.mark.parametrize("seed", range(3))
def test_spectra_agree_with_numpy(seed: int) -> None:
    weights, _ = problem(SIZES, seed)
    found = diagnostics.spectra(weights, weights[::-1].copy(), SIZES)
    assert list(found) == diagnostics.SPECTRA
    for layer, ((matrix, _), (start, _)) in enumerate(
        zip(split(weights.astype(np.float64), SIZES), split(weights[::-1].astype(np.float64), SIZES), strict=True)
    ):
        s, frobenius = np.linalg.svd(matrix, compute_uv=False), (matrix**2).sum()
        one = {name: values[layer] for name, values in found.items()}
        np.testing.assert_allclose(one["singular_values"], s, rtol=1e-12)
        np.testing.assert_allclose(one["initial_singular_values"], np.linalg.svd(start, compute_uv=False), rtol=1e-12)
        assert one["variance"] == pytest.approx(((s - s.mean()) ** 2).sum() / (len(s) - 1))
        assert one["coefficient_of_variation"] ** 2 == pytest.approx(len(s) * frobenius / s.sum() ** 2 - 1)
        assert one["stable_rank"] == pytest.approx(frobenius / np.linalg.norm(matrix, 2) ** 2)
        assert one["ln_condition"] == pytest.approx(math.log(np.linalg.cond(matrix)))


def test_a_singular_matrix_has_a_finite_condition() -> None:
    weights = np.concatenate([np.diag([2.0, 1.0, 0.0]).ravel(), np.zeros(3)]).astype(np.float32)
    found = diagnostics.spectra(weights, np.zeros_like(weights), (3, 3))
    assert found["singular_values"] == [[2, 1, 0]] and found["initial_singular_values"] == [[0, 0, 0]]
    assert found["variance"] == pytest.approx([1]) and found["stable_rank"] == pytest.approx([1.25])
    assert found["ln_condition"] == pytest.approx([math.log(2**52 / 3)])


@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 3), SIZES])
def test_products_and_the_top_eigenvalue_agree_with_the_dense_hessian(sizes: tuple[int, ...]) -> None:
    weights, data = problem(sizes)
    x, y = data["x_train"], data["y_train"]
    _, dense = oracle(weights, sizes, x, y)
    double, single = (diagnostics.hessian_product(weights, sizes, x, y, t) for t in (torch.float64, torch.float32))
    np.testing.assert_allclose([double(row) for row in np.eye(len(weights))], dense, rtol=0, atol=1e-12)
    value = diagnostics.top_eigenvalue(double, len(weights), 1e-10, 3)
    assert value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-9)
    assert diagnostics.top_eigenvalue(single, len(weights), 1e-4, 3) == pytest.approx(value, rel=1e-4)


def test_lanczos_finds_the_largest_and_not_the_widest_eigenvalue_and_restarts_from_the_seed() -> None:
    spectrum = np.linspace(-10, 2, 43)
    assert diagnostics.top_eigenvalue(lambda vector: spectrum * vector, 43, 1e-8, 0) == pytest.approx(2)
    seen: list[bytes] = []  # any vector is an eigenvector of the identity, so that ARPACK draws all but the first

    def identity(vector: Array) -> Array:
        seen.append(vector.tobytes())
        return vector

    assert diagnostics.top_eigenvalue(identity, 50, 1e-6, 1) == pytest.approx(1)
    first = seen.copy()
    diagnostics.top_eigenvalue(identity, 50, 1e-6, 1)
    assert len(set(first)) > 1 and seen == first * 2


def test_float32_products_are_precise_enough_for_the_real_network() -> None:
    weights, data = problem(WIDE)
    weights = initial_weights(WIDE, 3).numpy()
    x, y = data["x_train"], data["y_train"]
    products = [diagnostics.hessian_product(weights, WIDE, x, y, dtype) for dtype in (torch.float32, torch.float64)]
    single, double = (diagnostics.top_eigenvalue(product, len(weights), 1e-3, 0) for product in products)
    assert single == pytest.approx(double, rel=1e-5)


def test_lanczos_that_does_not_converge_or_finds_no_positive_curvature_is_unmeasurable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for factor, said in ((-1.0, "the top Hessian eigenvalue is -1"), (0.0, "no top Hessian eigenvalue: ArpackError")):
        with pytest.raises(diagnostics.UnmeasurableError, match=said):
            diagnostics.top_eigenvalue(lambda vector, factor=factor: factor * vector, 30, 1e-6, 0)  # type: ignore[misc]
    monkeypatch.setattr(diagnostics, "MAX_RESTARTS", 1)
    spectrum = np.linspace(1, 1.001, 500)
    with pytest.raises(diagnostics.UnmeasurableError, match="no top Hessian eigenvalue: ArpackNoConvergence"):
        diagnostics.top_eigenvalue(lambda vector: spectrum * vector, 500, 1e-10, 0)


def test_runs_that_cannot_be_measured_say_why_and_the_others_do_not_notice() -> None:
    weights, data = problem()
    dead, exploded = np.zeros_like(weights), weights * np.float32(1e30)
    units = [unit(each) for each in (weights, None, dead, exploded, weights)]
    found = measure(units, data)
    reasons = [each.reason or "" for each in found]
    assert reasons[:3] == ["", "the run failed", "all weights of a 5 x 4 layer are zero"]
    assert reasons[3].startswith("no top Hessian eigenvalue: ArpackError") and not reasons[4]
    assert found[0] == found[4] == measure(units[:1], data)[0]
    assert [each.figures is None for each in found] == [False, True, True, True, False]


def test_a_figure_that_is_not_finite_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    weights, data = problem()
    monkeypatch.setattr(diagnostics, "calibration_error", lambda *_: math.nan)
    assert measure([unit(weights)], data) == [Measured(None, "calibration_error is nan, expected a finite number")]
    with pytest.raises(ValueError, match="not JSON compliant"):
        Measured({"train_loss": math.nan}).arrays()


def test_a_measurement_survives_the_cache_bit_for_bit(tmp_path: Path) -> None:
    weights, data = problem()
    odd = Measured({"loss": 0.1 + 0.2, "small": 5e-324, "zero": -0.0, "variance": [1 / 3, 2.0]})
    for measured in (*measure([unit(weights)], data), odd, Measured(None, "\u03b1")):
        write_npz(tmp_path / "measured.npz", measured.arrays())
        kept = Measured.from_arrays(read_npz(tmp_path / "measured.npz"))
        assert repr(kept) == repr(measured) == repr(pickle.loads(pickle.dumps(kept)))
        assert npz_bytes(kept.arrays()) == npz_bytes(measured.arrays())


@pytest.mark.slow
def test_the_same_bytes_in_a_process_with_more_threads(tmp_path: Path) -> None:
    _, data = problem(WIDE)  # vectors long enough for BLAS to share them out
    measurement = unit(initial_weights(WIDE, 3).numpy(), WIDE, tolerance=1e-3)
    case = tmp_path / "case.pickle"
    case.write_bytes(pickle.dumps(([measurement], data)))
    code = (
        "import pickle, sys; from pathlib import Path; from svvr.diagnostics import measure\n"
        "print(measure(*pickle.loads(Path(sys.argv[1]).read_bytes()))[0].arrays()['measured'])"
    )
    threads = {f"{library}_NUM_THREADS": "4" for library in ("OMP", "OPENBLAS", "MKL")}
    command = [sys.executable, "-c", code, str(case)]
    text = subprocess.run(command, env=os.environ | threads, check=True, stdout=subprocess.PIPE, text=True).stdout
    assert text.strip() == str(measure([measurement], data)[0].arrays()["measured"])


@pytest.mark.parametrize("bins,expected", [(2, 0.75 - 0.7125), (5, (2 * (1 - 0.575) + 0.8 + 0.1) / 4)])
def test_calibration_by_hand(bins: int, expected: float) -> None:
    """Two bins: all in (0.5, 1]. Five: 0.55 and 0.6 in (0.4, 0.6], 0.8 in (0.6, 0.8], 0.9 in (0.8, 1]."""
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    assert diagnostics.calibration_error(probabilities, np.array([0, 0, 0, 1]), bins) == pytest.approx(expected)
    assert diagnostics.calibration_error(np.eye(3), np.arange(3), bins) == 0
    assert diagnostics.calibration_error(np.eye(3), np.array([1, 2, 0]), bins) == 1


def test_stability_pools_the_minibatches_of_the_last_epochs() -> None:
    norms = np.random.default_rng(0).gamma(3, size=(7, 25))
    means, sds = norms.mean(1), norms.std(1)
    last = norms[-5:].ravel()
    assert diagnostics.stability(means, sds, 5) == pytest.approx(math.log(last.std() / last.mean()))
    everything = math.log(norms.std() / norms.mean())
    assert diagnostics.stability(means.tolist(), sds.tolist(), 10) == pytest.approx(everything)
    for still in ([2.0, 2.0], [0.0, 0.0]):
        with pytest.raises(diagnostics.UnmeasurableError, match="do not vary"):
            diagnostics.stability(still, [0, 0], 5)


def test_rows_hold_every_column_in_order_and_the_links_are_theirs() -> None:
    weights, data = problem()
    (measured,), (short,) = measure([unit(weights)], data), measure([unit(weights, test=False)], data)
    row = diagnostics.row(RUN, measured, 2)
    assert " ".join(row) == COLUMNS and json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["gradient_stability"] == pytest.approx(math.log(0.25)) and row["reason"] is None
    assert (row["study"], row["seed"]) == (1, 7) and [len(values) for values in row["singular_values"]] == [4, 5, 3]
    assert measured.figures is not None and all(row[name] == value for name, value in measured.figures.items())
    links = {name: row[name] for name in ("conditioning", "smoothness", "gradient_stability", "reason")}
    assert diagnostics.links(RUN, measured, 2) == diagnostics.links(RUN, short, 2) == links


@pytest.mark.parametrize(
    "curves,measured,reason",
    [
        ({}, Measured(None, "the run failed"), "the run failed"),
        ({"gradient_norm_mean": [None] * 3}, Measured(None, "the run failed"), "the run failed"),
        ({"gradient_norm_mean": [1.0] * 3, "gradient_norm_sd": [0.0] * 3}, None, "the gradient norms do not vary"),
    ],
)
def test_a_run_without_figures_keeps_its_place_and_the_reason(
    curves: dict[str, Any], measured: Measured | None, reason: str
) -> None:
    weights, data = problem()
    row = diagnostics.row(RUN | curves, measured or measure([unit(weights)], data)[0], 2)
    assert " ".join(row) == COLUMNS
    assert list(row.values()) == [1, 7, *[None] * 8, reason, *[[]] * 6]
    assert diagnostics.links(RUN | curves, measured or measure([unit(weights)], data)[0], 2)["reason"] == reason
