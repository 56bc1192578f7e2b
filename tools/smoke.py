"""Run every stage on a few small studies, in a temporary copy of the working tree, and print the verdict table.

It shows in two minutes whether a change breaks the pipeline, and nothing about the question: one final seed and two
replicates are too few for a verdict. The exit status is dvc's; the copy is gone afterwards.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import yaml

from svvr.core import params, yaml_file
from svvr.run.stage import answer
from tools import git

SMALL: dict[str, dict[str, Any]] = {
    "data": {"n_test": 1000},
    "training": {"epochs": 3},
    "tuning": {"studies": 3, "trials": 4, "seeds_per_trial": 1, "startup_trials": 2, "batch": 1},
    "final": {"seeds": 1},
    "budget": {"replicates": 2, "points": 4, "seeds": 2},
    "diagnose": {"seeds": 1, "probes": 2, "tolerance": 0.1, "last_epochs": 2},
    "replicate": {"seeds": 2, "epochs": 3},
    "dose_response": {"strengths": [0, 0.3], "seeds": 2},
}
SHOW = ["python", "stages/compare.py", "--show"]


def copy(root: Path, folder: Path) -> None:
    """Copy the files of a working tree that git does not ignore, without results, and make the copy a repository.

    Raises:
        ValueError: where the tree is none of git's.
    """
    names = git.ask(root, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        if (root / name).is_file() and not name.startswith(("metrics/", "plots/", "dvc.lock")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    git.ask(folder, "init", "-q")


def shrink(path: Path) -> None:
    """Replace the sizes in a params.yaml by those of SMALL; its arms stay."""
    settings = yaml_file.read(path)
    for section, values in SMALL.items():
        settings[section] |= values
    path.write_text(yaml.safe_dump(settings, sort_keys=False))
    params.load(path)


def environment() -> dict[str, str]:
    """Return this process's environment with this interpreter first, without what dvc and git would take for their own.

    The copy has a result cache of its own, and its stages run its own code.
    """
    kept = {name: value for name, value in git.environment().items() if not name.startswith("DVC_")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": "src", "DVC_NO_ANALYTICS": "1"}


@contextmanager
def started(command: list[str], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a command in a session of its own, of which nothing is left afterwards."""
    with subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):  # all have ended
                os.killpg(process.pid, signal.SIGKILL)


def main(root: Path) -> int:
    """Run the pipeline in a copy and print what came out.

    Returns:
        The exit status of dvc, or of what prints the verdicts.

    Raises:
        ValueError: where params.yaml cannot be used.
    """
    params.load(root / "params.yaml")
    with tempfile.TemporaryDirectory(prefix="smoke-") as name:
        folder = Path(name)
        copy(root, folder)
        shrink(folder / "params.yaml")
        lines = []
        with started(["dvc", "repro"], folder) as dvc:
            for line in dvc.stdout or ():
                lines.append(line)
                if line.startswith("Running stage"):
                    answer("smoke", line.removesuffix("\n"))
            dvc.wait()
        if dvc.returncode:
            answer("smoke", "".join(lines).removesuffix("\n"))
            return dvc.returncode
        return subprocess.run(SHOW, cwd=folder, env=environment()).returncode


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)  # through the blocks that clean up


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(main(Path(".")))
    except ValueError as error:
        sys.exit(f"smoke: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
