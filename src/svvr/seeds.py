"""Random streams by name, from one root seed: adding a stream leaves the others unchanged."""

import hashlib


def derive(*names: str | int) -> int:
    """Derive a seed in [0, 2**31) from a stream's names, the general first, e.g. `derive(2, "tuning", 0, 1)`."""
    # repr tells 1 from "1", and quotes what could forge the separator; int, as a numpy integer has another repr
    parts = [repr(name if isinstance(name, str) else int(name)) for name in names]
    digest = hashlib.sha256("/".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def tuning_seeds(root: int, study: int, n: int) -> list[int]:
    """Return the seeds on which every trial of every arm trains in a study (common random numbers)."""
    return [derive(root, "tuning", study, index) for index in range(n)]


def final_seeds(root: int, study: int, n: int) -> list[int]:
    """Return the seeds on which a study's winner is retrained: the same in every arm, disjoint from tuning's."""
    return [derive(root, "final", study, index) for index in range(n)]


def budget_seeds(root: int, replicate: int, n: int) -> list[int]:
    """Return the seeds on which every point of a replicate trains: the same in every arm, disjoint from the others."""
    return [derive(root, "budget", replicate, index) for index in range(n)]
