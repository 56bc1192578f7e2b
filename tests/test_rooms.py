"""The rooms of the package: who imports whom, what is loaded where, and how large they may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(ROOT.glob("src/svvr/*/*.py")) + sorted(ROOT.glob("src/svvr/[!_]*.py"))
EVERYWHERE = {"params", "seeds", "records", "links", "survey"}
BELOW = {  # room -> the rooms that it may import, beside itself
    "penalties": {"polar"},
    "training": {"penalties", "polar", *EVERYWHERE},
    "report": {"analysis", *EVERYWHERE},
    **{room: {"training", *EVERYWHERE} for room in ("execution", "tuning", "diagnostics")},
}
LIMITS = {"src": 4750, "stages": 250, "tools": 350, "benchmarks": 450, "tests": 5000, "dvc.yaml": 100, "Makefile": 45}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_a_room_imports_only_those_below_it(path: Path) -> None:
    room, text = path.relative_to(ROOT / "src/svvr").with_suffix("").parts[0], path.read_text(encoding="utf-8")
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{alias.name}".split(".") for node in nodes for alias in node.names]
    assert {name[1] for name in names if name[0] == "svvr"} <= BELOW.get(room, EVERYWHERE) | {room}
    assert len(text.splitlines()) <= 300


@pytest.mark.slow
@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("svvr.analysis.contrasts, svvr.report.text, svvr.report.forest", {"torch", "optuna", "mnist1d"}),
        ("svvr.training.optimizers", {"svvr.penalties", "svvr.params", "svvr.execution"}),
        ("svvr.training.loop", {"optuna", "matplotlib", "mnist1d", "svvr.params", "svvr.execution"}),
        ("svvr.execution.stage", {"torch", "numpy", "pydantic"}),  # for a second, in which a signal must end it too
    ],
)
def test_a_module_does_not_load_what_it_does_not_need(modules: str, absent: set[str]) -> None:
    code = f"import sys, {modules}; print(set(sys.modules) & {absent})"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout, result.stderr) == ("set()\n", "")


@pytest.mark.parametrize("name", LIMITS)
def test_the_house_stays_small_enough_to_know(name: str) -> None:
    rooms = [ROOT / name, ROOT / "survey"] if name == "src" else [ROOT / name]
    files = rooms if rooms[0].is_file() else [path for room in rooms for path in room.rglob("*.py")]
    assert 0 < sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files) <= LIMITS[name]
