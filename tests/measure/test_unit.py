"""The measurement of a trained run: what it holds, that its bytes are its own, and why it may hold nothing."""

import dataclasses
import json
import math
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from svvr.core.files import Arrays, arrays_from, npz_bytes
from svvr.core.seeds import derive
from svvr.learn.model import initial_weights
from svvr.measure import gradients, hessian, spectrum
from svvr.measure.sharpness import adaptive_sharpness
from svvr.measure.unit import Measured, Measurement, measure
from tests.measure import problems
from tests.measure.problems import SIZES, measurement, small_data


def figures(unit: Measurement, data: Arrays) -> dict[str, object]:
    (measured,) = measure([unit], data)
    assert measured.figures is not None and measured.reason is None
    return measured.figures


def reason(unit: Measurement, data: Arrays) -> str:
    (measured,) = measure([unit], data)
    assert measured.figures is None and measured.reason is not None
    return measured.reason


def test_a_measurement_holds_what_the_functions_give() -> None:
    data, unit = small_data(), measurement()
    weights, x, y = problems.small()[0], data["x_train"], data["y_train"]
    found = figures(unit, data)
    layers = spectrum.spectra(weights, initial_weights(SIZES, derive("initial_weights", 7)).numpy(), SIZES)
    assert found["layers"] == layers
    assert found["conditioning"] == pytest.approx(np.mean([layer["ln_condition"] for layer in layers]))
    top = np.linalg.eigvalsh(problems.dense_hessian(weights, SIZES, x, y))[-1]
    assert found["smoothness"] == pytest.approx(math.log(top), abs=1e-3)
    value, residual, _ = hessian.top_eigenvalue(weights, SIZES, x, y, 1e-4, derive("hessian_start", 7))
    assert (found["hessian_top"], found["hessian_residual"]) == (value, residual)
    trace = hessian.trace(weights, SIZES, x, y, 8, derive("hessian_probes", 7))
    assert (found["hessian_trace"], found["hessian_trace_se"]) == trace
    assert found["adaptive_sharpness"] == adaptive_sharpness(weights, SIZES, x, y)
    assert found["gradient_noise_trace"] == gradients.noise_trace(weights, SIZES, x, y)
    losses = {}
    for name in ("train", "test"):
        flat, features, labels = problems.tensors(weights, data[f"x_{name}"], data[f"y_{name}"])
        losses[name] = float(problems.loss(flat, SIZES, features, labels))
        assert found[f"{name}_loss"] == pytest.approx(losses[name], rel=1e-12)
    assert found["train_test_gap"] == pytest.approx(losses["test"] - losses["train"], rel=1e-9)
    assert isinstance(found["calibration_error"], float) and 0 < found["calibration_error"] < 1


def test_the_initial_spectrum_is_that_of_the_run_s_own_start() -> None:
    (measured,) = measure([measurement()], small_data())
    assert measured.figures is not None
    start = initial_weights(SIZES, derive("initial_weights", 7))[:20].view(5, 4)
    expected = np.linalg.svd(start.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(measured.figures["layers"][0]["initial_singular_values"], expected, rtol=1e-6)


def test_the_short_measurement_gives_the_same_links() -> None:
    full, short = (figures(measurement(probes=n), small_data()) for n in (4, 0))
    assert {name: full[name] for name in short} == short and set(short) == {"conditioning", "smoothness"}


def test_the_short_measurement_needs_no_test_split() -> None:
    development = {name: array for name, array in small_data().items() if name.endswith("train")}
    assert figures(measurement(probes=0), development) == figures(measurement(probes=0), small_data())


def test_the_seed_moves_only_the_random_figures() -> None:
    (one,), (other,) = (measure([measurement(seed=seed)], small_data()) for seed in (1, 2))
    assert one.figures is not None and other.figures is not None
    assert one.figures["hessian_trace"] != other.figures["hessian_trace"]
    assert one.figures["hessian_top"] == pytest.approx(other.figures["hessian_top"], rel=1e-4)
    assert one.figures["adaptive_sharpness"] == other.figures["adaptive_sharpness"]


def test_inputs_stay_as_they_were() -> None:
    data, unit = small_data(), measurement()
    assert unit.weights is not None
    arrays = [unit.weights, *data.values()]
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    figures(unit, data)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def in_a_process(path: Path, threads: int) -> str:
    """Measure in a fresh interpreter, in which BLAS and torch may use so many threads."""
    code = (
        "import pickle, sys; from pathlib import Path; from svvr.measure.unit import measure\n"
        "from threadpoolctl import threadpool_info\n"
        "print(measure(*pickle.loads(Path(sys.argv[1]).read_bytes()))[0].arrays()['measured'])\n"
        "assert {pool['num_threads'] for pool in threadpool_info()} == {1}"  # for whoever measures in another thread
    )
    source = Path(spectrum.__file__).parents[2]
    variables = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "OPENBLAS", "MKL")}
    environment = os.environ | variables | {"PYTHONPATH": str(source)}
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.mark.slow
def test_the_same_bytes_in_threads_and_in_processes_with_more_of_them(tmp_path: Path) -> None:
    sizes = (40, 128, 128, 10)  # vectors long enough for BLAS to share them out
    data = small_data(sizes)
    unit = Measurement(1, initial_weights(sizes, 3).numpy(), (128, 128), 1e-3, 2)
    case = tmp_path / "case.pickle"
    case.write_bytes(pickle.dumps(([unit], data)))
    with ThreadPoolExecutor(2) as pool:
        texts = [str(each.arrays()["measured"]) for (each,) in pool.map(lambda _: measure([unit], data), range(2))]
    texts += [in_a_process(case, threads) for threads in (1, 4)]
    assert "layers" in texts[0] and len(set(texts)) == 1


