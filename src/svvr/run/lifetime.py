"""How a process ends: at once on a signal, with a line that says what is kept; and not later than its parent."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

# What ties an OpenMP program to certain cores: torch reads it as it is loaded, and forked workers would share a core.
PINS = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")


def begin(name: str) -> None:
    """Make this process a stage's: call it first of all, before imports that take a second.

    SIGINT and SIGTERM end it with a line and status 128 + signal; so does the death of the parent. What would pin its
    workers to one core is dropped from the environment.

    Args:
        name: of the stage; with `@ARM` where dvc says so in DVC_STAGE.
    """
    for pin in PINS:
        os.environ.pop(pin, None)
    said = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    end_on_signals(said if said.partition("@")[0] == name else name)
    when_orphaned(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))


def when_orphaned(parent: int, act: Callable[[], None]) -> None:
    """Call `act` once, from a thread of its own, when this process's parent is no longer the given one.

    Args:
        parent: process id, as `os.getppid()` gave it at the start.
        act: what ends this process.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.3)
        act()

    threading.Thread(target=watch, daemon=True).start()


def end_on_signals(name: str) -> None:
    """End the process at SIGINT and SIGTERM, with a line and status 128 + signal, as worker processes would go on.

    Args:
        name: of the stage.
    """

    def end(number: int, frame: FrameType | None) -> None:
        os.write(2, f"{name}: stopped by {signal.Signals(number).name}; {kept()}; go on with `dvc repro`\n".encode())
        os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def kept() -> str:
    """Say whether finished runs outlive this process."""
    return "nothing is kept, since SVVR_CACHE is off" if cache_is_off() else "finished runs are kept"


def cache_is_off() -> bool:
    """Tell whether the environment switches the result cache off."""
    return os.environ.get("SVVR_CACHE", "").lower() == "off"
