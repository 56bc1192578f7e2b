"""How a process ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from svvr.run import lifetime


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("said,name", [("", "tune"), ("dvc.yaml:tune@a", "tune@a"), ("train@a", "tune")])
def test_a_signal_ends_a_stage_with_a_line(number: signal.Signals, said: str, name: str) -> None:
    code = (
        f"import os, time; from svvr.run import lifetime; lifetime.begin('tune'); os.kill(os.getpid(), {int(number)})"
    )
    result = subprocess.run(
        [sys.executable, "-c", f"{code}; os.kill(os.getpid(), {int(number)}); time.sleep(30)"],
        capture_output=True, text=True, timeout=20, env=os.environ | {"DVC_STAGE": said},
    )  # fmt: skip
    assert result.returncode == 128 + number
    assert result.stderr == f"{name}: stopped by {number.name}; finished runs are kept; go on with `dvc repro`\n"


def test_importing_the_package_installs_no_handler() -> None:
    code = "import signal, svvr, svvr.run.stage; print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)"
    environment = os.environ | {"DVC_STAGE": "tune@a"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_the_signal_s_line_says_whether_anything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_CACHE", "OFF")
    said: list[object] = []
    monkeypatch.setattr(os, "write", lambda descriptor, text: said.append(text))
    monkeypatch.setattr(os, "_exit", said.append)
    lifetime.end_on_signals("train@a")
    signal.raise_signal(signal.SIGTERM)
    line = b"train@a: stopped by SIGTERM; nothing is kept, since SVVR_CACHE is off; go on with `dvc repro`\n"
    assert said == [line, 143]


def test_an_orphan_acts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    acted = threading.Event()
    lifetime.when_orphaned(7, acted.set)
    assert acted.wait(5)
