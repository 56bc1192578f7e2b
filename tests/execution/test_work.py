"""Units of work: neither chunks, workers nor order change a result, and a kept one is never believed blindly."""

import os
import signal
from collections.abc import Sequence
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from svvr import records
from svvr.execution import provenance
from svvr.execution.work import SCORE, TRAIN, Session, Work, chunks, compute, unit_keys
from svvr.records import Arrays
from svvr.training import loop
from svvr.training.run import Run, Score

calls: list[list[int]] = []


def square(units: Sequence[Run], data: Arrays) -> list[Score]:
    if any(unit.lr == 0 for unit in units):
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append([unit.seed for unit in units])
    return [Score(float(unit.seed**2), None, None) for unit in units]  # in the place of a loss


WORK = Work(square, Score, lambda unit: ("svvr.seeds",), lambda unit: unit.penalty, lambda unit: 3)
UNITS = [Run(seed, 0.1, penalty="l2" if seed in (1, 3) else "none") for seed in (5, 1, 7, 2, 3, 4, 6, 8)]
SQUARES = [unit.seed**2 for unit in UNITS]
DATA: Arrays = {"x": np.array(10)}


def values(units: Sequence[Run], folder: Path | None = None) -> list[float | None]:
    """Compute units on two threads, which leave their calls here."""
    calls.clear()
    with ThreadPoolExecutor(2) as pool:
        each = Session("squares", len(units), pool, 2, folder)
        found = [result.validation_loss_last for result in each(units, WORK, DATA)]
        assert each.bar.n == len(units)  # finished ones count too
        each.bar.close()
    return found


def test_stacks_hold_like_units_and_results_keep_the_order() -> None:
    assert values(UNITS) == SQUARES and sorted(map(sorted, calls)) == [[1], [2, 5, 7], [3], [4, 6, 8]]
    for n, workers, limit, sizes in ((20, 2, 8, [5] * 4), (25, 2, 12, [7, 7, 7, 4]), (3, 16, 12, [1] * 3)):
        work, units = replace(WORK, chunk={UNITS[0]: limit}.__getitem__), [UNITS[0]] * (n + 2)
        found = chunks(units, range(1, n + 1), work, workers)
        assert [len(chunk) for chunk in found] == sizes and repr(found).count(",") == n - 1
    widths = ((8,), (128, 128), (1024, 1024), (4096, 4096), (8192,) * 16)
    stacks = [TRAIN.chunk(Run(0, 0.1, hidden=hidden)) for hidden in widths]
    assert stacks[:2] == [12, 12] and 12 > stacks[2] > stacks[3] >= stacks[4] == 1  # as memory allows


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_no_run_depends_on_workers_chunks_or_order(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [Run(k, 0.01, 0, "sv_variance", 0.1 * (k % 2), (8, 7), epochs=3, batch_size=16) for k in range(7)]
    alone = [loop.train([run], tiny_data)[0] for run in runs]
    for workers, order, work in (("1", 1, TRAIN), ("2", -1, TRAIN), ("2", 1, replace(TRAIN, chunk=lambda run: 2))):
        monkeypatch.setenv("SVVR_WORKERS", workers)
        found = compute("runs", runs[::order], work, tiny_data)
        assert [result.weights.tobytes() for result in found[::order]] == [each.weights.tobytes() for each in alone]
        for path in sorted(Path(".cache/svvr").glob("*/*"))[::2]:  # the next round finds the others
            path.unlink()
    assert compute("runs", runs, SCORE, tiny_data) == [result.score() for result in alone]
    with pytest.raises(ValueError, match="penalty: got 'gone', expected the name of a file"):
        compute("runs", [replace(runs[0], penalty="gone")], TRAIN, tiny_data)


def test_what_determines_a_result_is_part_of_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    unit = UNITS[0]
    others = [replace(unit, **{name: 3}) for name in ("seed", "lr", "strength", "hidden", "device", "tuned")]  # type: ignore[arg-type]
    others += [replace(unit, start=start) for start in (unit, UNITS[1], np.array([1, 2]), np.array([1, 3]))]  # type: ignore[arg-type]
    keys = unit_keys([unit, *others], WORK, DATA) + unit_keys([unit], TRAIN, DATA) + unit_keys([unit], SCORE, DATA)
    keys += unit_keys([unit], WORK, {"x": np.array(11)}) + unit_keys([unit], WORK, {**DATA, "y": DATA["x"]})
    for name, value in (("code", lambda modules: "edited"), ("platform", lambda: "other")):
        with monkeypatch.context() as patch:
            patch.setattr(provenance, name, value)
            keys += unit_keys([unit], WORK, DATA)
    assert len(set(keys)) == len(keys) == 17 and keys[:1] == unit_keys([unit], WORK, DATA)


def test_finished_units_are_looked_up_and_damaged_ones_computed_again(elsewhere: Path) -> None:
    assert values(UNITS[:4], elsewhere) == SQUARES[:4]
    assert values(UNITS, elsewhere) == SQUARES and sorted(map(sorted, calls)) == [[3], [4, 6], [8]]
    assert values(UNITS, elsewhere) == SQUARES and calls == []
    entries = list(elsewhere.glob("*/*.npz"))
    for content in (entries[0].read_bytes()[:50], b"", records.npz_bytes(DATA)):
        entries[0].write_bytes(content)
        assert values(UNITS, elsewhere) == SQUARES and len(calls) == 1
    assert records.changed() == []  # these are no inputs of a stage


@pytest.mark.usefixtures("elsewhere")
def test_where_results_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept() -> int:
        assert [each.validation_loss_last for each in compute("squares", UNITS, WORK, DATA)] == SQUARES
        return len(list(Path(os.environ.get("DVC_ROOT", ".")).glob(".cache/svvr/*/*.npz")))

    assert kept() == 8
    monkeypatch.setenv("DVC_ROOT", "original")
    assert kept() == 8
    Path("original/.cache").rename("original/moved")
    Path("original/.cache").write_text("a file in the folder's place")
    with pytest.warns(UserWarning, match=r"finished runs are not kept from here on \(original/.*cannot be wr") as said:
        assert kept() == 0 and len(said) == 1
    monkeypatch.setenv("SVVR_CACHE", "off")
    assert kept() == 0
    with pytest.raises(BrokenExecutor, match="terminated abruptly"):
        compute("squares", [*UNITS, Run(9, lr=0, penalty="deadly")], WORK, DATA)
