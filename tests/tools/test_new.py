"""A new penalty begins as a file that works and a test that notices a wrong formula; and the documents' own script."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from svvr.core import params
from svvr.core.params import Arm
from tests.copies import forks
from tools import new, smoke

ROOT = Path(__file__).parents[2]
FORMULA = "(s - 1).square().sum(-1) / 2"


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    own = os.environ | {"PYTHONPATH": f"src{os.pathsep}."} | forks()
    return subprocess.run(["python", *command], cwd=folder, env=own, capture_output=True, text=True)


def test_the_arm_that_it_prints_is_one_for_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = new.begin("mine", tmp_path)
    (entry,) = yaml.safe_load(text[text.index("  mine:") :]).items()
    monkeypatch.setattr(params, "penalty_names", lambda: ["mine"])
    arm = Arm.model_validate(entry[1])
    assert entry[0] == "mine" and arm.penalty.name == "mine" and arm.reference == "baseline"
    assert "make try PENALTY=mine" in text and "tests/penalties/test_mine.py" in text


@pytest.mark.parametrize("name", ["", "a-b", "1a", "_a", "class", "Mine", "a b", "../a", "a;b", "x" * 65])
def test_what_is_no_name_of_a_penalty_is_refused_in_a_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^PENALTY: got '.*', expected a Python name: [^\n]*$"):
        new.begin(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path", ["src/svvr/penalties/mine.py", "src/svvr/penalties/mine/__init__.py", "tests/penalties/test_mine.py"]
)
def test_a_name_that_is_taken_is_refused_in_a_line_and_nothing_is_written(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"^PENALTY: got 'mine', expected a new one, since [\w/.]+ exists$"):
        new.begin("mine", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / path).read_text() == "mine"


@pytest.mark.slow
def test_its_test_passes_and_fails_where_the_formula_or_the_gradient_is_wrong(tmp_path: Path) -> None:
    smoke.copy(ROOT, tmp_path)
    assert "wrote src/svvr/penalties/torch.py" in new.begin("torch", tmp_path)  # a name that its test imports
    files = ["src/svvr/penalties/torch.py", "tests/penalties/test_torch.py"]
    check = ["-m", "pytest", "-q", files[1]]
    assert run(tmp_path, "-m", "ruff", "check", *files).returncode == 0
    assert run(tmp_path, "-m", "ruff", "format", "--check", *files).returncode == 0
    done = run(tmp_path, *check)
    assert done.returncode == 0, done.stdout
    path = tmp_path / files[0]
    written = path.read_text()
    path.write_text(written.replace(FORMULA, FORMULA.replace("1", "1.001")))
    assert "test_it_is_its_formula_in_singular_values" in run(tmp_path, *check).stdout
    path.write_text(written + "\n\ndef gradient(W: Tensor) -> Tensor:\n    return W\n")
    failed = run(tmp_path, *check).stdout
    assert "test_its_gradient_is_a_difference_quotient" in failed and "1 failed" in failed


def test_the_script_of_the_documents_draws_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (script,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/analysis.md").read_text(), re.DOTALL)
    assert sum(bool(line) for line in script.splitlines()) == 10
    (tmp_path / "metrics").symlink_to(ROOT / "metrics")
    monkeypatch.chdir(tmp_path)
    exec(compile(script, "docs/analysis.md", "exec"), {})
    assert (tmp_path / "mine.png").read_bytes().startswith(b"\x89PNG") and len(list(tmp_path.iterdir())) == 2


@pytest.mark.slow
def test_what_to_do_next_into_a_full_disk_is_a_line(tmp_path: Path) -> None:
    own = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "PENALTY": "mine"}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "tools.new"]
        result = subprocess.run(command, cwd=tmp_path, env=own, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 1
    assert result.stderr == "new: the output cannot be written (No space left on device)\n"
