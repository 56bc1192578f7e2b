"""What wraps a stage: no fault ends with status 0, and each ends with one line."""

import os
import signal
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from svvr import records
from svvr.execution import stage

TEXT = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
HINT = "; committed results come back with: git checkout -- metrics plots"


@pytest.fixture(autouse=True)
def script(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in {"params.yaml": TEXT, "a.json": "[1]", "tune.py": "import svvr.seeds\n"}.items():
        Path(name).write_text(text)
    monkeypatch.setattr(sys, "argv", ["tune.py"])
    return elsewhere / "tune.py"


def run(fault: Any, name: str = "tune@baseline") -> None:
    stage.run(name, Mock(side_effect=fault))  # which raises or calls it


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (ValueError("lr: got 0"), "lr: got 0"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (MemoryError(), "out of memory; lower model.hidden, training.batch_size or SVVR_WORKERS"),
        (BrokenProcessPool("terminated abruptly"), "a worker was killed, possibly out of memory; finished"),
        (lambda params: Path("params.yaml").write_text("a: 1"), "params.yaml changed while the stage ran; run it"),
        (lambda params: records.read_json("a.json") and Path("a.json").write_text("[2]"), "a.json changed while the"),
    ],
)
def test_a_fault_is_one_line(fault: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "dvc.yaml:tune@baseline")
    with pytest.raises(SystemExit) as ended:
        run(fault)
    line = str(ended.value.code)
    assert line.startswith(f"tune@baseline: {said}") and line.endswith(HINT) and line.isprintable()


def test_faults_before_main_bugs_and_debugging(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"^tune@gone: got the arm gone, expected one of baseline, .*log_det$"):
        run(AssertionError(), "tune@gone")
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
    monkeypatch.setenv("SVVR_DEBUG", "1")
    with pytest.raises(ValueError, match="lr: got 0"):
        run(ValueError("lr: got 0"))


def test_code_that_changes_counts_a_penalty_where_it_is_used(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("svvr.params.PENALTIES", Path("penalties"))
    Path("penalties").mkdir()
    for name in ("none", "sv_variance", "l2", "log_det"):
        Path(f"penalties/{name}.py").touch()
    monkeypatch.setitem(sys.modules, "own", SimpleNamespace(__file__="penalties/l2.py"))
    run(lambda params: Path("penalties/none.py").write_text(params.selection))
    for path in (Path("penalties/l2.py"), script):
        with pytest.raises(SystemExit, match=f"{path} changed while the stage ran"):
            run(lambda params, path=path: path.write_text("edited = 1"))


def test_the_name_is_dvc_s_or_the_argument_and_pins_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *arguments: None)
    monkeypatch.setattr(stage, "die_with_parent", lambda number: None)
    monkeypatch.setattr(sys, "argv", ["tune.py", "c"])
    for of_dvc, name in {"tune@a_1": "tune@a_1", "dvc.yaml:tune@b": "tune@b", "train@d": "tune@c"}.items():
        for variable in ("DVC_STAGE", "OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY"):
            monkeypatch.setenv(variable, of_dvc)
        assert stage.begin("tune") == name
        assert not any(name.startswith(("OMP", "GOMP")) for name in os.environ)


SLEEPS = """
import os, time
from svvr.execution import stage, workers
def main(params):
    with workers.executor(2) as (pool, n):
        print(os.getpid(), *{f.result() for f in [pool.submit(os.getpid) for _ in range(20)]}, flush=True)
        time.sleep(60)
stage.run(stage.begin("tune"), main)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "to_parent"), [("TERM", False), ("INT", False), ("KILL", True), ("KILL", False)])
def test_signals_and_the_parent_s_death_end_stage_and_workers(script: Path, number: str, to_parent: bool) -> None:
    script.write_text(SLEEPS)
    command = ["bash", "-c", f"{sys.executable} {script} baseline & wait $!"]
    shell = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    pids, which = shell.stdout.readline().split() if shell.stdout else [], signal.Signals[f"SIG{number}"]
    os.kill(shell.pid if to_parent else int(pids[0]), which)
    assert len(pids) >= 2 and shell.wait(20) == (-which if to_parent else 128 + which)
    _, said = shell.communicate(timeout=20)  # until the last worker, which holds them too, is gone
    stopped = f"tune@baseline: stopped by SIG{'TERM' if to_parent else number}; finished runs are kept, go on with `dvc"
    assert len(said.splitlines()) == 1 and said.startswith(stopped if to_parent or number != "KILL" else "bash: ")


def test_failed_and_unmeasured_runs_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    failed = {"state": "failed", "lr": 0.1, "strength": 3.0, "weight_decay": 0.0, "reason": "the run failed"}
    stage.report("tune@a", [{"state": "complete"}, failed, failed, {"study": 1, "seed": 7, "reason": "dead"}])
    assert capsys.readouterr().out.splitlines() == [
        "tune@a: 2 of 4 runs failed: a loss or gradient was not finite, first at lr 0.1, strength 3, weight_decay 0",
        "tune@a: study 1, seed 7: not measured, dead",
    ]
