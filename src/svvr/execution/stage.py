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

# What would tie forked workers to one core, or choose other products: torch reads it as it is loaded
PINS = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY", "MKL_CBWR")
PR_SET_PDEATHSIG = 1
Settings = TypeVar("Settings")
RESTORE = "; committed results come back with: git checkout -- metrics plots"


def begin(name: str) -> str:
    """Make this process a stage's: call it before imports that take a second.

    SIGINT, SIGTERM and the death of dvc end it with one line and a non-zero status.

    Returns:
        The stage's full name, `tune@baseline` for an arm's: from DVC_STAGE, else from the first argument.
    """
    for pin in PINS:
        os.environ.pop(pin, None)
    addressed = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    full = addressed if addressed.partition("@")[0] == name else "@".join([name, *sys.argv[1:2]])

    def end(number: int, frame: FrameType | None) -> None:
        text = (
            f"{full}: stopped by {signal.Signals(number).name}; finished runs are kept, go on with `dvc repro`{RESTORE}"
        )
        os.write(2, f"{text}\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    die_with_parent(signal.SIGTERM)
    return full


def die_with_parent(number: int) -> None:
    """Ask Linux to signal this process when its parent dies; elsewhere nothing happens."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def run(name: str, main: Callable[[Settings], None], load: Callable[[], Settings] | None = None) -> None:
    """Run a stage's main function; an error ends the process with one message (with SVVR_DEBUG=1: a traceback).

    DVC would record inputs as they are at the end (DVC #11058), so settings, code and records that the stage reads must
    not change while it runs.

    Args:
        name: as `begin` returned it.
        main: computes and writes the stage's outputs.
        load: reads the settings, by default params.yaml.
    """
    if multiprocessing.parent_process():  # a worker that imports the script anew
        return
    from concurrent.futures import BrokenExecutor

    from svvr import params, records
    from svvr.execution import provenance

    try:
        before = provenance.hashes(provenance.files_of(Path(sys.argv[0])))
        before |= provenance.hashes(params.PENALTIES.glob("[!.]*.py"))
        main(load() if load else _params(name.partition("@")[2]))
        used = {str(getattr(module, "__file__", None)) for module in list(sys.modules.values())}
        watched = [path for path in before if path.parent != params.PENALTIES or str(path) in used]
        changed = [path for path, digest in provenance.hashes(watched).items() if digest != before[path]]
        if changed := [*changed, *records.changed()]:
            raise ValueError(f"{', '.join(map(str, changed))} changed while the stage ran; run it again")
    except (ValueError, OSError, MemoryError, RuntimeError, BrokenExecutor) as error:
        if os.environ.get("SVVR_DEBUG"):
            raise
        sys.exit(f"{name}: {_said(error)}{RESTORE if 'DVC_STAGE' in os.environ else ''}")


def _params(arm: str) -> Any:
    from svvr import params

    settings = params.load()
    if arm and arm not in settings.arms:
        raise ValueError(f"got the arm {arm}, expected one of {', '.join(settings.arms)}")
    return settings


def report(name: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print how many runs failed, with the hyperparameters of the first, and which could not be measured."""
    failed = [row for row in rows if row.get("state") == "failed"]
    if failed:
        where = ", ".join(f"{key} {failed[0][key]:.3g}" for key in ("lr", "strength", "weight_decay"))
        print(f"{name}: {len(failed)} of {len(rows)} runs failed: a loss or gradient was not finite, first at {where}")
    for row in rows:
        if row.get("reason") and row.get("state") != "failed":
            where = ", ".join(
                f"{key} {row[key]}" for key in ("study", "strength", "weight_decay", "seed") if key in row
            )
            print(f"{name}: {where}: not measured, {row['reason']}")


def _said(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    if "terminated abruptly" in text:
        return "a worker was killed, possibly out of memory; finished runs are kept, run it again or lower SVVR_WORKERS"
    if isinstance(error, MemoryError) or "allocate" in text:
        return "out of memory; lower model.hidden, training.batch_size or SVVR_WORKERS"
    return text if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: {text.splitlines()[0]}"
