"""Check params.yaml and dvc.lock before dvc runs: dvc removes a stage's results first, and names no remedy."""

import sys
from pathlib import Path

import yaml
from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from voluptuous import MultipleInvalid

from svvr.core import params


def lock(path: Path) -> None:
    """Refuse a dvc.lock that dvc cannot read; dvc does not write it at once, so a kill can cut it.

    Raises:
        ValueError: in one line that says how to bring it back.
    """
    if not path.exists():
        return
    try:
        COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, MultipleInvalid) as error:
        expected = "expected what dvc writes; bring it back with: git checkout dvc.lock"
        raise ValueError(f"{path}: got a damaged file, {expected}") from error


if __name__ == "__main__":
    try:
        params.load(Path("params.yaml"))
        lock(Path("dvc.lock"))
    except ValueError as error:
        sys.exit(str(error))
