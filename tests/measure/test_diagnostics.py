import itertools
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from svvr.core.seeds import derive
from svvr.measure import diagnostics

SIZES = (4, 5, 3)
P = 4 * 5 + 5 + 5 * 3 + 3


def small(sizes=SIZES, n=60, seed=0):
    """Return weights, initial weights, features and labels of a small random problem."""
    generator = np.random.default_rng(seed)
    p = sum(m * (n_in + 1) for n_in, m in itertools.pairwise(sizes))
    weights, initial = generator.normal(0, 0.7, (2, p)).astype(np.float32)
    x = generator.normal(size=(n, sizes[0])).astype(np.float32)
    return weights, initial, x, generator.integers(0, sizes[-1], n)


def split(flat, sizes):
    """Cut flat parameters by hand: independent of the module's own slicing."""
    layers, at = [], 0
    for n_in, m in itertools.pairwise(sizes):
        layers.append((flat[at : at + m * n_in].reshape(m, n_in), flat[at + m * n_in : at + m * n_in + m]))
        at += m * (n_in + 1)
    return layers


def loss(flat, sizes, x, y):
    """Write the loss out with primitive operations on tensors."""
    out = x
    for number, (weight, bias) in enumerate(split(flat, sizes)):
        out = out @ weight.T + bias
        out = out if number == len(sizes) - 2 else out.clamp(min=0)
    return (torch.logsumexp(out, 1) - out[torch.arange(len(y)), y]).mean()


def tensors(weights, x, y):
    return torch.tensor(weights, dtype=torch.float64), torch.tensor(x, dtype=torch.float64), torch.tensor(y)


def dense_hessian(weights, sizes, x, y):
    w, x64, labels = tensors(weights, x, y)
    return torch.autograd.functional.hessian(lambda flat: loss(flat, sizes, x64, labels), w).numpy()


def dense_gradient(w, sizes, x64, labels):
    flat = w.clone().requires_grad_()
    return torch.autograd.grad(loss(flat, sizes, x64, labels), flat)[0]


def rescaled(weights, sizes, layer, factor):
    """Multiply a layer by a factor and divide the next layer's weight by it: the function stays."""
    layers = [(weight.copy(), bias.copy()) for weight, bias in split(weights.astype(np.float64), sizes)]
    layers[layer][0][:] *= factor
    layers[layer][1][:] *= factor
    layers[layer + 1][0][:] /= factor
    return np.concatenate([part.ravel() for pair in layers for part in pair])


