"""Measurements on an executor, with the result cache."""

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from svvr.measure.unit import measure
from svvr.measure.work import WORK
from svvr.run import code
from svvr.run.evaluate import evaluate, unit_keys
from tests.measure.problems import measurement, small_data


class Idle(Executor):
    """An executor that must not be asked for anything."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        pytest.fail("computed again")


def test_results_are_those_of_measure_and_come_back_from_the_cache(tmp_path: Path) -> None:
    units = [measurement(), dataclasses.replace(measurement(), weights=None), measurement(probes=0)]
    expected = measure(units, small_data())
    with ThreadPoolExecutor(1) as executor:
        assert evaluate(units, WORK, small_data(), executor, tmp_path) == expected
    assert repr(evaluate(units, WORK, small_data(), Idle(), tmp_path)) == repr(expected)


def test_each_setting_and_each_weight_makes_another_unit() -> None:
    one = measurement()
    assert one.weights is not None
    moved = one.weights.copy()
    moved[-1] += 1
    changes: list[dict[str, Any]] = [
        {}, {"seed": 8}, {"weights": moved}, {"weights": None}, {"hidden": (5, 1)}, {"tolerance": 1e-3}, {"probes": 9}
    ]  # fmt: skip
    units = [dataclasses.replace(one, **change) for change in changes]
    assert len(set(unit_keys(units, WORK, small_data()))) == len(changes)


def test_a_unit_s_code_is_what_computes_it_and_not_how_it_is_run_or_recorded() -> None:
    files = set(code.of_unit(WORK.code(measurement())))
    rooms = {f"svvr/measure/{name}.py" for name in ("unit", "network", "spectrum", "hessian", "sharpness", "gradients")}
    assert rooms | {"svvr/measure/calibration.py", "svvr/learn/model.py", "svvr/core/seeds.py"} <= files
    assert not [name for name in files if name.startswith("svvr/run/")]
    assert not {"svvr/measure/records.py", "svvr/core/params.py", "svvr/learn/train.py"} & files
