"""Check params.yaml and dvc.lock before dvc runs: dvc removes a stage's results first, and names no remedy."""

import sys
from pathlib import Path

from dvc.schema import COMPILED_LOCKFILE_SCHEMA
from dvc.utils.serialize import YAMLFileCorruptedError, parse_yaml
from voluptuous import MultipleInvalid

from svvr.core import params
from tools import git

# Where git may hold a lock that dvc can read, and what brings it back: as it was added, one side of a conflict, as it
# was committed, as it was before a merge that joined two locks line by line.
KEPT = {
    ":0": "git checkout -- {name}",
    ":2": "git checkout --ours -- {name}, then: dvc repro",
    ":3": "git checkout --theirs -- {name}, then: dvc repro",
    "HEAD": "git checkout HEAD -- {name}, then: dvc repro",
    "HEAD^": "git checkout HEAD^ -- {name}, then: dvc repro",
}


def lock(path: Path) -> None:
    """Refuse a dvc.lock that dvc cannot read; dvc does not write it at once, so a kill can cut it, and a merge can too.

    Raises:
        ValueError: in one line that says how to bring it back.
    """
    if not path.exists():
        return
    try:
        readable = _readable(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        readable = False
    if not readable:
        raise ValueError(f"{path}: got a damaged file, expected what dvc writes; bring it back with: {_remedy(path)}")


def _readable(text: str) -> bool:
    try:
        COMPILED_LOCKFILE_SCHEMA(parse_yaml(text, ""))
    except (YAMLFileCorruptedError, MultipleInvalid, ValueError):
        return False
    return True


def _remedy(path: Path) -> str:
    for version, command in KEPT.items():
        try:
            kept = git.ask(path.parent, "show", f"{version}:./{path.name}")
        except ValueError:
            continue
        if _readable(kept):
            return command.format(name=path)
    return f"rm {path}, then: dvc repro"


if __name__ == "__main__":
    try:
        params.load(Path("params.yaml"))
        lock(Path("dvc.lock"))
    except ValueError as error:
        sys.exit(str(error))
