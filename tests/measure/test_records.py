"""Which runs are measured, and their records."""

import math
from typing import Any

import numpy as np
import pytest

from svvr.core.files import Arrays, array_hash
from svvr.core.params import Diagnose
from svvr.measure import records
from svvr.measure.unit import Measured, measure
from tests.measure.problems import measurement, small_data

RUN = {
    "study": 1, "seed": 5, "initial_weights": "ab", "gradient_norm_mean": [9.0, 2.0, 2.0],
    "gradient_norm_sd": [9.0, 0.5, 0.5],
    "gradient_cosine": [0.9, 0.1, None],
}  # fmt: skip
STILL = RUN | {"gradient_norm_mean": [1.0] * 3, "gradient_norm_sd": [0.0] * 3}
FAILED = Measured(None, "the run failed")


SETTINGS = Diagnose.model_validate({"seeds": 2, "probes": 3, "tolerance": 1e-3, "last_epochs": 2})


def trained(n_seeds: int = 3) -> tuple[list[dict[str, Any]], Arrays]:
    """Return the runs of two studies and their weights; the second failed."""
    weights = np.arange(2 * n_seeds * 5, dtype=np.float32).reshape(-1, 5)
    keys = [(study, seed) for study in (0, 1) for seed in (3, 1, 2)[:n_seeds]]
    runs = [
        {"study": study, "seed": seed, "state": "complete", "weights": array_hash(row)}
        for (study, seed), row in zip(keys, weights, strict=True)
    ]
    runs[1]["state"] = "failed"
    return runs, {"weights": weights}


def test_the_first_seeds_of_each_study_in_the_record_s_order() -> None:
    runs, _ = trained()
    assert records.first_seeds(runs, 2) == [0, 1, 3, 4]
    assert records.first_seeds(runs, 9) == [0, 1, 2, 3, 4, 5]


def test_the_chosen_runs_come_with_their_own_weights_and_settings() -> None:
    runs, arrays = trained()
    chosen, units = records.chosen(runs, arrays, (8, 7), SETTINGS)
    assert chosen == [runs[place] for place in (0, 1, 3, 4)]
    assert [unit.seed for unit in units] == [3, 1, 3, 1]
    assert {(unit.hidden, unit.tolerance, unit.probes) for unit in units} == {((8, 7), 1e-3, 3)}
    assert units[1].weights is None
    for place, unit in ((0, units[0]), (3, units[2]), (4, units[3])):
        assert unit.weights is not None
        np.testing.assert_array_equal(unit.weights, arrays["weights"][place])


def test_weights_of_other_runs_are_refused() -> None:
    runs, arrays = trained()
    weights = arrays["weights"]
    assert records.weights_of(runs, arrays) is weights
    for other in (weights[:1], weights.astype(np.float64), weights.ravel()):
        with pytest.raises(ValueError, match="weights: got"):
            records.weights_of(runs, {"weights": other})
    with pytest.raises(ValueError, match="weights of study 0, seed 3: got others than the train record's"):
        records.chosen(runs, {"weights": weights[::-1]}, (8, 7), SETTINGS)


def test_a_record_holds_its_keys_in_order_and_finite_figures() -> None:
    (measured,) = measure([measurement()], small_data())
    record = records.record(RUN, measured, 2)
    keys = (
        "study seed initial_weights conditioning smoothness gradient_stability gradient_cosine hessian_top "
        "hessian_residual hessian_trace hessian_trace_se adaptive_sharpness gradient_noise_trace calibration_error "
        "train_loss test_loss train_test_gap layers"
    )
    assert list(record) == keys.split()
    assert {name: record[name] for name in ("study", "seed", "initial_weights")} == {
        "study": 1,
        "seed": 5,
        "initial_weights": "ab",
    }
    assert all(math.isfinite(record[name]) for name in keys.split()[3:-1])
    assert record["gradient_stability"] == pytest.approx(math.log(0.25))
    assert record["gradient_cosine"] == 0.1
    assert [layer["m"] for layer in record["layers"]] == [5, 3]
    assert set(records.MEANS) < set(record)
    assert records.links(RUN, measured, 2) == {name: record[name] for name in records.LINKS}


def test_links_need_no_more_than_the_short_measurement() -> None:
    full, short = (measure([measurement(probes=n)], small_data())[0] for n in (4, 0))
    assert records.links(RUN, short, 2) == records.links(RUN, full, 2)


@pytest.mark.parametrize(
    ("run", "measured", "reason"),
    [
        (RUN, FAILED, "the run failed"),
        (RUN, Measured(None, "weights of layer 1: got all zeros"), "weights of layer 1: got all zeros"),
        (
            STILL,
            Measured({"conditioning": 1.0, "smoothness": 2.0}),
            "gradient norms: got norms that do not vary, expected a deviation above 0",
        ),
    ],
)
def test_a_run_that_cannot_be_measured_keeps_its_place_with_the_reason(
    run: dict[str, Any], measured: Measured, reason: str
) -> None:
    key = {"study": 1, "seed": 5, "initial_weights": "ab"}
    none = dict.fromkeys((*records.MEANS, "gradient_cosine"))
    assert records.record(run, measured, 2) == {**key, **none, "layers": [], "reason": reason}
    assert records.links(run, measured, 2) == {**dict.fromkeys(records.LINKS), "reason": reason}
