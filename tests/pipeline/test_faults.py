"""Nothing lost: interruption, edits while a stage runs, damaged and tampered files, in a copy of the pipeline."""

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Dask
from tests.copies import OF_ARM, Copy, forks

pytestmark = [pytest.mark.usefixtures("restored"), pytest.mark.slow]


@pytest.mark.parametrize(
    "edit,message",
    [
        (lambda p: p["training"].update(epoch=3), "training.epoch"),
        (lambda p: p["training"].update(epochs="many"), "training.epochs"),
        (lambda p: p["tuning"]["space"]["lr"].update(low=1.0), "tuning.space.lr"),
        (lambda p: p["arms"]["regularized"].update(reference="gone"), "arms.regularized.reference"),
        (lambda p: p["arms"]["regularized"]["penalty"].update(name="gone"), "arms.regularized.penalty.name"),
        (lambda p: p["arms"].pop("regularized"), "compare.contrasts.0: got 'regularized', expected one of the arms"),
    ],
)
def test_bad_params_are_one_line_and_touch_no_result(copy: Copy, edit: Any, message: str) -> None:
    before, params = copy.results(), copy.params()
    edit(params)
    copy.write_params(params)
    for script in (("stages/tune.py", "baseline"), ("stages/compare.py",)):
        output = copy.run("python", *script, status=1, PYTHONPATH="src")
        assert message in output and "Traceback" not in output and len(output.splitlines()) == 1
    assert copy.results() == before


@pytest.mark.parametrize(
    "stage,name",
    [
        ("train", "data/dev.npz"),
        ("train", "data/test.npz"),
        ("train", "metrics/tune/baseline.json"),
        ("diagnose", "data/weights/baseline.npz"),
        ("diagnose", "metrics/train/baseline.json"),
    ],
)
@pytest.mark.parametrize("content", [b"", b"foreign", None])
def test_a_damaged_input_is_one_line(copy: Copy, stage: str, name: str, content: bytes | None) -> None:
    path, output_of = copy.folder / name, copy.folder / f"metrics/{stage}/baseline.json"
    whole, before = path.read_bytes(), output_of.read_bytes()
    path.unlink()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    try:
        output = copy.run("python", f"stages/{stage}.py", "baseline", status=1, PYTHONPATH="src")
        assert name in output and "Traceback" not in output and len(output.splitlines()) == 1
        assert output_of.read_bytes() == before
    finally:
        path.write_bytes(whole)


def processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cwd").samefile(folder):
                found.append(int(process.name))
    return found