def split_data(sizes=SIZES):
    weights, initial, x, y = small(sizes)
    _, _, x_test, y_test = small(sizes, 40, seed=1)
    return weights, initial, {"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}


# Spectrum


def test_spectrum_agrees_with_numpy():
    weights, initial, _, _ = small((6, 8, 5, 3))
    layers = diagnostics.spectrum(weights, initial, (6, 8, 5, 3))
    assert [(layer["layer"], layer["m"], layer["n"]) for layer in layers] == [(1, 8, 6), (2, 5, 8), (3, 3, 5)]
    oracle = zip(layers, split(weights, (6, 8, 5, 3)), split(initial, (6, 8, 5, 3)), strict=True)
    for layer, (matrix, _), (before, _) in oracle:
        s = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(layer["singular_values"], s, rtol=1e-12)
        np.testing.assert_allclose(
            layer["initial_singular_values"], np.linalg.svd(before.astype(np.float64), compute_uv=False), rtol=1e-12
        )
        frobenius = (matrix.astype(np.float64) ** 2).sum()
        assert layer["variance"] == pytest.approx(((s - s.mean()) ** 2).sum() / (len(s) - 1))
        assert layer["coefficient_of_variation"] ** 2 == pytest.approx(len(s) * frobenius / s.sum() ** 2 - 1)
        assert layer["stable_rank"] == pytest.approx(frobenius / np.linalg.norm(matrix.astype(np.float64), 2) ** 2)
        assert layer["ln_condition"] == pytest.approx(math.log(np.linalg.cond(matrix.astype(np.float64))))


def test_a_singular_matrix_has_a_finite_condition():
    weights = np.concatenate([np.diag([2.0, 1.0, 0.0]).ravel(), np.zeros(3)]).astype(np.float32)
    (layer,) = diagnostics.spectrum(weights, weights, (3, 3))
    assert layer["singular_values"] == [2, 1, 0]
    assert layer["variance"] == pytest.approx(1)
    assert layer["coefficient_of_variation"] == pytest.approx(math.sqrt(2 / 3))
    assert layer["stable_rank"] == pytest.approx(1.25)
    assert layer["ln_condition"] == pytest.approx(math.log(2**52 / 3))


def test_a_zero_initial_matrix_is_no_error_but_a_zero_trained_one_is():
    weights, _, _, _ = small()
    zero = np.zeros(P, np.float32)
    assert diagnostics.spectrum(weights, zero, SIZES)[0]["initial_singular_values"] == [0] * 4
    with pytest.raises(ValueError, match="weights of layer 1: got all zeros"):
        diagnostics.spectrum(zero, weights, SIZES)


def test_spectrum_refuses_a_single_singular_value():
    with pytest.raises(ValueError, match="singular values of layer 1: got 1"):
        diagnostics.spectrum(np.ones(4), np.ones(4), (3, 1))


# Curvature


@pytest.mark.parametrize("seed", range(3))
def test_top_eigenvalue_agrees_with_the_dense_hessian(seed):
    weights, _, x, y = small(seed=seed)
    expected = np.linalg.eigvalsh(dense_hessian(weights, SIZES, x, y))
    value, residual, n_products = diagnostics.top_eigenvalue(weights, SIZES, x, y, 1e-10, 3, torch.float64)
    assert value == pytest.approx(expected[-1], rel=1e-9)
    assert residual < 1e-8
    assert 2 < n_products < 1000
    single, single_residual, _ = diagnostics.top_eigenvalue(weights, SIZES, x, y, 1e-4, 3)
    assert single == pytest.approx(value, rel=1e-3)
    assert single_residual < 1e-3


def test_the_largest_and_not_the_widest_eigenvalue_is_found(monkeypatch):
    weights, _, x, y = small()
    eigenvalues = torch.linspace(-10, 2, P, dtype=torch.float64)
    monkeypatch.setattr(diagnostics, "_hessian_product", lambda *_: lambda vector: eigenvalues * vector)
    value, _, _ = diagnostics.top_eigenvalue(weights, SIZES, x, y, 1e-8, 0, torch.float64)
    assert value == pytest.approx(2)


def test_trace_lies_within_its_errors_of_the_dense_trace():
    weights, _, x, y = small()
    expected = np.trace(dense_hessian(weights, SIZES, x, y))
    mean, error = diagnostics.hessian_trace(weights, SIZES, x, y, 2000, 5)
    assert abs(mean - expected) < 4 * error
    assert error < 0.05 * expected


def test_standard_error_is_that_of_independent_probes():
    weights, _, x, y = small()
    hessian = dense_hessian(weights, SIZES, x, y)
    generator = np.random.default_rng(5)
    signs = np.array([generator.choice(np.array([-1, 1], np.float32), P) for _ in range(10)], np.float64)
    values = np.einsum("ki,ij,kj->k", signs, hessian, signs)
    mean, error = diagnostics.hessian_trace(weights, SIZES, x, y, 10, 5)
    assert mean == pytest.approx(values.mean(), rel=1e-5)
    assert error == pytest.approx(math.sqrt(((values - values.mean()) ** 2).sum() / 9 / 10), rel=1e-4)
    # Var(v' H v) of random signs is twice the sum of squares off the diagonal.
    _, many = diagnostics.hessian_trace(weights, SIZES, x, y, 2000, 6)
    off_diagonal = hessian - np.diag(np.diag(hessian))
    assert many == pytest.approx(math.sqrt(2 * (off_diagonal**2).sum() / 2000), rel=0.1)


def test_lanczos_that_does_not_converge_is_an_error(monkeypatch):
    """Softmax regression on isotropic features has no gap below its top eigenvalue."""
    weights, _, x, y = small((100, 2), n=2000)
    monkeypatch.setattr(diagnostics, "MAX_RESTARTS", 1)
    with pytest.raises(ValueError, match="top eigenvalue: got ArpackNoConvergence"):
        diagnostics.top_eigenvalue(weights, (100, 2), x, y, 1e-10, 0)


# Sharpness and noise


def test_adaptive_sharpness_agrees_with_a_loop():
    weights, _, x, y = small()
    w, x64, labels = tensors(weights, x, y)
    gradient = dense_gradient(w, SIZES, x64, labels)
    norm = math.sqrt(sum((float(a) * float(g)) ** 2 for a, g in zip(w, gradient, strict=True)))
    step = [0.2 * float(a) ** 2 * float(g) / norm for a, g in zip(w, gradient, strict=True)]
    expected = loss(w + torch.tensor(step, dtype=torch.float64), SIZES, x64, labels) - loss(w, SIZES, x64, labels)
    value = diagnostics.adaptive_sharpness(weights, SIZES, x, y, 0.2)
    assert value == pytest.approx(float(expected), rel=1e-9)
    assert value > 0


def test_adaptive_sharpness_is_zero_without_a_direction():
    _, _, x, y = small()
    assert diagnostics.adaptive_sharpness(np.zeros(P, np.float32), SIZES, x, y) == 0


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_relu_rescaling_moves_only_what_it_may_move(factor):
    weights, initial, x, y = small()
    moved = rescaled(weights, SIZES, 0, factor)
    w, x64, labels = tensors(weights, x, y)
    assert float(loss(torch.tensor(moved), SIZES, x64, labels)) == pytest.approx(float(loss(w, SIZES, x64, labels)))
    before, after = (diagnostics.spectrum(each, initial, SIZES) for each in (weights, moved))
    for one, other in zip(before, after, strict=True):
        assert other["ln_condition"] == pytest.approx(one["ln_condition"])
        assert other["coefficient_of_variation"] == pytest.approx(one["coefficient_of_variation"])
    assert after[0]["variance"] == pytest.approx(factor**2 * before[0]["variance"])
    sharpness = [diagnostics.adaptive_sharpness(each, SIZES, x, y) for each in (weights, moved)]
    assert sharpness[1] == pytest.approx(sharpness[0], rel=1e-9)
    tops = [diagnostics.top_eigenvalue(each, SIZES, x, y, 1e-6, 0, torch.float64)[0] for each in (weights, moved)]
    assert abs(math.log(tops[1] / tops[0])) > 0.1


def test_gradient_noise_agrees_with_a_loop_over_examples():
    sizes = (4, 5, 6, 3)
    weights, _, x, y = small(sizes)
    w, x64, labels = tensors(weights, x, y)
    gradients = torch.stack([dense_gradient(w, sizes, x64[[i]], labels[[i]]) for i in range(len(y))]).numpy()
    expected = np.trace(np.cov(gradients.T, bias=True))
    assert diagnostics.gradient_noise(weights, sizes, x, y) == pytest.approx(expected, rel=1e-9)
    assert diagnostics.gradient_noise(weights, sizes, x[:1], y[:1]) == pytest.approx(0, abs=1e-12)


def test_gradient_stability_pools_the_minibatches_of_the_last_epochs():
    norms = np.random.default_rng(0).gamma(3, size=(7, 25))
    means, sds = norms.mean(1), norms.std(1)
    last = norms[-5:].ravel()
    assert diagnostics.gradient_stability(means, sds, 5) == pytest.approx(math.log(last.std() / last.mean()))
    everything = math.log(norms.std() / norms.mean())
    assert diagnostics.gradient_stability(means.tolist(), sds.tolist(), 10) == pytest.approx(everything)


@pytest.mark.parametrize(
    ("means", "sds", "last", "message"),
    [
        ([], [], 5, "gradient norms: got shapes"),
        ([1, 2], [1], 5, "gradient norms: got shapes"),
        ([1, 2], [1, 1], 0, "last_epochs: got 0"),
        ([1, -1], [1, 1], 5, "mean gradient norms"),
        ([1, math.nan], [1, 1], 5, "mean gradient norms"),
        ([1, None], [1, 1], 5, "mean gradient norms"),
        ([1, 1], [1, -1], 5, "gradient norm deviations"),
        ([1, 1], [1, math.inf], 5, "gradient norm deviations"),
        ([2, 2], [0, 0], 5, "norms that do not vary"),
        ([0, 0], [0, 0], 5, "norms that do not vary"),
    ],
)
def test_gradient_stability_refuses(means, sds, last, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.gradient_stability(means, sds, last)


# Calibration


def test_calibration_error_by_hand():
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 1])
    # two bins: all in (0.5, 1]: mean confidence 2.85 / 4, accuracy 3 / 4
    assert diagnostics.calibration_error(probabilities, labels, 2) == pytest.approx(0.75 - 0.7125)
    # five bins: 0.55, 0.6 in (0.4, 0.6]; 0.8 in (0.6, 0.8]; 0.9 in (0.8, 1]
    expected = (2 * (1 - 0.575) + 0.8 + 0.1) / 4
    assert diagnostics.calibration_error(probabilities, labels, 5) == pytest.approx(expected)