def test_units_do_not_touch_each_other() -> None:
    units = [measurement(seed=seed) for seed in (1, 2)]
    assert measure(units, small_data()) == [*measure(units[:1], small_data()), *measure(units[1:], small_data())]


def dead(unit: Measurement) -> Measurement:
    return dataclasses.replace(unit, weights=np.zeros(problems.P, np.float32))


def exploded(unit: Measurement) -> Measurement:
    return dataclasses.replace(unit, weights=problems.small()[0] * np.float32(1e30))


@pytest.mark.parametrize("probes", [0, 4])
def test_a_model_without_what_is_measured_says_why(probes: int) -> None:
    unit = measurement(probes=probes)
    assert reason(dead(unit), small_data()) == "weights of layer 1: got all zeros, expected a matrix of rank 1 or more"
    assert reason(exploded(unit), small_data()).startswith("top eigenvalue: got ArpackError")
    assert reason(dataclasses.replace(unit, weights=None), small_data()) == "the run failed"


@pytest.mark.parametrize("probes", [0, 4])
def test_a_top_eigenvalue_that_is_not_positive_is_a_reason(monkeypatch: pytest.MonkeyPatch, probes: int) -> None:
    monkeypatch.setattr(hessian, "top_eigenvalue", lambda *_: (-1.0, 0.0, 1))
    assert reason(measurement(probes=probes), small_data()).startswith("hessian_top: got -1.0")


def test_what_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "noise_trace", lambda *_: math.inf)
    assert reason(measurement(), small_data()) == "gradient_noise_trace: got inf, expected a finite number"
    monkeypatch.setattr(hessian, "top_eigenvalue", lambda *_: (math.inf, 0.0, 1))
    assert reason(measurement(probes=0), small_data()) == "smoothness: got inf, expected a finite number"


def test_weights_that_do_not_fit_the_data_are_an_error() -> None:
    unit = dataclasses.replace(measurement(), weights=np.zeros(problems.P - 1, np.float32))
    with pytest.raises(ValueError, match="weights: got shape"):
        measure([unit], small_data())


@pytest.mark.parametrize(
    "measured",
    [
        Measured({"loss": 0.1 + 0.2, "small": 5e-324, "zero": -0.0, "layers": [{"layer": 1, "values": [1 / 3, 2.0]}]}),
        Measured(None, "weights of layer 1: got \u03b1"),
    ],
)
def test_a_result_survives_the_cache_bit_for_bit(measured: Measured, tmp_path: Path) -> None:
    kept = Measured.from_arrays(arrays_from(npz_bytes(measured.arrays()), tmp_path))
    assert repr(kept) == repr(measured)
    assert pickle.loads(pickle.dumps(kept)) == kept


def test_a_measured_result_survives_the_cache_bit_for_bit(tmp_path: Path) -> None:
    (measured,) = measure([measurement()], small_data())
    assert repr(Measured.from_arrays(arrays_from(npz_bytes(measured.arrays()), tmp_path))) == repr(measured)
    json.dumps(measured.figures, allow_nan=False)


def test_a_figure_that_is_not_finite_is_never_kept() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Measured({"loss": math.nan}).arrays()
