"""How far a stage is: a bar on a terminal, a quiet line elsewhere."""

import logging
import sys
import time

from tqdm import tqdm

log = logging.getLogger("svvr")
QUIET = 20  # seconds
SURE, LONG = 3, 10  # seconds after which a stage tells how long it takes, if it takes as long as that


class Progress:
    """Count finished units: a bar on a terminal; elsewhere a line at a tenth of them, at most every 20 s.

    A long stage says at its start how long it takes, taking each worker to be about as far as the one that ended last.
    """

    def __init__(self, name: str, total: int, workers: int = 1, kind: str = "workers") -> None:
        self._name, self._total, self._done, self._said, self._cached, self._unsaid = name, total, 0, 0, 0, True
        self.on(workers, kind)
        self._start = self._last = time.monotonic()
        self._bar = tqdm(total=total, desc=name, unit="run") if sys.stderr.isatty() else None

    def on(self, workers: int, kind: str) -> None:
        """Take note of how many of which kind compute what is counted from here on."""
        self._workers, self._where = workers, f"{workers} {kind}"

    def __call__(self, n: int, note: str = "", cached: bool = False) -> None:
        """Count n more finished units, looked up or computed; `note` is shown beside the count."""
        self._done += n
        self._cached += n * cached
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(n)
            return
        tenth, now = 10 * self._done // self._total, time.monotonic()
        if self._unsaid and not cached and now - self._start >= SURE:
            self._unsaid, computed = False, self._done - self._cached + n * (self._workers - 1)
            about = (now - self._start) * (self._total - self._cached) / computed
            if about > LONG:
                found = f", {self._cached} of them from the cache" if self._cached else ""
                log.info("%s: %d runs%s, about %.0f s on %s", self._name, self._total, found, about, self._where)
        if self._done == self._total or (tenth > self._said and now > self._last + QUIET):
            self._said, self._last = tenth, now
            left = (now - self._start) * (self._total - self._done) / max(1, self._done - self._cached)
            rest = f", {left:.0f} s left" if self._done < self._total else ""
            seconds = now - self._start
            from_cache = f" ({self._cached} from the cache)" if self._cached else ""
            where = f" on {self._where}" if self._cached < self._done else ""
            text = f"{self._name}: {self._done} of {self._total} runs{from_cache}{where}, {seconds:.0f} s{rest}"
            log.info("%s%s", text, note and f", {note}")

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()