def test_calibration_is_perfect_or_hopeless():
    certain = np.eye(3)
    assert diagnostics.calibration_error(certain, np.arange(3)) == 0
    assert diagnostics.calibration_error(certain, np.array([1, 2, 0])) == 1


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
def test_calibration_error_refuses(probabilities, labels, bins, message):
    with pytest.raises(ValueError, match=message):
        diagnostics.calibration_error(probabilities, labels, bins)


# All together


def test_measure_holds_what_the_functions_give():
    weights, initial, data = split_data()
    x, y = data["x_train"], data["y_train"]
    result = diagnostics.measure(weights, initial, SIZES, data, probes=8, tolerance=1e-4, seed=7)
    links = diagnostics.links(weights, initial, SIZES, x, y, 1e-4, 7)
    assert {name: result[name] for name in links} == links
    assert result["layers"] == diagnostics.spectrum(weights, initial, SIZES)
    assert result["conditioning"] == pytest.approx(np.mean([layer["ln_condition"] for layer in result["layers"]]))
    assert result["smoothness"] == pytest.approx(
        math.log(np.linalg.eigvalsh(dense_hessian(weights, SIZES, x, y))[-1]), abs=1e-3
    )
    top = diagnostics.top_eigenvalue(weights, SIZES, x, y, 1e-4, derive("hessian_start", 7))
    assert (result["hessian_top"], result["hessian_residual"]) == top[:2]
    trace = diagnostics.hessian_trace(weights, SIZES, x, y, 8, derive("hessian_probes", 7))
    assert (result["hessian_trace"], result["hessian_trace_se"]) == trace
    assert result["adaptive_sharpness"] == diagnostics.adaptive_sharpness(weights, SIZES, x, y)
    assert result["gradient_noise_trace"] == diagnostics.gradient_noise(weights, SIZES, x, y)
    for name in ("train", "test"):
        expected = loss(
            *tensors(weights, data[f"x_{name}"], data[f"y_{name}"])[:1],
            SIZES,
            *tensors(weights, data[f"x_{name}"], data[f"y_{name}"])[1:],
        )
        assert result[f"{name}_loss"] == pytest.approx(float(expected), rel=1e-12)
    assert result["train_test_gap"] == result["test_loss"] - result["train_loss"]
    assert 0 < result["calibration_error"] < 1
    json.dumps(result, allow_nan=False)


