"""How far a stage is."""

import logging
import sys
import time

import pytest

from svvr.run import progress


def test_a_quiet_line_in_a_pipe(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 1.0, 30.0, 31.0, 32.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    count = progress.Progress("tune@baseline", 20, 2)
    for n, cached in ((4, True), (4, False), (4, False), (8, False)):
        count(n, "best loss 1.0", cached)
    count.close()
    assert caplog.messages == [
        "tune@baseline: 20 runs, 4 of them from the cache, about 60 s on 2 workers",
        "tune@baseline: 8 of 20 runs (4 from the cache) on 2 workers, 30 s, 90 s left, best loss 1.0",
        "tune@baseline: 20 of 20 runs (4 from the cache) on 2 workers, 32 s, best loss 1.0",
    ]


@pytest.mark.parametrize(
    "seconds,cached,said",
    [
        (3.0, 0, ["budget@baseline: 1000 runs, about 200 s on 2 workers"]),
        (3.0, 400, ["budget@baseline: 1000 runs, 400 of them from the cache, about 120 s on 2 workers"]),
        (0.1, 0, []),
    ],
)
def test_a_long_stage_says_at_its_start_how_long_it_takes(
    seconds: float, cached: int, said: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    count = progress.Progress("budget@baseline", 1000, 2)
    if cached:
        count(cached, cached=True)
    now = seconds / 2
    count(5)
    now = seconds
    count(5)
    count(10)
    assert caplog.messages == said


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    count = progress.Progress("tune@baseline", 20)
    count(20, "best loss 1.0")
    count.close()
    assert "20/20" in capsys.readouterr().err
