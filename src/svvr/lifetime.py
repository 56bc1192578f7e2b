"""A process that does not outlive the one that started it."""

import os
import threading
import time
from collections.abc import Callable


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