def in_a_process(path):
    """Measure in a fresh interpreter."""
    code = (
        "import json, sys, numpy as np; from svvr import diagnostics\n"
        "with np.load(sys.argv[1]) as file: data = dict(file)\n"
        "w, i = data.pop('weights'), data.pop('initial')\n"
        "print(json.dumps(diagnostics.measure(w, i, (20, 30, 5), data, probes=4, tolerance=1e-3, seed=1)))"
    )
    source = Path(diagnostics.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(source)}
    return subprocess.run(
        [sys.executable, "-c", code, path], env=environment, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_the_same_bytes_again_in_threads_and_in_other_processes(tmp_path):
    weights, initial, data = split_data((20, 30, 5))
    np.savez(tmp_path / "case.npz", weights=weights, initial=initial, **data)

    def once(_):
        measured = diagnostics.measure(weights, initial, (20, 30, 5), data, probes=4, tolerance=1e-3, seed=1)
        return json.dumps(measured)

    with ThreadPoolExecutor(2) as pool:
        texts = [*pool.map(once, range(2)), *pool.map(in_a_process, [tmp_path / "case.npz"] * 2)]
    assert {once(0), *texts} == {texts[0]}


def test_the_seed_moves_only_the_random_figures():
    weights, initial, data = split_data()
    one, other = (
        diagnostics.measure(weights, initial, SIZES, data, probes=4, tolerance=1e-4, seed=seed) for seed in (1, 2)
    )
    assert one["hessian_trace"] != other["hessian_trace"]
    assert one["hessian_top"] == pytest.approx(other["hessian_top"], rel=1e-4)
    assert one["adaptive_sharpness"] == other["adaptive_sharpness"]


def test_inputs_stay_as_they_were():
    weights, initial, data = split_data()
    arrays = [weights, initial, *data.values()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    diagnostics.measure(weights, initial, SIZES, data, probes=2, tolerance=1e-2, seed=0)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": (4,)}, "sizes: got"),
        ({"sizes": (4, 0, 3)}, "sizes: got"),
        ({"weights": np.zeros(P - 1, np.float32)}, r"weights: got shape \(42,\), expected \(43,\)"),
        ({"weights": np.full(P, np.nan, np.float32)}, "weights: got values that are not finite"),
        ({"x": np.zeros((60, 5), np.float32)}, "x: got shape"),
        ({"x": np.zeros(4, np.float32)}, "x: got shape"),
        ({"x": np.zeros((0, 4), np.float32)}, "x: got shape"),
        ({"y": np.zeros(59, int)}, "y: got int64"),
        ({"y": np.full(60, 3)}, "y: got labels 3 to 3"),
    ],
)
def test_a_model_and_its_data_must_fit(change, message):
    weights, _, x, y = small()
    case = {"weights": weights, "sizes": SIZES, "x": x, "y": y} | change
    with pytest.raises(ValueError, match=message):
        diagnostics.gradient_noise(**case)


