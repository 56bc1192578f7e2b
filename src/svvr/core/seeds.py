"""Random streams by name: adding one moves no other. All of them start from one root seed, `seed` in params.yaml."""

import hashlib


def derive(*names: str | int) -> int:
    """Derive a seed from the names of a stream.

    Args:
        *names: what the stream is for, from the general to the particular, e.g. `("batch_order", 7)`.

    Returns:
        An integer in [0, 2**53), so that JSON readers that use doubles keep it exact.

    Raises:
        ValueError: without a name, or where a name is neither a string nor an integer.
    """
    if not names:
        raise ValueError("names of a random stream: got none, expected at least one")
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int):
            raise ValueError(f"name of a random stream: got {name!r}, expected a string or an integer")
    # repr tells 1 from "1", and the separator cannot be forged by a name because repr quotes strings
    digest = hashlib.sha256("/".join(map(repr, names)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 11


def tuning_seeds(root: int, study: int, n: int) -> list[int]:
    """Return the seeds on which every trial of every arm trains in a study (common random numbers)."""
    return [derive(root, "tuning", study, index) for index in range(n)]


def final_seeds(root: int, study: int, n: int) -> list[int]:
    """Return the seeds on which a study's winner is retrained: the same in every arm, disjoint from tuning's."""
    return [derive(root, "final", study, index) for index in range(n)]


def budget_seeds(root: int, replicate: int, n: int) -> list[int]:
    """Return the seeds on which every point of a replicate trains: the same in every arm, disjoint from the others."""
    return [derive(root, "budget", replicate, index) for index in range(n)]
