"""Records as JSON rows and arrays as NPZ, written whole, the same bytes for the same content; YAML read as by all."""

import hashlib
import io
import json
import math
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

# Stages whose files or folders have another name
WRITERS = {"dev": "prepare", "test": "prepare", "data": "prepare", "weights": "train", "provenance": "train"}
WRITERS |= {"summary": "compare", "verdicts": "compare", "cells": "survey/dvc.yaml:cell"}
Row: TypeAlias = dict[str, Any]
Arrays: TypeAlias = dict[str, npt.NDArray[Any]]
_READ: dict[Path, bytes] = {}  # the hash of every record that this process has read


class RecordError(ValueError):
    """A file that cannot be read or written; the message names it and, for a record, how to make it again."""


class ParamsError(ValueError):
    """Settings that cannot be used; the message names the file, the key, what was got and what was expected."""


def finite_or_none(value: float) -> float | None:
    """Return the value as a float, or None where it is NaN or infinite (JSON has neither)."""
    return float(value) if math.isfinite(value) else None


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as a JSON array, one row a line, floats in full precision; NaN is a ValueError."""
    write_bytes(path, (_lines(rows) + "\n").encode())


def write_tables(path: str | Path, tables: Mapping[str, Any]) -> None:
    """Write a JSON object of tables: each value that is a list has one entry a line."""
    parts = [
        f"{json.dumps(key)}: {_lines(value) if isinstance(value, list) else json.dumps(value, allow_nan=False)}"
        for key, value in tables.items()
    ]
    write_bytes(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def _lines(rows: Iterable[Any]) -> str:
    return "[\n" + ",\n".join(json.dumps(row, allow_nan=False) for row in rows) + "\n]"


def read_json(path: str | Path) -> Any:
    """Read a JSON record; RecordError where that is impossible."""
    try:
        return json.loads(_read(path))
    except (OSError, ValueError) as error:
        raise unreadable(path, error) from None


def read_rows(path: str | Path, *columns: str) -> pd.DataFrame:
    """Read rows as a DataFrame, None as NaN in columns of numbers; RecordError where a column is missing."""
    rows = read_json(path)
    try:
        frame = pd.DataFrame(rows)
        return frame[[*columns, *frame.columns.difference(list(columns), sort=False)]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, error) from None


def _read(path: str | Path) -> bytes:
    content = Path(path).read_bytes()
    _READ.setdefault(Path(path), hashlib.sha256(content).digest())
    return content


def changed() -> list[Path]:
    """Return the records that are no more as this process has read them."""
    return [path for path, digest in _READ.items() if hashlib.sha256(path.read_bytes()).digest() != digest]


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the rows of a frame in plain types."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def unreadable(path: str | Path, error: Exception) -> RecordError:
    """Return the one error of a record that is missing or not as it was written; it names the stage that writes it."""
    folder, name = Path(path).parent.name, Path(path).stem
    stage = WRITERS.get(name, name) if folder in ("data", "metrics") else f"{WRITERS.get(folder, folder)}@{name}"
    said = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0][:200]
    return RecordError(
        f"{path}: got no readable record ({said}), expected it as the stage wrote it: dvc repro -f {stage}"
    )


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Return an uncompressed NPZ file whose bytes depend on the arrays alone, not on Python's release as savez's do."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.asanyarray(array), version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, member.getvalue())
    return buffer.getvalue()


def write_npz(path: str | Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as an NPZ file; see `npz_bytes`."""
    write_bytes(path, npz_bytes(arrays))


def npz_arrays(content: bytes, *names: str) -> Arrays:
    """Return the named arrays of an NPZ file, all without names; nothing is unpickled."""
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in names or archive.files}


def read_npz(path: str | Path, *names: str) -> Arrays:
    """Read the named arrays of an NPZ file, all without names; nothing is unpickled."""
    try:
        return npz_arrays(_read(path), *names)
    except Exception as error:  # numpy, zipfile and their codecs raise a dozen kinds on damaged files
        raise unreadable(path, error) from None


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the whole new one; RecordError where that fails."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.chmod(name, 0o644)
            os.replace(name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(name)
    except OSError as error:
        raise RecordError(f"{path}: cannot be written ({error.strerror}); the old file is unchanged") from error


def array_hash(array: npt.NDArray[Any]) -> str:
    """Return the sha256 of an array's dtype, shape and bytes in C order as 64 hexadecimal digits."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Loader(yaml.SafeLoader):
    """Refuses repeated keys, and what YAML 1.1 and 1.2 read differently; 1e-5 is a number."""

    # YAML 1.2's core schema, which DVC reads by; PyYAML and its tags are YAML 1.1's
    core: tuple[tuple[str, str], ...] = (
        ("null", r"|~|null|Null|NULL"),
        ("bool", r"true|True|TRUE|false|False|FALSE"),
        ("int", r"[-+]?(0|[1-9][0-9]*)"),
        ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
    )

    def construct_object(self, node: Any, deep: bool = False) -> Any:
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if plain and node.tag.startswith("tag:yaml.org,2002:") and node.value != "<<":
            name = next((name for name, pattern in self.core if re.fullmatch(pattern, node.value)), "str")
            if node.tag.rpartition(":")[2] != name:
                expected = "what all YAML readers read alike; quote text, write numbers plainly"
                raise _refusal(node, f"got {node.value}, expected {expected}")
        return super().construct_object(node, deep)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key, _ in node.value:
            if keys.count(key.value) > 1 and isinstance(key, yaml.ScalarNode):
                raise _refusal(key, f"got the key {key.value} twice, expected each once")
        return super().construct_mapping(node, deep)


def _refusal(node: yaml.Node, text: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+\.?[0-9]*[eE][-+]?[0-9]+\Z"), list("-+0123456789")
)


def read_yaml(path: Path) -> Any:
    """Read a YAML file into plain Python types; ParamsError where it cannot be read."""
    try:
        return yaml.load(_read(path).decode(), _Loader)
    except OSError as error:
        raise ParamsError(f"{path}: got no readable file ({error.strerror}), expected YAML") from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        said = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ParamsError(f"{path}{f', line {mark.line + 1}' if mark else ''}: {said}") from None
