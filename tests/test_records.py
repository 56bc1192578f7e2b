"""Files hold what was written to the last bit, are whole or absent, and are named in one line when they are neither."""

import hashlib
import io
import math
import resource
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from svvr import records
from svvr.records import RecordError
from svvr.seeds import budget_seeds, derive, final_seeds, tuning_seeds

ROWS: list[records.Row] = [
    {"seed": 2**53 - 1, "lr": 0.1 + 0.2, "loss": 5e-324, "curve": [1.5]},
    {"seed": 7, "lr": 1e-05, "loss": None, "curve": [None, 2.0]},
]
WRITTEN = """[
{"seed": 9007199254740991, "lr": 0.30000000000000004, "loss": 5e-324, "curve": [1.5]},
{"seed": 7, "lr": 1e-05, "loss": null, "curve": [null, 2.0]}
]
"""
ARRAYS = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([1, 2]), "name": np.array("run")}


def test_rows_are_a_line_each_that_pandas_reads(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/a.json"
    records.write_rows(path, ROWS)
    assert path.read_text() == WRITTEN and path.stat().st_mode & 0o777 == 0o644
    expected = pd.DataFrame(ROWS)[["lr", "curve", "seed", "loss"]]
    pd.testing.assert_frame_equal(records.read_rows(path, "lr", "curve"), expected, check_exact=True)
    pd.testing.assert_frame_equal(pd.read_json(path), expected[["seed", "lr", "loss", "curve"]], rtol=1e-15)
    records.write_tables(path, {"rows": ROWS, "overall": ["said"], "n": {"b": 0.5}})
    assert path.read_text() == f'{{\n"rows": {WRITTEN[:-1]},\n"overall": [\n"said"\n],\n"n": {{"b": 0.5}}\n}}\n'


def test_nan_and_a_full_disk_leave_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    records.write_rows(path, ROWS)
    for value in (math.nan, math.inf, -math.inf):
        assert records.finite_or_none(value) is None
        for write, content in ((records.write_rows, [{"a": [value]}]), (records.write_tables, {"a": value})):
            with pytest.raises(ValueError, match="not JSON compliant"):
                write(path, content)  # type: ignore[arg-type]
    limits, previous = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(RecordError, match=r"a\.json: cannot be written \(File too large\); the old file is unch"):
            records.write_rows(path, ROWS * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    with pytest.raises(RecordError, match="cannot be written"):
        records.write_npz(path / "in_place_of_a_folder.npz", ARRAYS)
    assert path.read_text() == WRITTEN and list(tmp_path.iterdir()) == [path]


def test_the_bytes_of_arrays_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    records.write_npz(tmp_path / "a.npz", ARRAYS)
    digest = hashlib.sha256((tmp_path / "a.npz").read_bytes()).hexdigest()
    assert digest == "c023c25303ba52f49784c5a30d45ddcf013b931f24325c357f905cb3d47958c7"  # in every release of Python
    found, x = records.read_npz(tmp_path / "a.npz"), ARRAYS["x"]
    assert list(records.read_npz(tmp_path / "a.npz", "name", "x")) == ["name", "x"] and list(found) == list(ARRAYS)
    assert [records.array_hash(array) for array in found.values()] == [*map(records.array_hash, ARRAYS.values())]
    assert records.array_hash(x) == records.array_hash(np.asfortranarray(x))
    assert len({records.array_hash(each) for each in (x, x.reshape(3, 2), x.astype(np.int32), x + 1)}) == 4


WHOLE, PICKLED = records.npz_bytes(ARRAYS), io.BytesIO()
np.savez(PICKLED, x=np.array([{}]), y=np.array([{}]))


@pytest.mark.parametrize(
    ("name", "content", "stage"),
    [
        ("metrics/tune/a_1.json", None, "tune@a_1"),
        ("metrics/train/test.json", b'[{"study": 1', "train@test"),
        ("metrics/diagnose/a.json", b'{"runs": 3}', "diagnose@a"),
        ("metrics/replicate.json", b'[{"study": 1}]', "replicate"),
        ("data/dev.npz", None, "prepare"),
        ("data/test.npz", WHOLE.replace(b"\x80?", b"\x80!"), "prepare"),
        ("data/test.npz", records.npz_bytes({"other": ARRAYS["x"]}), "prepare"),
        ("data/weights/a.npz", PICKLED.getvalue(), "train@a"),
    ],
)
@pytest.mark.usefixtures("elsewhere")
def test_what_cannot_be_read_names_the_stage_that_writes_it(name: str, content: bytes | None, stage: str) -> None:
    path = Path(name)
    records.write_bytes(path, content) if content is not None else None
    with pytest.raises(RecordError) as caught:
        records.read_rows(path, "study", "seed") if path.suffix == ".json" else records.read_npz(path, "x", "y")
    message = str(caught.value)
    assert message.startswith(f"{name}: got no readable record (") and message.isprintable() and len(message) < 400
    assert message.endswith(f"), expected it as the stage wrote it: dvc repro -f {stage}")


def test_streams_of_random_numbers_are_told_apart_by_all_of_their_names() -> None:
    streams = [("a", "b"), ("a/b",), ("a'/'b",), (1, 2), ("1", 2), (12,), ("a", "b", 0)]
    seeds, kinds = [derive(*stream) for stream in streams], (tuning_seeds, final_seeds, budget_seeds)
    seeds += [seed for kind in kinds for root in (1, 2) for study in range(50) for seed in kind(root, study, 20)]
    assert len(set(seeds)) == len(seeds) == 6007 and all(0 <= seed < 2**31 for seed in seeds)
    assert derive("initial_weights", 7) == 1032224834  # as always
