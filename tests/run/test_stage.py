"""What wraps a stage."""

import logging
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest
from filelock import FileLock

from svvr.core.files import RecordError
from svvr.core.params import Params
from svvr.run import lifetime, stage

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder, and leave signals and logging as they were."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stage, "when_orphaned", lambda parent, act: None)
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)
    logging.captureWarnings(False)


def run(main: Callable[[Params], None], inputs: list[Path] | None = None) -> None:
    stage.run("tune@baseline", main, inputs or [], Path("params.yaml"))


def test_main_gets_the_params() -> None:
    seen: list[Params] = []
    run(seen.append)
    assert seen[0].training.epochs == 20


@pytest.mark.parametrize(
    "error", [RecordError("a.json: gone"), ValueError("lr: got 0"), ConnectionError("no scheduler")]
)
def test_a_known_error_is_one_line_and_status_1(error: Exception) -> None:
    def fail(params: Params) -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        run(fail)
    assert ended.value.code == f"tune@baseline: {error}"


def test_a_killed_worker_is_one_line() -> None:
    def fail(params: Params) -> None:
        raise BrokenProcessPool("terminated abruptly")

    with pytest.raises(SystemExit, match=r"tune@baseline: a worker was killed, .* finished runs are kept"):
        run(fail)


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda params: 1 / 0)  # type: ignore[func-returns-value, arg-type, return-value]


def test_bad_params_are_refused_before_main() -> None:
    Path("params.yaml").write_text("training: 3\n")
    with pytest.raises(SystemExit, match=r"tune@baseline: params\.yaml: "):
        run(lambda params: pytest.fail("main ran"))


@pytest.mark.parametrize("name", ["params.yaml", "input.npz"])
def test_what_changes_while_the_stage_runs_is_named(name: str) -> None:
    Path("input.npz").write_text("before")

    def edit(params: Params) -> None:
        path = Path(name)
        path.write_text(path.read_text() + "\n# edited\n")

    with pytest.raises(SystemExit, match=f"tune@baseline: {name} changed while the stage ran; run it again"):
        run(edit, [Path("input.npz")])


def test_code_that_changes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Path("own.py")
    module.write_text("a = 1\n")
    monkeypatch.setattr(stage, "_code", lambda: [module])
    with pytest.raises(SystemExit, match=r"own\.py changed"):
        run(lambda params: module.write_text("a = 2\n") and None)


def test_the_code_is_the_script_the_imported_files_and_the_penalties_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "stages/tune.py", raising=False)
    names = {path.name for path in stage._code()}
    assert {"stage.py", "params.py", "records.py", "sv_variance.py", "l2.py"} <= names
    assert "tune.py" in names and "test_stage.py" not in names
    code = "from svvr import stage; import svvr.penalties.l2; print(*[path.name for path in stage._own(stage._code())])"
    own = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"stage.py", "l2.py"} <= set(own) and "orthogonality.py" not in own


@pytest.mark.parametrize(
    "stage_of_dvc,argument,expected",
    [("tune@a_1", "", "a_1"), ("dvc.yaml:tune@b", "c", "b"), ("", "c", "c"), ("train@b", "c", "c")],
)
def test_the_arm_is_dvc_s_or_the_argument(
    monkeypatch: pytest.MonkeyPatch, stage_of_dvc: str, argument: str, expected: str
) -> None:
    monkeypatch.setenv("DVC_STAGE", stage_of_dvc)
    monkeypatch.setattr(sys, "argv", ["stages/tune.py", *filter(None, [argument])])
    assert stage.arm("tune") == expected


@pytest.mark.parametrize("argument", ["", "a b", "../a", "$(x)", "9", "a" * 65])
def test_what_is_no_arm_s_name_is_refused(monkeypatch: pytest.MonkeyPatch, argument: str) -> None:
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(sys, "argv", ["stages/tune.py", *filter(None, [argument])])
    with pytest.raises(SystemExit, match=r"tune: got the arm '.*', expected a letter, then letters, digits or _"):
        stage.arm("tune")


