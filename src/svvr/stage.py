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
from types import FrameType

from filelock import FileLock, Timeout
from tqdm import tqdm

from svvr.cache import prune
from svvr.lifetime import when_orphaned
from svvr.params import Params, ParamsError, load
from svvr.records import RecordError, file_hash

log = logging.getLogger("svvr")
QUIET = 20  # seconds


def run(name: str, main: Callable[[Params], None], inputs: Iterable[Path], params: Path) -> None:
    """Run a stage's main function, and end the process with status 0 only if its result can be trusted.

    Args:
        name: the stage's, with its arm, e.g. `tune@baseline`.
        main: computes and writes the stage's outputs.
        inputs: files that the stage reads; they and the stage's code must not change while it runs.
        params: path of params.yaml.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.captureWarnings(True)
    _end_on_signals(name)
    try:
        with _lock(name):
            watched = [params, *inputs]
            before = _hashes([*watched, *_own_code()])
            main(load(params))
            if folder := cache_folder():
                prune(folder)
            _refuse_change(before, _hashes([*watched, *_own_code()]))
    except BrokenExecutor:
        sys.exit(f"{name}: a worker was killed, perhaps for want of memory; finished runs are kept, run it again")
    except (ParamsError, RecordError, ValueError, ConnectionError) as error:
        sys.exit(f"{name}: {error}")


def cache_folder() -> Path | None:
    """Return the folder of the result cache, shared by temporary copies of the repository; None where it is off."""
    if os.environ.get("SVVR_CACHE") == "off":
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
            sys.stdout.flush()

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _lock(name: str) -> Iterator[None]:
    path = Path(".cache") / "locks" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s: another process runs this stage; waiting for it to end", name)
        lock.acquire()
    with lock:  # counts acquisitions, hence the release of the first one
        lock.release()
        yield


def _end_on_signals(name: str) -> None:
    def end(number: int, frame: FrameType | None) -> None:
        kept = "finished runs are kept" if cache_folder() else "nothing is kept, since SVVR_CACHE is off"
        os.write(2, f"{name}: stopped by {signal.Signals(number).name}; {kept}; go on with `dvc repro`\n".encode())
        os._exit(128 + number)  # worker threads would finish their chunk first

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    when_orphaned(os.getppid(), lambda: os.kill(os.getpid(), signal.SIGTERM))


def _own_code() -> list[Path]:
    """Return the project's files that are imported now."""
    root = Path(__file__).parent
    files = {Path(path) for m in list(sys.modules.values()) if (path := getattr(m, "__file__", None))}
    return sorted(path for path in files if root in path.parents)


def _hashes(paths: Iterable[Path]) -> dict[Path, str]:
    return {path: file_hash(path) for path in paths}


def _refuse_change(before: dict[Path, str], after: dict[Path, str]) -> None:
    changed = [str(path) for path, digest in before.items() if after[path] != digest]
    if changed:
        raise RecordError(f"{', '.join(changed)} changed while the stage ran; run it again")
