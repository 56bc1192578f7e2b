"""The profile of the default run sees every part that it names."""

import pandas as pd
import pytest

from benchmarks import parts
from svvr.core.files import Arrays
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.learn.work import WORK
from svvr.measure.unit import Measurement
from svvr.measure.work import WORK as MEASURE

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


def test_the_table_adds_up() -> None:
    found = pd.DataFrame({stage: {"starts": 6.0, "training": 60.0} for stage in parts.STAGES})
    *_, training, starts, total = parts.table(found).splitlines()
    assert training.split() == ["training", *["1.00"] * 6, "4.00", "10.00", "90.9%"]
    assert starts.split()[-2:] == ["1.00", "9.1%"] and total.split()[-2:] == ["11.00", "100.0%"]
