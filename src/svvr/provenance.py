"""On what a result was computed; nothing depends on it, since it differs between machines."""

import importlib.metadata
import os
import platform

import torch


def describe() -> dict[str, list[dict[str, str | int]]]:
    """Return the versions, processor capability and threads that determine the last digits of a result.

    They stand in a list of one, which the tables of `dvc metrics show` leave out.
    """
    packages = ("torch", "numpy", "scipy", "optuna", "mnist1d")
    facts: dict[str, str | int] = {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in packages},
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "workers": os.cpu_count() or 1,
        "threads_per_worker": 1,
    }
    return {"provenance": [facts]}
