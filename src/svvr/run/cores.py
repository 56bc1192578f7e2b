"""How many cores this process may use."""

import os

from loky import cpu_count


def n_workers() -> int:
    """Return the number of worker processes: SVVR_WORKERS, else the cores that affinity and container limits leave.

    Raises:
        ValueError: where SVVR_WORKERS is no whole number from 1 to 1024.
    """
    said = os.environ.get("SVVR_WORKERS")
    if said is None:
        return int(cpu_count())
    if not said.isdecimal() or not 1 <= int(said) <= 1024:
        raise ValueError(f"SVVR_WORKERS: got {said!r}, expected a whole number from 1 to 1024")
    return int(said)
