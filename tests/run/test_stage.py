"""What wraps a stage."""

import logging
import signal
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
from svvr.run import code, stage

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Run in an empty folder, and leave signals and logging as they were."""
    monkeypatch.chdir(tmp_path)
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
    def fail(params: Params) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(fail)


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
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "stages/tune.py", raising=False)
    monkeypatch.setattr(code, "of_stage", lambda script: [module])

    def edit(params: Params) -> None:
        module.write_text("a = 2\n")

    with pytest.raises(SystemExit, match=r"own\.py changed"):
        run(edit)


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
