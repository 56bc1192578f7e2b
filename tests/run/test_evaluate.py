"""Units of work: order, chunks, and a cache that is never believed blindly."""

import logging
import os
import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from svvr.core.files import Arrays
from svvr.run import cache, cluster, code
from svvr.run import evaluate as module
from svvr.run.evaluate import Work, compute, evaluate, session, unit_keys, workers


@dataclass(frozen=True)
class Square:
    value: int
    kind: str = "a"
    nested: object = None


@dataclass(frozen=True)
class Number:
    value: int

    def arrays(self) -> Arrays:
        return {"value": np.array(self.value)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Number":
        return cls(int(arrays["value"]))


calls: list[list[int]] = []


def square(units: Sequence[Square], data: Arrays) -> list[Number]:
    calls.append([unit.value for unit in units])
    return [Number(int(unit.value**2 + data["offset"])) for unit in units]


def work(*modules: str) -> Work[Square, Number]:
    return Work(square, Number, lambda unit: modules, lambda unit: unit.kind, lambda _: 3)


WORK = work("svvr.core.seeds")
DATA: Arrays = {"offset": np.array(10)}


def results(units: Sequence[Square], folder: Path | None = None, data: Arrays = DATA) -> list[int]:
    calls.clear()
    with ThreadPoolExecutor(2) as executor:
        return [each.value for each in evaluate(units, WORK, data, executor, folder)]


UNITS = [Square(5), Square(1, "b"), Square(7), Square(2), Square(3, "b"), Square(4), Square(6), Square(8)]


def test_results_come_in_the_order_of_units_and_stacks_hold_like_units() -> None:
    assert results(UNITS) == [unit.value**2 + 10 for unit in UNITS]
    kinds = {unit.value: unit.kind for unit in UNITS}
    assert all(len({kinds[value] for value in call}) == 1 and len(call) <= 3 for call in calls)
    assert sorted(value for call in calls for value in call) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_finished_units_are_looked_up(tmp_path: Path) -> None:
    results(UNITS[:4], tmp_path)
    assert results(UNITS, tmp_path) == results(UNITS)
    results(UNITS[:4], tmp_path)
    assert calls == []


def test_another_spec_or_other_data_is_another_unit(tmp_path: Path) -> None:
    results([Square(5)], tmp_path)
    for units, data in (
        ([Square(5, "b")], DATA),
        ([Square(5, nested=Square(5))], DATA),
        ([Square(5)], {"offset": np.array(11)}),
        ([Square(5)], {"other": np.array(1), "offset": np.array(10)}),
    ):
        results(units, tmp_path, data)
        assert len(calls) == 1


def key(*modules: str, unit: Square = Square(1)) -> str:
    return unit_keys([unit], work(*modules), DATA)[0]


def test_code_and_platform_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {key("svvr.core.seeds"), key("svvr.core.seeds", "svvr.core.files"), key()}
    monkeypatch.setattr(code, "of_unit", lambda modules: {"edited": "hash"})
    keys.add(key("svvr.core.seeds"))
    monkeypatch.setattr(module, "platform", lambda: {"torch": "0"})
    keys.add(key("svvr.core.seeds"))
    assert len(keys) == 5 and {len(each) for each in keys} == {64}


def test_a_unit_may_hold_an_array() -> None:
    units = [Square(1, nested=np.array(values)) for values in ([1, 2], [1, 3])]
    assert len(set(unit_keys(units, WORK, DATA))) == 2


def test_a_damaged_or_foreign_entry_is_dropped_with_a_warning(tmp_path: Path) -> None:
    expected = results([Square(1), Square(2)], tmp_path)
    one, two = sorted(tmp_path.glob("*/*.npz"))
    whole = one.read_bytes()
    damages = [whole[:50], b"", whole.replace(b"seal", b"SEAL")]
    for content in damages:
        one.write_bytes(content)
        with pytest.warns(UserWarning, match="result cache: dropped a damaged entry"):
            assert results([Square(1), Square(2)], tmp_path) == expected
        assert len(calls) == 1
    shutil.copy(two, one)  # intact, but the result of another unit
    with pytest.warns(UserWarning, match="expected the result of another unit or other bytes"):
        assert results([Square(1), Square(2)], tmp_path) == expected


def test_the_cache_is_bounded_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    results([Square(value) for value in range(6)], tmp_path)
    entries = list(tmp_path.glob("*/*.npz"))
    size = entries[0].stat().st_size
    for age, path in enumerate(entries):
        os.utime(path, (1000 - age, 1000 - age))
    results([Square(5)], tmp_path)  # a look-up is a use
    cache.prune(tmp_path, 3 * size)
    assert len(list(tmp_path.glob("*/*.npz"))) == 3
    results([Square(5)], tmp_path)
    assert calls == []


def test_an_error_of_a_unit_reaches_the_caller() -> None:
    def fail(units: Sequence[Square], data: Arrays) -> list[Number]:
        raise ValueError("this unit cannot be computed")

    with ThreadPoolExecutor(2) as executor, pytest.raises(ValueError, match="this unit cannot be computed"):
        evaluate(UNITS, replace(WORK, compute=fail), DATA, executor)


def test_progress_counts_every_unit_once(tmp_path: Path) -> None:
    counts: list[int] = []
    results(UNITS[:3], tmp_path)
    with ThreadPoolExecutor(2) as executor:
        evaluate(UNITS, WORK, DATA, executor, tmp_path, counts.append)
    assert counts[0] == 3 and sum(counts) == len(UNITS)


@pytest.mark.slow
def test_a_stage_computes_all_its_units_with_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.INFO)
    expected = [unit.value**2 + 10 for unit in UNITS]
    monkeypatch.setenv("SVVR_WORKERS", "2")
    for said in ("8 of 8 runs on 2 workers, ", "8 of 8 runs (8 from the cache), "):
        assert [each.value for each in compute("squares", UNITS, WORK, DATA)] == expected
        assert caplog.messages[-1].startswith(f"squares: {said}")
    assert len(list(Path(".cache/svvr").glob("*/*.npz"))) == 8


