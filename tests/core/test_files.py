"""Files that are byte-stable, atomic and free of NaN and pickles."""

import hashlib
import math
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from svvr.core import files
from svvr.core.files import RecordError

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**53), 2**53),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), plain, max_size=4))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, record: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, record)
    first = path.read_bytes()
    assert files.read_json(path) == record
    files.write_json(path, files.read_json(path))
    assert path.read_bytes() == first


def test_a_curve_is_one_line_and_so_is_a_row(tmp_path: Path) -> None:
    files.write_json(
        tmp_path / "a.json",
        {"runs": [{"loss": [1.5, None]}, {"loss": []}], "none": {}, "pairs": [[1, 2]], "rows": [{"a": 1, "b": None}]},
    )
    assert (tmp_path / "a.json").read_text() == (
        '{\n "runs": [\n  {\n   "loss": [1.5, null]\n  },\n  {\n   "loss": []\n  }\n ],\n "none": {},\n'
        ' "pairs": [\n  [1, 2]\n ],\n "rows": [\n  {"a": 1, "b": null}\n ]\n}\n'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_is_never_written(tmp_path: Path, value: float) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": [value]})
    assert files.read_json(path) == {"a": 1}
    assert files.finite_or_none(value) is None
    assert files.finite_or_none(2) == 2.0


@pytest.mark.parametrize(
    "content,message",
    [
        ("", "expected a JSON object"),
        ("[1]", "expected a JSON object, got list"),
        ('{"a": 1', "expected a JSON object"),
        ('{"a": NaN}', "the number NaN"),
        (b"\xff\xfe", "expected a JSON object"),
    ],
)
def test_a_damaged_record_is_named_in_one_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(RecordError) as error:
        files.read_json(path)
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for read in (files.read_json, files.read_npz, files.file_hash):
        with pytest.raises(RecordError, match=r"gone: cannot be read \(No such file or directory\)"):
            read(tmp_path / "gone")


def test_npz_bytes_depend_on_the_arrays_alone(tmp_path: Path) -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "name": np.array("abc")}
    files.write_npz(tmp_path / "a.npz", arrays)
    files.write_npz(tmp_path / "b.npz", dict(arrays))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read = files.read_npz(tmp_path / "a.npz", "x", "name")
    np.testing.assert_array_equal(read["x"], arrays["x"])
    assert str(read["name"]) == "abc"


def test_damaged_foreign_or_pickled_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    files.write_npz(path, {"x": np.arange(1000)})
    whole = path.read_bytes()
    np.savez(tmp_path / "pickled.npz", x=np.array([{"a": 1}], dtype=object))
    np.save(tmp_path / "single.npy", np.arange(3))
    damaged = [b"", whole[:200], b"no zip", whole[:400] + b"\0\1\2" + whole[403:]]
    damaged += [(tmp_path / "pickled.npz").read_bytes(), (tmp_path / "single.npy").read_bytes()]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(RecordError, match=r"a\.npz: expected an NPZ file of plain arrays, got"):
            files.read_npz(path)
    path.write_bytes(whole)
    with pytest.raises(RecordError, match=r"expected the array 'y', got \['x'\]"):
        files.read_npz(path, "y")


def test_a_file_in_the_folder_s_place_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text("a file")
    with pytest.raises(RecordError, match="cannot be written"):
        files.write_json(tmp_path / "metrics" / "a.json", {})
    assert (tmp_path / "metrics").read_text() == "a file"


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RecordError, match=r"a\.json: cannot be written \(File too large\); nothing was changed"):
            files.write_json(path, {"a": "x" * 5000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert files.read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_array_hash_sees_values_shape_and_dtype_but_not_memory_order() -> None:
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert files.array_hash(a) == files.array_hash(np.asfortranarray(a))
    others = [a.reshape(3, 2), a.astype(np.int32), a + 1]
    assert len({files.array_hash(other) for other in [a, *others]}) == 4


def test_file_hash_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.file_hash(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    old, young, other = (tmp_path / f".{name}.tmp" for name in ("a.json.x1", "a.json.x2", "b.json.x1"))
    for left in (old, young, other):
        left.write_text("half")
    os.utime(old, (1, 1))
    os.utime(other, (1, 1))
    files.write_json(path, {"a": 1})
    assert sorted(each.name for each in tmp_path.iterdir()) == [".a.json.x2.tmp", ".b.json.x1.tmp", "a.json"]


@pytest.mark.parametrize("seed", range(20))
def test_random_damage_to_arrays_is_one_short_line(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.npz"
    whole = files.npz_bytes({"x": np.arange(6.0), "y": np.arange(3)})
    rng = np.random.default_rng(seed)
    for _ in range(100):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            content[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(bytes(content))
        try:
            arrays = files.read_npz(path, "x")
        except RecordError as error:
            assert "\n" not in str(error) and len(str(error)) < 400 + len(str(path))
        else:
            assert all(isinstance(array, np.ndarray) for array in arrays.values())


def test_json_that_is_nested_without_end_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000)
    with pytest.raises(RecordError, match="expected a JSON object, got"):
        files.read_json(path)


def test_the_bytes_of_arrays_are_those_of_every_release_of_python() -> None:
    arrays = {"x": np.arange(6, dtype=np.float32).reshape(2, 3), "y": np.array([1, 2]), "name": np.array("run")}
    content = files.npz_bytes(arrays)
    assert hashlib.sha256(content).hexdigest() == "c023c25303ba52f49784c5a30d45ddcf013b931f24325c357f905cb3d47958c7"
    assert {name: array.tolist() for name, array in files.arrays_from(content, Path("a")).items()} == {
        name: array.tolist() for name, array in arrays.items()
    }
