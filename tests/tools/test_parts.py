"""The profile of the default run sees every part that it names."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import parts
from svvr.core.files import Arrays
from svvr.core.params import load
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.learn.work import WORK
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE

ROOT = Path(__file__).parents[2]
RUN = Run(0, 0.01, hidden=(8, 7), epochs=2, batch_size=32)
TRAINING = {"training", "evaluation", "batches and curves", "keys and cache"}


@pytest.fixture
def data(tiny_data: Arrays) -> Arrays:
    return tiny_data | {f"{axis}_test": tiny_data[f"{axis}_validation"] for axis in "xy"}


@pytest.mark.parametrize(
    "penalty,expected",
    [
        ("none", TRAINING),
        ("sv_variance", TRAINING | {"penalty"}),
        ("activation_decorrelation", TRAINING | {"penalty"}),
    ],
)
def test_a_training_has_its_parts(penalty: str, expected: set[str], data: Arrays) -> None:
    run = Run(0, 0.01, penalty=penalty, strength=0.1 * (penalty != "none"), hidden=(8, 7), epochs=2, batch_size=32)
    found = parts.profiled([run, run], WORK, data)
    assert {part for part, seconds in found.items() if seconds > 0} == expected
    assert found.min() >= 0


def test_a_measurement_has_its_parts(data: Arrays) -> None:
    (trained,) = train([RUN], data)
    found = parts.profiled([Measurement(0, trained.weights, RUN.hidden, 1e-2, 2)], MEASURE, data)
    assert {part for part, seconds in found.items() if seconds > 0} == {
        "Hessian products",
        "other measures",
        "keys and cache",
    }


def test_each_stage_has_its_parts(monkeypatch: pytest.MonkeyPatch, data: Arrays) -> None:
    monkeypatch.setattr(parts, "start", lambda stage: 60.0)
    params = load(ROOT / "params.yaml")
    once = params.training.model_copy(update={"epochs": 1, "batch_size": 32})
    params = params.model_copy(update={"training": once, "model": params.model.model_copy(update={"hidden": [8, 7]})})
    found = parts.of_stages(parts.Costs(params, data, n_runs=2, n_measured=1)).fillna(0)
    n_arms = len(params.arms)
    seconds = found.T.to_dict()
    assert seconds["starts"] == {stage: 60 * (n_arms if stage in parts.OF_ARM else 1) for stage in parts.STAGES}
    where = {part: {stage for stage, each in of.items() if each > 0} for part, of in seconds.items()}
    assert where["training"] == {*parts.LONG} - {"diagnose"} and where["search"] == {"tune"}
    assert where["Hessian products"] == {"diagnose", "dose_response"}
    assert seconds["penalty"]["budget"] > seconds["penalty"]["train"] > 0  # of more runs


def test_the_table_adds_up() -> None:
    found = pd.DataFrame({stage: {"starts": 6.0, "training": 60.0} for stage in parts.STAGES})
    *_, training, starts, total = parts.table(found).splitlines()
    assert training.split() == ["training", *["1.00"] * 6, "4.00", "10.00", "90.9%"]
    assert starts.split()[-2:] == ["1.00", "9.1%"] and total.split()[-2:] == ["11.00", "100.0%"]