@dataclass(frozen=True)
class Process:
    """Where a unit was computed, and beside how many."""

    pid: int
    stacked: int

    def arrays(self) -> Arrays:
        return {"pid": np.array(self.pid), "stacked": np.array(self.stacked)}

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "Process":
        return cls(int(arrays["pid"]), int(arrays["stacked"]))


def where(units: Sequence[Square], data: Arrays) -> list[Process]:
    return [Process(os.getpid(), len(units)) for _ in units]


def test_an_accelerator_s_units_share_one_process_and_large_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_WORKERS", "2")
    units = [Square(value) for value in range(20)]
    asked = Work(where, Process, lambda _: (), lambda _: 0, lambda _: 8, lambda unit: unit.kind == "a")
    with workers() as executor:
        found = [evaluate(units, asked, DATA, executor) for _ in range(3)]
        assert [each.stacked for each in found[0]] == [7] * 14 + [6] * 6
        assert len({each.pid for call in found for each in call}) == 1
        spread = evaluate([replace(unit, kind="b") for unit in units], asked, DATA, executor)
    assert [each.stacked for each in spread] == [5] * 20 and found[0][0].pid not in {each.pid for each in spread}


def test_progress_tells_what_computes(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    monkeypatch.setenv("SVVR_CACHE", "off")
    monkeypatch.setenv("SVVR_WORKERS", "3")
    asked = Work(where, Process, lambda _: (), lambda _: 0, accelerated=lambda unit: unit.kind == "a")
    for kind in "ab":
        with session(kind, 4) as each:
            each([Square(value, kind) for value in range(4)], asked, DATA)
    assert ["on 1 accelerator" in caplog.messages[0], "on 3 workers" in caplog.messages[1]] == [True, True]


def test_a_scheduler_that_does_not_answer_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("nonsense://nowhere:1", "garbage", "tcp://[bad", "tcp://a:b", "http://x:1"):
        monkeypatch.setenv("SVVR_SCHEDULER", address)
        expected = re.escape(f"SVVR_SCHEDULER: got {address!r}, expected tcp://host:port")
        with pytest.raises(ConnectionError, match=expected), workers():
            pass
    monkeypatch.setattr(cluster, "TIMEOUT", 1)
    monkeypatch.setenv("SVVR_SCHEDULER", "tcp://127.0.0.1:1")
    expected = "SVVR_SCHEDULER: got 'tcp://127.0.0.1:1', expected a scheduler that answers"
    with pytest.raises(ConnectionError, match=expected), workers():
        pass


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.write_text("a file in the folder's place")
    with pytest.warns(UserWarning, match="result cache: goes on without it"):
        assert results(UNITS, folder) == results(UNITS)
