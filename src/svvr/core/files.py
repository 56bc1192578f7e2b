"""The only reader and writer of JSON and NPZ files: byte-stable, atomic, free of NaN and of pickles."""

import contextlib
import hashlib
import io
import json
import math
import os
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]
TEMPORARY = ".tmp"  # ending of a file that is being written


class RecordError(ValueError):
    """A file that is missing, damaged or of another shape than expected; the message is one line that names it."""


def finite_or_none(value: float) -> float | None:
    """Return the value as a float, or None where it is NaN or infinite (JSON has neither)."""
    return float(value) if math.isfinite(value) else None


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, keys in the given order, floats in full precision.

    Lists of numbers stay on one line, and so do mappings of single values in a list, so that a curve or a row is a line
    of a diff.

    Raises:
        ValueError: where the record holds NaN or an infinity.
    """
    write_bytes(path, (_dump(record, "") + "\n").encode())


def _dump(value: Any, indent: str) -> str:
    deeper = indent + " "
    if isinstance(value, Mapping) and value:
        rows = [f"{deeper}{json.dumps(str(key))}: {_dump(item, deeper)}" for key, item in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping | list | tuple) for item in value):
        return "[\n" + ",\n".join(deeper + _row(item, deeper) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def _row(item: Any, indent: str) -> str:
    flat = isinstance(item, dict) and not any(isinstance(value, Mapping | list | tuple) for value in item.values())
    return json.dumps(item, allow_nan=False) if flat else _dump(item, indent)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON record.

    Raises:
        RecordError: where the file is missing, is no JSON object or holds NaN.
    """
    content = _read(path)
    try:
        record = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: expected a JSON object, got {_one_line(error)}") from error
    if not isinstance(record, dict):
        raise RecordError(f"{path}: expected a JSON object, got {type(record).__name__}")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the number {name}")


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as an uncompressed NPZ file whose bytes depend on the arrays alone."""
    write_bytes(path, npz_bytes(arrays))


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return the bytes of an uncompressed NPZ file of the arrays, as `numpy.load` reads it.

    They carry no time and no path. numpy.savez streams its members, which releases of Python mark in ways of their own:
    the same arrays would have another hash under 3.11.2 than under 3.11.7.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def read_npz(path: Path, *required: str) -> Arrays:
    """Read all arrays of an NPZ file; nothing is ever unpickled.

    Raises:
        RecordError: where the file is missing, damaged, holds pickled objects or lacks an array.
    """
    return arrays_from(_read(path), path, *required)


def arrays_from(content: bytes, name: Path, *required: str) -> Arrays:
    """Read all arrays from the bytes of an NPZ file; see `read_npz`."""
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("a single array")
        with archive:
            arrays = {key: archive[key] for key in archive.files}
        foreign = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
        if foreign:
            raise ValueError(f"{foreign[0]!r}, which is none")
    except Exception as error:  # numpy, zipfile and their codecs raise a dozen kinds on damaged files
        raise RecordError(f"{name}: expected an NPZ file of plain arrays, got {_one_line(error)}") from error
    missing = [key for key in required if key not in arrays]
    if missing:
        raise RecordError(f"{name}: expected the array {missing[0]!r}, got {sorted(arrays)}")
    return arrays


def _one_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new one, never a part.

    Raises:
        RecordError: where the file cannot be written (disk full, no folder, no permission); the old one stays.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(path)
        with _sibling(path) as (handle, name):
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror}); nothing was changed") from error


def _remove_stale(path: Path) -> None:
    """Remove what a killed process left beside a file; .dvcignore and .gitignore hide it until then."""
    for left in path.parent.glob(f".{path.name}.*{TEMPORARY}"):
        if time.time() - left.stat().st_mtime > 60:
            left.unlink(missing_ok=True)


@contextlib.contextmanager
def _sibling(path: Path) -> Iterator[tuple[io.BufferedWriter, str]]:
    """Open a temporary file in the folder of `path`; it is gone afterwards unless it was renamed."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            yield handle, name
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)


def file_hash(path: Path) -> str:
    """Return the sha256 of a file as 64 hexadecimal digits.

    Raises:
        RecordError: where it cannot be read.
    """
    return hashlib.sha256(_read(path)).hexdigest()


def array_hash(array: npt.NDArray[Any]) -> str:
    """Return the sha256 of an array's dtype, shape and bytes in C order as 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
