"""What wraps a stage: a clean end on signals, errors in one message, and no result where an input changed meanwhile."""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

Settings = TypeVar("Settings")
OF_LEAGUE = os.environ.get("DVC_STAGE", "").startswith("survey/")
RESTORE = f"; committed results come back with: git checkout -- {'survey' if OF_LEAGUE else 'metrics plots'}"


def begin(name: str) -> str:
    """Make this process a stage's, before imports that take a second: signals and dvc's death end it with one line.

    Returns the stage's full name, `tune@baseline` for an arm's: from DVC_STAGE, else from the first argument.
    """
    # what would tie forked workers to one core, or choose other products: torch reads it as it is loaded
    for pin in ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "MKL_CBWR"):
        os.environ.pop(pin, None)
    addressed = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    full = addressed if addressed.partition("@")[0] == name else "@".join([name, *sys.argv[1:2]])

    def end(number: int, frame: FrameType | None) -> None:
        again = "make survey" if OF_LEAGUE else "dvc repro"
        text = f"stopped by {signal.Signals(number).name}; finished runs are kept, go on with `{again}`{RESTORE}"
        with suppress(OSError):  # of a pipe that the same signal has closed
            os.write(2, f"{full}: {text}\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    die_with_parent(signal.SIGTERM)
    return full


def die_with_parent(number: int) -> None:
    """Ask Linux to signal this process when its parent dies; elsewhere nothing happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, number)  # PR_SET_PDEATHSIG


def run(name: str, main: Callable[[Settings], None], load: Callable[[], Settings] | None = None) -> None:
    """Run a stage's main function; an error ends the process with one message (with SVVR_DEBUG=1: a traceback).

    `load` reads the settings, by default params.yaml. DVC would record inputs as they are at the end (DVC #11058), so
    settings, code and records that the stage reads must not change while it runs.
    """
    if multiprocessing.parent_process():  # a worker that imports the script anew
        return
    from concurrent.futures import BrokenExecutor

    from svvr import params, records
    from svvr.execution import provenance

    try:
        before = provenance.hashes(provenance.files_of(Path(sys.argv[0])))
        before |= provenance.hashes(params.PENALTIES.glob("[!.]*.py"))
        settings: Any = (load or params.load)()
        if (arm := name.partition("@")[2]) and not load and arm not in settings.arms:
            raise ValueError(f"got the arm {arm}, expected one of {', '.join(settings.arms)}")
        main(settings)
        used = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
        watched = [path for path in before if path.parent != params.PENALTIES or str(path) in used]
        changed = [path for path, digest in provenance.hashes(watched).items() if digest != before[path]]
        if changed := [*changed, *records.changed()]:
            raise ValueError(f"{', '.join(map(str, changed))} changed while the stage ran; run it again")
    except (ValueError, OSError, MemoryError, RuntimeError, BrokenExecutor) as error:
        if os.environ.get("SVVR_DEBUG"):
            raise
        sys.exit(f"{name}: {_said(error)}{RESTORE if 'DVC_STAGE' in os.environ else ''}")


def report(name: str, rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return rows after printing how many failed, the first one's hyperparameters, and which were not measured."""
    failed = [row for row in rows if row.get("state") == "failed"]
    if failed:
        where = ", ".join(f"{key} {failed[0][key]:.3g}" for key in ("lr", "strength", "weight_decay"))
        print(f"{name}: {len(failed)} of {len(rows)} runs failed: a loss or gradient was not finite, first at {where}")
    for row in rows:
        if row.get("reason") and row.get("state") != "failed":
            keys = [key for key in ("study", "strength", "weight_decay", "seed") if key in row]
            print(f"{name}: {', '.join(f'{key} {row[key]}' for key in keys)}: not measured, {row['reason']}")
    return rows


def _said(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if "terminated abruptly" in text:
        return "a worker was killed, possibly out of memory; finished runs are kept, run it again or lower SVVR_WORKERS"
    if isinstance(error, MemoryError) or "allocate" in text:
        return "out of memory; lower model.hidden, training.batch_size or SVVR_WORKERS"
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text.splitlines()[0]}"
