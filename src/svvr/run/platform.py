"""On what a result was computed."""

import functools
import importlib.metadata
import platform as system
import re
from pathlib import Path

import torch

from svvr.run.cores import n_workers


def platform() -> dict[str, str]:
    """Return what the last digits of a result depend on beside code and data: package versions and processor."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy")}
    return {**versions, "cpu_capability": torch.backends.cpu.get_cpu_capability(), "processor": maker()}


@functools.cache
def maker() -> str:
    """Return who made the processor, as MKL chooses its code by that too, not by the features alone."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    found = re.search(r"^(?:vendor_id|CPU implementer)\s*:\s*(\S+)", said, re.MULTILINE)
    return found[1] if found else system.processor()


def describe(device: str = "cpu") -> dict[str, list[dict[str, str | int]]]:
    """Return what the last digits of a result depend on, and the machine that started the runs, with its cores.

    No stage depends on them, since they differ between machines. They stand in a list of one, which the tables of
    `dvc metrics show` leave out.

    Args:
        device: on which runs were trained; of `cuda` the GPU's name is told too.
    """
    facts: dict[str, str | int] = {
        "python": system.python_version(),
        **platform(),
        **{name: importlib.metadata.version(name) for name in ("optuna", "mnist1d")},
        "machine": system.machine(),
        "workers": n_workers(),
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
    return {"provenance": [facts]}
