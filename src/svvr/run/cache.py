"""Finished units of work in a folder of NPZ files: written atomically, sealed, bounded, never believed blindly."""

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from svvr.core.files import Arrays, RecordError, array_hash, arrays_from, npz_bytes, write_bytes
from svvr.run.lifetime import cache_is_off

LIMIT = 2 * 2**30  # bytes


def folder() -> Path | None:
    """Return the folder of the result cache, shared by temporary copies of the repository; None where it is off."""
    return None if cache_is_off() else Path(os.environ.get("DVC_ROOT", ".")) / ".cache" / "svvr"


def look_up(folder: Path, key: str) -> Arrays | None:
    """Return the result kept under a key; a damaged or foreign entry is dropped with a warning."""
    path = _entry(folder, key)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    try:
        arrays = arrays_from(content, path, "seal")
        if str(arrays.pop("seal")) != _seal(key, arrays):
            raise RecordError(f"{path}: expected the result of another unit or other bytes")
    except RecordError as error:
        warnings.warn(f"result cache: dropped a damaged entry ({error})", stacklevel=2)
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):
        os.utime(path)  # pruning takes what was not used for longest
    return arrays


def store(folder: Path, key: str, result: Arrays) -> None:
    """Keep a result under a key.

    Raises:
        RecordError: where it cannot be written.
    """
    write_bytes(_entry(folder, key), npz_bytes({**result, "seal": np.array(_seal(key, result))}))


def prune(folder: Path, limit: int = LIMIT) -> None:
    """Remove the entries that were not used for longest until the rest is within the limit in bytes."""
    used: list[tuple[float, int, Path]] = []
    for path in folder.glob("*/*"):  # with what a killed process left half written
        with suppress(OSError):  # another stage may prune too
            used.append((path.stat().st_mtime, path.stat().st_size, path))
    total = 0
    for _, size, path in sorted(used, reverse=True):
        total += size
        if total > limit:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def _entry(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.npz"


def _seal(key: str, arrays: Mapping[str, Any]) -> str:
    hashes = {name: array_hash(array) for name, array in arrays.items()}
    return hashlib.sha256(json.dumps([key, hashes], sort_keys=True).encode()).hexdigest()
