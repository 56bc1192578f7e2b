"""What wraps a stage: a lock, a check that nothing changed meanwhile, clear errors."""

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from svvr.core.files import RecordError, file_hash
from svvr.core.messages import show
from svvr.core.params import ARM, Params, ParamsError, load
from svvr.run import cache, code
from svvr.run.lifetime import end_on_signals, kept

log = logging.getLogger("svvr")


def arm(script: str) -> str:
    """Return the arm of this stage: the one that dvc names in DVC_STAGE (`tune@ARM`), else the first argument.

    Its name never goes through a shell, as an argument in dvc.yaml would.

    Args:
        script: the stage's name without its arm.
    """
    addressed = os.environ.get("DVC_STAGE", "").rpartition(":")[2]
    name = addressed.partition("@")[2] if addressed.startswith(f"{script}@") else "".join(sys.argv[1:2])
    if not ARM.fullmatch(name):
        sys.exit(f"{script}: got the arm {show(name)}, expected a letter, then letters, digits or _")
    return name


def run(name: str, main: Callable[[Params], None], inputs: Iterable[Path], params: Path) -> None:
    """Run a stage's main function, and end the process with status 0 only if its result can be trusted.

    Args:
        name: the stage's, with its arm, e.g. `tune@baseline`.
        main: computes and writes the stage's outputs.
        inputs: files that the stage reads; they and the stage's code must not change while it runs.
        params: path of params.yaml.

    An error that it expects ends it with one line; with SVVR_DEBUG=1 the traceback is shown instead.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout or sys.stderr)
    logging.captureWarnings(True)
    end_on_signals(name)
    logging.raiseExceptions = False  # a reader of the output that has gone is no reason for tracebacks
    try:
        with _lock(name):
            script = getattr(sys.modules["__main__"], "__file__", None)
            watched, own = [params, *inputs], code.of_stage(Path(script).resolve()) if script else []
            before = _hashes([*watched, *own])
            settings = load(params)
            of = name.partition("@")[2]
            if of and of not in settings.arms:
                raise ParamsError(f"got the arm {of!r}, expected one of {', '.join(settings.arms)}")
            main(settings)
            if folder := cache.folder():
                cache.prune(folder)
            _refuse_change(before, _hashes([*watched, *code.in_use(own)]))
    except BrokenExecutor:
        sys.exit(f"{name}: a worker was killed, perhaps for want of memory; {kept()}, run it again")
    except (ValueError, OSError) as error:  # with those of params, records and cluster
        if os.environ.get("SVVR_DEBUG"):
            raise
        sys.exit(f"{name}: {error}{_hint()}")


def answer(name: str, text: str) -> None:
    """Print a stage's answer; end the process with a line where the output is closed or full.

    Args:
        name: the stage's.
        text: without the last line break.
    """
    if sys.stdout is None:
        sys.exit(f"{name}: the output cannot be written (it is closed)")
    try:
        print(text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains as it ends
        sys.exit(f"{name}: the output cannot be written ({error.strerror})")


def _hint() -> str:
    """Say how to get back what dvc removed before it ran the stage."""
    return "; committed results come back with: git checkout -- metrics plots" if "DVC_STAGE" in os.environ else ""


@contextmanager
def _lock(name: str) -> Iterator[None]:
    path = Path(".cache") / "locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise RecordError(f"{path}: the stage's lock cannot be made ({error.strerror})") from error
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process runs this stage; waiting for it to end", name)
        lock.acquire()
    with lock:  # counts acquisitions, hence the release of the first one
        lock.release()
        yield


def _hashes(paths: Iterable[Path]) -> dict[Path, str]:
    return {path: file_hash(path) for path in paths}


def _refuse_change(before: dict[Path, str], after: dict[Path, str]) -> None:
    changed = [str(path) for path, digest in after.items() if before.get(path, digest) != digest]
    if changed:
        raise RecordError(f"{', '.join(changed)} changed while the stage ran; run it again")