def test_an_arm_that_is_not_in_params_is_named() -> None:
    with pytest.raises(SystemExit, match="tune@gone: got the arm 'gone', expected one of baseline, regularized"):
        stage.run("tune@gone", lambda params: pytest.fail("main ran"), [], Path("params.yaml"))


def test_under_dvc_an_error_says_how_to_get_the_results_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_STAGE", "tune@baseline")
    Path("params.yaml").unlink()
    with pytest.raises(
        SystemExit, match=r"params\.yaml: .*; committed results come back with: git checkout -- metrics"
    ):
        stage.run("tune@baseline", lambda params: None, [], Path("params.yaml"))


@pytest.mark.parametrize("name", [".cache", ".cache/locks", ".cache/locks/tune@baseline.lock"])
def test_a_lock_that_cannot_be_made_is_one_line(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".lock"):
        Path(name).mkdir()
    else:
        Path(name).write_text("a file in the folder's place")
    with pytest.raises(SystemExit, match=r"tune@baseline: .*tune@baseline\.lock"):
        run(lambda params: pytest.fail("main ran"))


def test_two_copies_of_a_stage_wait_for_each_other(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Path(".cache/locks").mkdir(parents=True)
    acquired = threading.Event()

    def hold() -> None:
        with FileLock(".cache/locks/tune@baseline.lock"):
            acquired.set()
            time.sleep(0.5)

    threading.Thread(target=hold).start()
    acquired.wait()
    start = time.monotonic()
    run(lambda params: None)
    assert time.monotonic() - start > 0.3
    assert "tune@baseline: another process runs this stage; waiting for it to end" in caplog.text


def test_the_cache_s_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SVVR_CACHE", raising=False)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    assert stage.cache_folder() == Path(".cache/svvr")
    monkeypatch.setenv("DVC_ROOT", "/original")
    assert stage.cache_folder() == Path("/original/.cache/svvr")
    monkeypatch.setenv("SVVR_CACHE", "off")
    assert stage.cache_folder() is None


def test_progress_is_a_quiet_line_in_a_pipe(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    clock = iter([0.0, 1.0, 30.0, 31.0, 32.0])
    monkeypatch.setattr(stage.time, "monotonic", lambda: next(clock))
    count = stage.Progress("tune@baseline", 20)
    for n in (4, 4, 4, 8):
        count(n, "best loss 1.0")
    count.close()
    assert caplog.messages == [
        "tune@baseline: 8 of 20 runs, 30 s, best loss 1.0",
        "tune@baseline: 20 of 20 runs, 32 s, best loss 1.0",
    ]


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    count = stage.Progress("tune@baseline", 20)
    count(20, "best loss 1.0")
    count.close()
    assert "20/20" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_process_with_a_line(number: signal.Signals, tmp_path: Path) -> None:
    code = (
        "import os, time; from pathlib import Path; from svvr import stage\n"
        f"def main(params): os.kill(os.getpid(), {int(number)}); time.sleep(30)\n"
        "stage.run('tune@baseline', main, [], Path('params.yaml'))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, cwd=tmp_path)
    assert result.returncode == 128 + number
    assert result.stderr == f"tune@baseline: stopped by {number.name}; finished runs are kept; go on with `dvc repro`\n"


def test_the_signal_s_line_says_whether_anything_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVVR_CACHE", "OFF")
    said: list[object] = []
    monkeypatch.setattr(lifetime.os, "write", lambda descriptor, text: said.append(text))
    monkeypatch.setattr(lifetime.os, "_exit", said.append)
    lifetime.end_on_signals("train@a")
    signal.raise_signal(signal.SIGTERM)
    assert said == [
        b"train@a: stopped by SIGTERM; nothing is kept, since SVVR_CACHE is off; go on with `dvc repro`\n",
        143,
    ]


def test_an_orphan_acts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = iter([7, 7, 1])
    monkeypatch.setattr(lifetime.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(lifetime.time, "sleep", lambda seconds: None)
    acted = threading.Event()
    lifetime.when_orphaned(7, acted.set)
    assert acted.wait(5)
