"""What a result depends on beside its settings and data: code, packages, processor."""

import ast
import functools
import hashlib
import importlib.metadata
import os
import platform as system
import re
from collections.abc import Iterable
from modulefinder import ModuleFinder
from pathlib import Path

from svvr.records import Row

SOURCES = Path(__file__).resolve().parents[2]  # the folder that holds the package


def files_of(script: Path) -> list[Path]:
    """Return the project's files that a script imports, also later on, itself included; penalties are found by name."""
    finder = ModuleFinder(path=[str(SOURCES)])
    finder.run_script(str(script))
    return _files(finder)


@functools.cache
def code(modules: tuple[str, ...]) -> dict[str, str]:
    """Return the files that modules import, with a hash of what each computes: comments and docstrings do not count."""
    # a run already holds every setting that it uses, so how params are read cannot change its result
    finder = ModuleFinder(path=[str(SOURCES)], excludes=["svvr.params"])
    for module in modules:
        finder.import_hook(module)
    return {str(path.relative_to(SOURCES)): _computes(path.read_text(encoding="utf-8")) for path in _files(finder)}


def refuse_unknown(penalty: str) -> None:
    """Raise ValueError where a penalty imports code of this project that its arms' stages do not depend on."""
    own = f"svvr/penalties/{penalty}.py"
    known = {own, "svvr/__init__.py", "svvr/penalties/__init__.py", "svvr/polar.py"}
    if unknown := sorted(code((f"svvr.penalties.{penalty}",)).keys() - known):
        raise ValueError(f"{own}: got an import of {unknown[0]}, expected svvr.penalties and svvr.polar alone")


def _files(finder: ModuleFinder) -> list[Path]:
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return sorted(Path(file).resolve() for file in files if file)


def _computes(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()


@functools.cache
def platform() -> dict[str, str]:
    """Return what the last digits of a result depend on beside code and data: packages and processor."""
    import torch

    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy", "scipy", "mnist1d")}
    processor = {"cpu_capability": torch.backends.cpu.get_cpu_capability(), "processor": maker()}
    return {**versions, **processor, "MKL_CBWR": os.environ.get("MKL_CBWR", "")}


def maker() -> str:
    """Return who made the processor: MKL chooses its code by that too, not by the features alone."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        said = ""
    found = re.search(r"^(?:vendor_id|CPU implementer)\s*:\s*(\S+)", said, re.MULTILINE)
    return found[1] if found else system.processor()


@functools.cache
def identity() -> dict[str, str]:
    """Return what workers must have in common with this process: the platform and the package's code."""
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted((SOURCES / "svvr").rglob("[!.]*.py"))]
    return {**platform(), "svvr": hashlib.sha256("".join(digests).encode()).hexdigest()[:12]}


def row(device: str, workers: int) -> Row:
    """Describe this machine for the record of results."""
    import torch

    own = {"python": system.python_version(), "optuna": importlib.metadata.version("optuna"), "workers": workers}
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return {**platform(), **own, "machine": system.machine(), **gpu}


def hashes(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the sha256 of files as they are now."""
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
