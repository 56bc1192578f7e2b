"""What wraps a stage: a lock, interruption, a check that nothing changed meanwhile, clear errors."""

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from tqdm import tqdm

from svvr.core.files import RecordError, file_hash
from svvr.core.messages import show
from svvr.core.params import ARM, Params, ParamsError, load
from svvr.run.cache import prune
from svvr.run.lifetime import PARENT, cache_is_off, end_on_signals, kept, when_orphaned

log = logging.getLogger("svvr")
QUIET = 20  # seconds


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
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout or sys.stderr)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # a reader of the output that has gone is no reason for tracebacks
    end_on_signals(name)
    when_orphaned(PARENT, lambda: os.kill(os.getpid(), signal.SIGTERM))
    try:
        with _lock(name):
            watched = [params, *inputs]
            before = _hashes([*watched, *_code()])
            settings = load(params)
            of = name.partition("@")[2]
            if of and of not in settings.arms:
                raise ParamsError(f"got the arm {of!r}, expected one of {', '.join(settings.arms)}")
            main(settings)
            if folder := cache_folder():
                prune(folder)
            _refuse_change(before, _hashes([*watched, *_own(_code())]))
    except BrokenExecutor:
        sys.exit(f"{name}: a worker was killed, perhaps for want of memory; {kept()}, run it again")
    except (ValueError, OSError) as error:  # with those of params, records and cluster
        sys.exit(f"{name}: {error}{_hint()}")


def _hint() -> str:
    """Say how to get back what dvc removed before it ran the stage."""
    return "; committed results come back with: git checkout -- metrics plots" if "DVC_STAGE" in os.environ else ""


def cache_folder() -> Path | None:
    """Return the folder of the result cache, shared by temporary copies of the repository; None where it is off."""
    if cache_is_off():
        return None
    return Path(os.environ.get("DVC_ROOT", ".")) / ".cache" / "svvr"


class Progress:
    """Count finished units: a bar on a terminal; elsewhere a line at a tenth of them, at most every 20 s."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done, self._said = name, total, 0, 0
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=name, unit="run") if sys.stderr.isatty() else None

    def __call__(self, n: int, note: str = "") -> None:
        """Count n more finished units; `note` is shown beside the count."""
        self._done += n
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
            return
        tenth, now = 10 * self._done // self._total, time.monotonic()
        if self._done == self._total or (tenth > self._said and now > self._last + QUIET):
            self._said, self._last = tenth, now
            seconds = now - self._start
            log.info("%s: %d of %d runs, %.0f s%s", self._name, self._done, self._total, seconds, note and f", {note}")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


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


def _code() -> list[Path]:
    """Return the stage's script, the project's files that are imported now, and all penalties: workers import them."""
    root = Path(__file__).parent
    files = {Path(path) for m in list(sys.modules.values()) if (path := getattr(m, "__file__", None))}
    script = getattr(sys.modules["__main__"], "__file__", None)
    own = {path for path in files if root in path.parents} | ({Path(script)} if script else set())
    return sorted(own | set((root / "penalties").glob("*.py")))


def _own(code: Iterable[Path]) -> list[Path]:
    """Leave out the penalties that this stage does not use."""
    used = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return [path for path in code if path.parent.name != "penalties" or str(path) in used]


def _hashes(paths: Iterable[Path]) -> dict[Path, str]:
    return {path: file_hash(path) for path in paths}


def _refuse_change(before: dict[Path, str], after: dict[Path, str]) -> None:
    changed = [str(path) for path, digest in after.items() if before.get(path, digest) != digest]
    if changed:
        raise RecordError(f"{', '.join(changed)} changed while the stage ran; run it again")