def children(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []


def until_training(copy: Copy, process: subprocess.Popen[str]) -> None:
    """Wait until a stage in a copy, which a process has begun, has started its workers."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if any(len(children(pid)) > 1 for pid in processes_in(copy.folder)):
            time.sleep(0.2)
            assert process.poll() is None
            return
        assert process.poll() is None
        time.sleep(0.1)
    raise AssertionError("no worker started within 60 s")


def test_weights_of_another_arm_are_refused(copy: Copy) -> None:
    copy.run("dvc", "checkout", "-q", "-f")
    path = copy.folder / "data/weights/baseline.npz"
    whole, before = path.read_bytes(), copy.results()
    path.unlink()
    path.write_bytes((copy.folder / "data/weights/regularized.npz").read_bytes())
    try:
        for script, message in (
            (("diagnose.py", "baseline"), "weights of study 0, seed "),
            (("compare.py",), "test losses of arm baseline: got others than"),
        ):
            output = copy.run("python", f"stages/{script[0]}", *script[1:], status=1, PYTHONPATH="src")
            assert message in output and len(output.splitlines()) == 1
        assert copy.results() == before
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("lr", [1e3, 1e12])
def test_a_training_that_leads_nowhere_is_recorded(copy: Copy, lr: float) -> None:
    """A dead network's Hessian is zero, and a diverged one's is not a number: neither ends the stage."""
    params = copy.params()
    params["dose_response"]["settings"] = [{"lr": lr, "weight_decay": 0}]
    copy.write_params(params)
    copy.run("python", "stages/dose_response.py", PYTHONPATH="src")
    dose = copy.json("dose_response.json")
    assert len(dose["runs"]) == 4
    for run in dose["runs"]:
        assert run["state"] in ("complete", "failed") and (run["test_loss"] is None) == (run["state"] == "failed")
        assert (run["smoothness"] is None) == ("reason" in run)
    assert any("reason" in run for run in dose["runs"]) and None in dose["smoothness"]["mean"]
    copy.run("python", "stages/plot.py", PYTHONPATH="src")


def test_a_params_file_edited_while_a_stage_runs_is_not_recorded(copy: Copy) -> None:
    params = copy.params()
    params["training"]["epochs"] = 100
    copy.write_params(params)
    process = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@baseline"], cwd=copy.folder,
        env=copy.environment() | forks() | {"SVVR_CACHE": "off"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_training(copy, process)
    params["training"]["epochs"] = 3
    copy.write_params(params)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0 and "params.yaml changed while the stage ran" in output
    assert "epochs: 100" not in (copy.folder / "dvc.lock").read_text()


@pytest.mark.parametrize("name", ["src/svvr/penalties/sv_variance.py", "stages/tune.py", "src/svvr/learn/adam.py"])
def test_code_edited_while_a_stage_runs_is_neither_recorded_nor_kept(copy: Copy, name: str) -> None:
    params = copy.params()
    params["training"]["epochs"] = 60
    copy.write_params(params)
    shutil.rmtree(copy.folder / ".cache/svvr", ignore_errors=True)
    process = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@regularized"], cwd=copy.folder, env=copy.environment() | forks(),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    until_training(copy, process)
    path = copy.folder / name
    code = path.read_text()
    edited = code.replace("EPSILON = 0.9,", "EPSILON = 0.5,") + "\n"
    assert ("EPSILON = 0.5," in edited) == ("adam" in name)
    path.write_text(edited)
    output = process.communicate(timeout=120)[0]
    assert process.returncode != 0 and f"{Path(name).name} changed while the stage ran; run it again" in output
    assert output.splitlines()[-1].startswith("ERROR") and "git checkout -- metrics plots" in output
    if "adam" in name:  # the code that ran is not that of the file now: the cache must not say so
        copy.run("dvc", "repro", "-s", "tune@regularized")
        kept = copy.json("tune/regularized.json")
        copy.run("dvc", "repro", "-f", "-s", "tune@regularized", SVVR_CACHE="off")
        assert copy.json("tune/regularized.json") == kept


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
def test_a_stage_ends_with_dvc_whatever_the_shell(copy: Copy, shell: str) -> None:
    params = copy.params()
    params["training"]["epochs"] = 3000
    copy.write_params(params)
    parent = subprocess.Popen(
        ["dvc", "repro", "-s", "tune@baseline"], cwd=copy.folder, env=copy.environment() | {"SHELL": shell}, text=True
    )
    until_training(copy, parent)
    assert len(processes_in(copy.folder)) >= 4  # dvc, the stage and its workers
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 3
    while (left := processes_in(copy.folder)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def stage_in_flight(copy: Copy, **environment: str) -> subprocess.Popen[str]:
    params = copy.params()
    params["training"]["epochs"] = 3000
    copy.write_params(params)
    process = subprocess.Popen(
        ["python", "stages/tune.py", "baseline"], cwd=copy.folder, text=True,
        env=copy.environment() | {"PYTHONPATH": "src"} | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    until_training(copy, process)
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_stage_at_once_with_a_line(copy: Copy, number: signal.Signals) -> None:
    process = stage_in_flight(copy)
    process.send_signal(number)
    assert process.wait(timeout=2) == 128 + number
    output = process.communicate(timeout=20)[0]  # its workers hold the pipe until they see that they are orphans
    assert output.splitlines()[-1] == (
        f"tune@baseline: stopped by {number.name}; finished runs are kept; go on with `dvc repro`"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_stage_still_imports_is_a_line_too(copy: Copy, number: signal.Signals) -> None:
    process = subprocess.Popen(
        ["python", "stages/tune.py"], cwd=copy.folder, text=True, stderr=subprocess.PIPE,
        env=copy.environment() | {"PYTHONPATH": "src", "DVC_STAGE": "tune@baseline"},
    )  # fmt: skip
    itself = Path(f"/proc/{process.pid}")  # which begins as a fork of this one
    while b"tune.py" not in (itself / "cmdline").read_bytes() or "/numpy/" not in (itself / "maps").read_text():
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait(timeout=2) == 128 + number
    assert process.communicate(timeout=20)[1] == (
        f"tune@baseline: stopped by {number.name}; finished runs are kept; go on with `dvc repro`\n"
    )


def test_stages_killed_at_random_moments_resume_with_the_same_bytes(copy: Copy) -> None:
    """20 kills over tune, train and diagnose, from an empty cache; then each is run to its end."""
    before = copy.results()
    shutil.rmtree(copy.folder / ".cache/svvr")
    rng, in_flight = random.Random(0), 0
    for number in range(20):
        script = f"stages/{('tune', 'train', 'diagnose')[number % 3]}.py"
        process = subprocess.Popen(
            ["python", script, "regularized"], cwd=copy.folder, stdout=subprocess.DEVNULL,
            env=copy.environment() | forks() | {"PYTHONPATH": "src"},
        )  # fmt: skip
        time.sleep(rng.uniform(0.05, 0.4))
        in_flight += process.poll() is None
        process.kill()
        process.wait()
    assert in_flight > 5
    for stage in OF_ARM:
        copy.run("python", f"stages/{stage}.py", "regularized", PYTHONPATH="src")
    assert copy.results() == before
    ignored = copy.run("git", "status", "--porcelain", "--", "metrics")
    assert "tmp" not in ignored


def test_dvc_killed_with_its_stage_resumes_with_the_same_lock(copy: Copy) -> None:
    command = ["dvc", "repro", "-f", "-s", "tune@regularized"]
    params = copy.params()
    params["training"]["epochs"] = 60
    copy.write_params(params)
    copy.run(*command)
    lock, results = (copy.folder / "dvc.lock").read_bytes(), copy.results()
    copy.run("git", "checkout", "-q", "--", "dvc.lock", "metrics")
    shutil.rmtree(copy.folder / ".cache/svvr")
    process = subprocess.Popen(
        command, cwd=copy.folder, env=copy.environment(), start_new_session=True, stdout=subprocess.DEVNULL, text=True
    )
    until_training(copy, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (copy.folder / "dvc.lock").read_bytes() != lock
    copy.run(*command)
    assert (copy.folder / "dvc.lock").read_bytes() == lock and copy.results() == results


def test_a_cluster_writes_the_bytes_of_the_local_run(copy: Copy, dask: Dask) -> None:
    before = copy.results()
    for script in ("tune", "train", "diagnose"):
        copy.run(
            "python", f"stages/{script}.py", "regularized",
            PYTHONPATH="src", SVVR_CACHE="off", SVVR_SCHEDULER=dask.address,
        )  # fmt: skip
    assert copy.results() == before


def test_a_diverging_arm_is_recorded_as_failed_and_gets_no_verdict(copy: Copy) -> None:
    copy.run("dvc", "checkout", "-q", "-f")
    tune = copy.folder / "metrics/tune/regularized.json"
    record = json.loads(tune.read_text())
    study = record["studies"][1]
    for trial in study["trials"]:
        if trial["params"] == study["best"]:
            trial["params"]["lr"] = study["best"]["lr"] = 1e30
            break
    tune.write_text(json.dumps(record))
    for script in (("train.py", "regularized"), ("diagnose.py", "regularized"), ("compare.py",)):
        copy.run("python", f"stages/{script[0]}", *script[1:], PYTHONPATH="src")
    train = copy.json("train/regularized.json")
    failed = [run for run in train["runs"] if run["state"] == "failed"]
    assert train["n_failed"] == len(failed) == 2 and all(run["test_loss"] is None for run in failed)
    first = copy.json("summary.json")["contrasts"][0]
    assert first["verdict"] == "no verdict" and "study 1" in first["sentence"]


def test_a_study_without_a_complete_trial_is_one_line(copy: Copy) -> None:
    params = copy.params()
    params["tuning"]["space"]["lr"] = {"low": 5.0e11, "high": 1.0e12}
    copy.write_params(params)
    output = copy.run("python", "stages/tune.py", "baseline", status=1, PYTHONPATH="src")
    assert output.splitlines()[-1] == (
        "tune@baseline: arm baseline, study 0: all 3 trials failed, expected at least one to converge"
    )
    assert "Traceback" not in output


def test_a_search_that_finds_nothing_better_than_a_guess_says_so(copy: Copy) -> None:
    params = copy.params()
    params["tuning"]["space"]["lr"] = {"low": 1.0e-9, "high": 1.1e-9}  # the networks stay as they began
    copy.write_params(params)
    output = copy.run("python", "stages/tune.py", "baseline", PYTHONPATH="src")
    assert "tune@baseline: in no study is a trial better than a guess among 10 classes" in output


def write_penalty(copy: Copy, body: str) -> None:
    """Write a user's penalty, and an arm that uses it."""
    (copy.folder / "src/svvr/penalties/mine.py").write_text(f"import torch\n\n\ndef penalty(W):\n    {body}\n")
    params = copy.params()
    strength = {"low": 0.1, "high": 1.0}
    params["arms"]["mine"] = {"tune": ["lr", "strength"], "penalty": {"name": "mine", "strength": strength}}
    copy.write_params(params)


@pytest.mark.parametrize(
    "body,message",
    [
        ("return W.sum()", r"got a value of shape \(\), expected \(\d+,\)"),
        ("return (W.sum((-2, -1)) * 0 - 1).sqrt()", "got a gradient that is not finite at finite"),
        ("return torch.linalg.cholesky(W.mT @ W).sum((-2, -1))", r"svvr/penalties/mine\.py:5: _?LinAlgError: "),
        ("return missing", r"svvr/penalties/mine\.py:5: NameError: name 'missing' is not defined"),
        ("return W.sum((-2, -1)", r"svvr/penalties/mine\.py:5: SyntaxError: '\(' was never closed"),
        ("return torch.randn(len(W)) * W.sum((-2, -1))", "got a draw from a global random generator, expected"),
        ("return W.square().sum((-2, -1)) / W.norm()", "got another gradient for a matrix alone than in a stack, exp"),
    ],
)
def test_a_penalty_that_does_not_work_is_one_line(copy: Copy, body: str, message: str) -> None:
    write_penalty(copy, body)
    for script in ("tune", "budget"):
        output = copy.run("python", f"stages/{script}.py", "mine", status=1, PYTHONPATH="src")
        assert re.fullmatch(f"{script}@mine: penalty 'mine': {message}.*\n", output), output


def test_the_traceback_of_a_penalty_is_shown_on_demand(copy: Copy) -> None:
    write_penalty(copy, "return missing")
    output = copy.run("python", "stages/tune.py", "mine", status=1, PYTHONPATH="src", SVVR_DEBUG="1")
    assert "Traceback" in output and "return missing" in output and "NameError" in output


def test_an_output_that_cannot_be_written_is_one_line(copy: Copy) -> None:
    shutil.rmtree(copy.folder / "metrics/tune")
    (copy.folder / "metrics/tune").write_text("a file in the folder's place")
    try:
        output = copy.run("python", "stages/tune.py", "baseline", status=1, PYTHONPATH="src")
        assert "metrics/tune/baseline.json: cannot be written" in output and "Traceback" not in output
    finally:
        (copy.folder / "metrics/tune").unlink()


@pytest.mark.parametrize(
    "name,edit,message",
    [
        ("train/regularized.json", lambda r: r["runs"].pop(), "regularized"),
        ("train/regularized.json", lambda r: r.update(arm="baseline"), "arm: got 'baseline', expected 'regularized'"),
        ("train/baseline.json", lambda r: r["runs"][0].update(seed=1), "seed"),
        ("train/baseline.json", lambda r: r["runs"][0].update(initial_weights="trained"), "initial weights"),
        ("diagnose/baseline.json", lambda r: r["runs"][0].update(smoothness="flat"), "smoothness"),
        ("tune/baseline.json", lambda r: r["studies"][0]["trials"].pop(), "trials"),
    ],
)
def test_a_tampered_record_is_one_line(copy: Copy, name: str, edit: Any, message: str) -> None:
    path, before = copy.folder / "metrics" / name, (copy.folder / "metrics/summary.json").read_bytes()
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(record))
    output = copy.run("python", "stages/compare.py", status=1, PYTHONPATH="src")
    assert message in output and "Traceback" not in output and len(output.splitlines()) == 1
    assert (copy.folder / "metrics/summary.json").read_bytes() == before
