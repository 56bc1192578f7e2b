"""Recompute everything in a temporary clone and compare every metrics file with the committed one.

Where package versions, processor features and the processor's maker are those of the committed run, the bytes must be
equal; elsewhere, or where it is not known, each contrast's effect must lie within the committed interval.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from svvr.run.stage import answer
from tools import git

PLATFORM = ("python", "torch", "numpy", "scipy", "optuna", "mnist1d", "machine", "cpu_capability", "processor")
Texts = dict[str, str]


def main() -> None:
    """Compare, and print that all agrees.

    Raises:
        ValueError: in a line each, what differs, or why there is nothing to compare.
    """
    check_place(Path.cwd())
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        git.ask(Path.cwd(), "clone", "-q", str(Path.cwd()), str(clone))
        committed = read(clone)
        if not committed:
            raise ValueError("HEAD: got no metrics, expected the committed results of a run")
        environment = git.environment() | {"SVVR_CACHE": "off"}
        if subprocess.run(["dvc", "repro", "-f"], cwd=clone, env=environment).returncode:
            raise ValueError("a stage failed in the clone")
        recomputed = read(clone)
    if found := differences(committed, recomputed):
        raise ValueError("\n".join(found))
    other = other_bytes(committed, recomputed)
    how = "within the intervals (other package versions or another processor)" if other else "byte for byte"
    answer("verify", f"verify: {len(committed)} metrics files agree {how}")


def check_place(folder: Path) -> None:
    """Refuse a folder of which git makes no clone.

    Raises:
        ValueError: in one line.
    """
    try:
        above = git.ask(folder, "rev-parse", "--show-prefix").strip()
    except ValueError as error:
        raise ValueError(
            f"{folder}: got '{error}', expected a git repository, whose last commit is recomputed"
        ) from error
    if above:
        raise ValueError(f"{folder}: got the subfolder {above} of a git repository, expected its top folder")


def read(folder: Path) -> Texts:
    """Return the text of every metrics file below a folder."""
    return {str(path.relative_to(folder)): path.read_text() for path in sorted((folder / "metrics").rglob("*.json"))}


def platforms(texts: Texts) -> list[list[Any]]:
    """Return what the last digits of each arm's runs depend on, beside code and data."""
    records = [json.loads(text)["provenance"][0] for name, text in texts.items() if "/provenance/" in name]
    return [[record.get(key) for key in PLATFORM] for record in records]


def differences(committed: Texts, recomputed: Texts) -> list[str]:
    """Name what must not differ but does: bytes on the same platform, effects on another one."""
    found = other_bytes(committed, recomputed)
    return found if not found or platforms(committed) == platforms(recomputed) else outside(committed, recomputed)


def other_bytes(committed: Texts, recomputed: Texts) -> list[str]:
    """Name the files whose bytes differ, provenance left out."""
    names = [name for name in sorted(committed | recomputed) if "/provenance/" not in name]
    return [f"{name}: got other bytes" for name in names if committed.get(name) != recomputed.get(name)]


def outside(committed: Texts, recomputed: Texts) -> list[str]:
    """Name the contrasts whose recomputed effect lies outside the committed interval."""
    old, new = (json.loads(texts["metrics/summary.json"])["contrasts"] for texts in (committed, recomputed))
    lines = []
    for one, two in zip(old, new, strict=True):
        low, high, effect = one["ci_low"], one["ci_high"], two["effect_percent"]
        if low is not None and (effect is None or not low <= effect <= high):
            subject = f"{one['arm']} vs {one['reference']}, {one['link']}"
            lines.append(f"{subject}: got an effect of {effect} %, expected one from {low:.2f} to {high:.2f} %")
    return lines


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:
        sys.exit("\n".join(f"verify: {line}" for line in str(error).splitlines()))
    except KeyboardInterrupt:
        sys.exit(130)
