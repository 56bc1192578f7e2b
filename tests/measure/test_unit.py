"""Measurements as units, and the dose-response curves."""

import math

import numpy as np
import pytest
from scipy import stats

from svvr.core.files import Arrays, array_hash
from svvr.core.seeds import derive
from svvr.judge import dose as dose_response
from svvr.learn import train as training
from svvr.learn.model import initial_weights
from svvr.measure import unit as diagnosis
from svvr.run.evaluate import unit_key

RUN = {
    "study": 1, "seed": 5, "initial_weights": "ab", "gradient_norm_mean": [9.0, 2.0, 2.0],
    "gradient_norm_sd": [9.0, 0.5, 0.5],
    "gradient_cosine": [0.9, 0.1, None],
}  # fmt: skip


@pytest.fixture
def data(tiny_data: Arrays) -> Arrays:
    return tiny_data | {"x_test": tiny_data["x_validation"], "y_test": tiny_data["y_validation"]}


def unit(tiny_data: Arrays, probes: int) -> diagnosis.Measurement:
    run = training.Run(seed=5, lr=0.01, hidden=(8, 7), epochs=3, batch_size=32)
    weights = training.train([run], tiny_data)[0]["weights"]
    return diagnosis.Measurement(5, weights, (8, 7), 1e-3, probes)


def test_a_measurement_is_complete_and_the_same_twice(data: Arrays) -> None:
    one, two = (diagnosis.measure([unit(data, 4)], data)[0] for _ in range(2))
    assert one["record"].tobytes() == two["record"].tobytes()
    record = diagnosis.record(RUN, diagnosis.measured(one), 2)
    for name in (*diagnosis.MEANS, "hessian_top", "hessian_trace_se", "gradient_noise_trace", "adaptive_sharpness"):
        assert math.isfinite(record[name]), name
    assert [layer["m"] for layer in record["layers"]] == [8, 7, 3]
    start = initial_weights((6, 8, 7, 3), derive("initial_weights", 5))[:48].view(8, 6)
    expected = np.linalg.svd(start.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(record["layers"][0]["initial_singular_values"], expected, rtol=1e-6)


def test_the_short_measurement_gives_the_same_links(data: Arrays) -> None:
    full, short = (diagnosis.measured(diagnosis.measure([unit(data, n)], data)[0]) for n in (4, 0))
    assert {name: full[name] for name in short} == short and set(short) == {"conditioning", "smoothness"}


def test_other_weights_are_another_unit(data: Arrays) -> None:
    one = unit(data, 4)
    other = diagnosis.Measurement(one.seed, one.weights + 1, one.hidden, one.tolerance, one.probes)
    assert unit_key(one, diagnosis.WORK.modules(one), data) != unit_key(other, diagnosis.WORK.modules(other), data)


def test_gradient_figures_are_those_of_the_last_epochs() -> None:
    figures = diagnosis.gradient_figures(RUN, 2)
    assert figures["gradient_stability"] == pytest.approx(math.log(0.25))
    assert figures["gradient_cosine"] == 0.1
    assert diagnosis.gradient_figures(RUN | {"gradient_cosine": [None] * 3}, 2)["gradient_cosine"] is None


def test_the_first_seeds_of_each_study_with_their_places() -> None:
    runs = [{"study": study, "seed": seed} for study in (0, 1) for seed in (3, 1, 2)]
    assert [(place, run["seed"]) for place, run in diagnosis.first_seeds(runs, 2)] == [(0, 3), (1, 1), (3, 3), (4, 1)]


def test_a_failed_run_keeps_its_place_without_figures() -> None:
    record = diagnosis.record(RUN, None, 2)
    assert record["seed"] == 5 and all(record[name] is None for name in diagnosis.MEANS)
    assert diagnosis.summary([record]) == {"n_runs": 1, **dict.fromkeys(diagnosis.MEANS)}
    good = record | dict.fromkeys(diagnosis.MEANS, 2.0)
    assert diagnosis.summary([record, good]) == {"n_runs": 2, **dict.fromkeys(diagnosis.MEANS, 2.0)}


def test_dose_response_curves_are_t_intervals() -> None:
    rng = np.random.default_rng(0)
    runs = [
        {"strength": strength, "seed": seed, **{name: rng.normal(strength) for name in dose_response.FIGURES}}
        for strength in (0.0, 1.0)
        for seed in range(5)
    ]
    curves = dose_response.curves(runs, [0.0, 1.0])
    values = [run["smoothness"] for run in runs if run["strength"] == 1.0]
    low, high = stats.t.interval(0.95, 4, np.mean(values), stats.sem(values))
    assert curves["smoothness"]["mean"][1] == pytest.approx(np.mean(values))
    assert (curves["smoothness"]["ci_low"][1], curves["smoothness"]["ci_high"][1]) == pytest.approx((low, high))
    runs[7] |= dict.fromkeys(dose_response.FIGURES)  # a failed run of strength 1
    curves = dose_response.curves(runs, [0.0, 1.0])
    for figure in dose_response.FIGURES:
        assert curves[figure]["mean"][0] is not None and curves[figure]["ci_low"][0] is not None
        assert [curves[figure][name][1] for name in ("mean", "ci_low", "ci_high")] == [None] * 3


def test_weights_of_other_runs_are_refused() -> None:
    weights = np.arange(10, dtype=np.float32).reshape(2, 5)
    runs = [{"study": 0, "seed": seed, "weights": array_hash(row)} for seed, row in zip((3, 4), weights, strict=True)]
    assert diagnosis.weights_of(runs, {"weights": weights}) is weights
    for other in (weights[:1], weights.astype(np.float64), weights.ravel()):
        with pytest.raises(ValueError, match="weights: got"):
            diagnosis.weights_of(runs, {"weights": other})
    with pytest.raises(ValueError, match="weights of study 0, seed 3: got others than the train record's"):
        diagnosis.weights_of(runs, {"weights": weights[::-1]})


def test_a_model_without_what_is_measured_says_why(data: Arrays) -> None:
    one = unit(data, 4)
    dead = diagnosis.Measurement(one.seed, np.zeros_like(one.weights), one.hidden, one.tolerance, one.probes)
    measurement = diagnosis.measured(diagnosis.measure([dead], data)[0])
    assert list(measurement) == ["reason"]
    record = diagnosis.record(RUN, measurement, 2)
    assert record["reason"] == measurement["reason"] and record["layers"] == []
    assert all(record[name] is None for name in diagnosis.MEANS)
    still = RUN | {"gradient_norm_mean": [1.0] * 3, "gradient_norm_sd": [0.0] * 3}
    alive = diagnosis.measured(diagnosis.measure([one], data)[0])
    assert "norms that do not vary" in diagnosis.record(still, alive, 2)["reason"]
    assert diagnosis.record(RUN, None, 2)["reason"] == "the run failed"