def test_knobs_out_of_range_are_errors():
    weights, initial, x, y = small()
    for tolerance in (0, -1, 1, math.nan):
        with pytest.raises(ValueError, match="tolerance: got"):
            diagnostics.top_eigenvalue(weights, SIZES, x, y, tolerance, 0)
    for radius in (0, -1, math.inf, math.nan):
        with pytest.raises(ValueError, match="radius: got"):
            diagnostics.adaptive_sharpness(weights, SIZES, x, y, radius)
    with pytest.raises(ValueError, match="probes: got 1"):
        diagnostics.hessian_trace(weights, SIZES, x, y, 1, 0)
    with pytest.raises(ValueError, match="initial: got shape"):
        diagnostics.spectrum(weights, initial[1:], SIZES)


def test_a_curvature_without_a_logarithm_is_an_error(monkeypatch):
    weights, initial, x, y = small()
    monkeypatch.setattr(diagnostics, "top_eigenvalue", lambda *_: (-1.0, 0.0, 1))
    with pytest.raises(ValueError, match=r"hessian_top: got -1\.0"):
        diagnostics.links(weights, initial, SIZES, x, y, 1e-3, 0)


def test_measure_names_what_is_not_finite(monkeypatch):
    weights, initial, data = split_data()
    monkeypatch.setattr(diagnostics, "gradient_noise", lambda *_: math.inf)
    with pytest.raises(ValueError, match="gradient_noise_trace: got inf"):
        diagnostics.measure(weights, initial, SIZES, data, probes=2, tolerance=1e-2, seed=0)


def test_float32_products_give_the_eigenvalue_of_float64_on_the_real_network() -> None:
    sizes = (40, 128, 128, 10)
    rng = np.random.default_rng(0)
    weights = np.concatenate(
        [rng.uniform(-1, 1, (n_in + 1) * n_out) / np.sqrt(n_in) for n_in, n_out in itertools.pairwise(sizes)]
    ).astype(np.float32)
    x, y = rng.normal(size=(500, 40)).astype(np.float32), np.arange(500) % 10
    single, double = (
        diagnostics.top_eigenvalue(weights, sizes, x, y, 1e-3, 0, dtype=dtype)
        for dtype in (torch.float32, torch.float64)
    )
    assert single[0] == pytest.approx(double[0], rel=1e-5)
    assert max(single[1], double[1]) < 1e-3
