"""What code determines a result: the files that a module or script imports, followed to the end.

The one answer to that question: the keys of the result cache, the check that nothing changed while a stage ran, what
makes a cluster's workers alike, and the dependencies in dvc.yaml all come from here.
"""

import functools
import hashlib
import sys
from collections.abc import Iterable
from modulefinder import ModuleFinder
from pathlib import Path

SOURCES = Path(__file__).resolve().parents[2]  # the folder that holds the package
PENALTIES = SOURCES / "svvr" / "penalties"
# A unit of work already holds every setting that it uses, so how params are read cannot change its result.
SETTINGS = ("svvr.core.params",)


@functools.cache
def of_script(script: Path) -> tuple[Path, ...]:
    """Return the project's files that a script imports, itself included, sorted; what it imports later on, too.

    Penalties are found by name, hence not among them.
    """
    finder = ModuleFinder(path=[str(SOURCES)])
    finder.run_script(str(script))
    return _files(finder)


def of_stage(script: Path) -> list[Path]:
    """Return the files that a stage may use: those of its script, and every penalty."""
    return sorted({*of_script(script), *PENALTIES.rglob("*.py")})


def in_use(files: Iterable[Path]) -> list[Path]:
    """Leave out the penalties that this process has not loaded."""
    loaded = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return [path for path in files if PENALTIES not in path.parents or str(path) in loaded]


@functools.cache  # what this process runs, whatever happens to the files meanwhile
def of_unit(modules: tuple[str, ...]) -> dict[str, str]:
    """Return what code determines a unit of work: file below the sources -> sha256, as this process read it first.

    Args:
        modules: names of the modules that compute it, such as `svvr.learn.train`; what they import is followed.

    Raises:
        ValueError: where there is no such module.
    """
    finder = ModuleFinder(path=[str(SOURCES)], excludes=list(SETTINGS))
    for module in modules:
        try:
            finder.import_hook(module)
        except ImportError:
            raise ValueError(f"module of a unit: got {module!r}, expected one that can be imported") from None
    return {str(path.relative_to(SOURCES)): file_hash(path) for path in _files(finder)}


@functools.cache
def of_package() -> str:
    """Return a hash of all of the package's files, as this process read them first: alike on all workers."""
    digests = [file_hash(path) for path in sorted((SOURCES / "svvr").rglob("*.py"))]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:12]


def penalty(name: str) -> str:
    """Return the module of a penalty."""
    return f"svvr.penalties.{name}"


@functools.cache
def file_hash(path: Path) -> str:
    """Return the sha256 of a source file, as this process read it first."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _files(finder: ModuleFinder) -> tuple[Path, ...]:
    files = (getattr(module, "__file__", None) for module in finder.modules.values())
    return tuple(sorted(Path(file).resolve() for file in files if file))
