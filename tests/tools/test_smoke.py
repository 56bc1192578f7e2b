"""The smoke run: a copy of the working tree, small params, dvc's exit status, and nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from svvr.core import params
from svvr.judge.statistics import MIN_SEEDS, MIN_STUDIES
from tools import git, smoke

ROOT = Path(__file__).parents[2]
PIPELINE = """stages:
  compare:
    cmd: python stages/compare.py
"""
SCRIPT = """import sys, time
print("the table, no verdict" if "--show" in sys.argv else "said by the stage", flush=True)
time.sleep({seconds})
sys.exit({status} if "--show" not in sys.argv else 0)
"""


def repository(folder: Path, status: int = 0, seconds: int = 0) -> Path:
    """Make a git repository with this project's params and a pipeline of one stage."""
    (folder / "stages").mkdir(parents=True)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (folder / "dvc.yaml").write_text(PIPELINE)
    (folder / "stages/compare.py").write_text(SCRIPT.format(status=status, seconds=seconds))
    git.ask(folder, "init", "-q")
    subprocess.run(["dvc", "init", "-q"], cwd=folder, env=smoke.environment(), check=True)
    return folder


def test_the_copy_is_the_working_tree_without_what_git_ignores_and_without_results(tmp_path: Path) -> None:
    (tmp_path / "tree/metrics").mkdir(parents=True)
    names = {"kept.py": True, "new name.py": True, "ignored.py": False, "metrics/a.json": False, "dvc.lock": False}
    for name in names:
        (tmp_path / "tree" / name).touch()
    (tmp_path / "tree/.gitignore").write_text("ignored.py\n")
    git.ask(tmp_path / "tree", "init", "-q")
    git.ask(tmp_path / "tree", "add", "kept.py")
    smoke.copy(tmp_path / "tree", tmp_path / "copy")
    assert {name: (tmp_path / "copy" / name).exists() for name in names} == names
    assert Path(git.ask(tmp_path / "copy", "rev-parse", "--show-toplevel").strip()) == (tmp_path / "copy").resolve()


def test_small_params_keep_the_arms_and_give_no_verdict(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    before = params.load(path)
    smoke.shrink(path)
    after = params.load(path)
    assert after.arms == before.arms and after.compare == before.compare
    assert (after.tuning.studies, after.tuning.trials, after.training.epochs) == (3, 4, 3)
    assert after.final.seeds < MIN_SEEDS and after.budget.replicates < MIN_STUDIES


def test_the_copy_has_a_result_cache_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVC_ROOT", "/elsewhere")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    found = smoke.environment()
    assert not {"DVC_ROOT", "GIT_DIR"} & set(found) and found["PATH"].startswith(str(Path(sys.executable).parent))


@pytest.mark.slow
@pytest.mark.parametrize("status", [0, 1])
def test_it_ends_as_dvc_does_and_leaves_nothing_behind(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "temporary").mkdir()
    root = repository(tmp_path / "tree", status)
    before = sorted(root.rglob("*"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    assert (smoke.main(root) == 0) == (status == 0)
    output = capfd.readouterr().out
    assert output.startswith("Running stage 'compare':")
    assert output.endswith("the table, no verdict\n") == (status == 0)
    assert ("failed to reproduce 'compare'" in output and "said by the stage" in output) == (status == 1)
    assert not list((tmp_path / "temporary").iterdir()) and sorted(root.rglob("*")) == before


@pytest.mark.slow
def test_a_signal_ends_it_at_once_and_it_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    root = repository(tmp_path / "tree", seconds=300)
    own = os.environ | {"TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-m", "tools.smoke"]
    with subprocess.Popen(command, cwd=root, env=own, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "Running stage 'compare':\n"
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 128 + signal.SIGTERM
    assert not list((tmp_path / "temporary").iterdir())


@pytest.mark.slow
def test_unusable_params_are_refused_in_a_line(tmp_path: Path) -> None:
    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings | {"seed": -1}))
    own = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, "-m", "tools.smoke"], cwd=tmp_path, env=own, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "smoke: params.yaml: seed: got -1, expected a whole number, at least 0\n"
