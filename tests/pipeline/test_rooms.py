"""The rooms of the package: who imports whom, and what is not loaded where it is not needed."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src"
FILES = sorted((SOURCES / "svvr").rglob("*.py"))
# room or file -> what it may import of the project, beside itself; penalties find their helpers by themselves
RULE = {
    "core": set(),
    "run": {"core"},
    "data": {"core"},
    "penalties": set(),
    "learn": {"core", "run", "penalties"},
    "search": {"core"},
    "measure": {"core", "run", "learn.model", "links"},
    "links": set(),
    "summaries": set(),
    "tables": {"core", "links"},
    "judge": {"core", "links", "tables"},
    "show": {"core", "links", "tables", "judge"},
}
HEAVY = {"torch", "optuna", "matplotlib", "mnist1d", "pandas"}


def imports(path: Path) -> set[str]:
    """Return the modules that a file imports, at its head or later, absolute; not those for type checks alone."""
    names: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write it in full"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(module: str) -> str:
    return module.split(".")[1]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")


@pytest.mark.parametrize("path", [path for path in FILES if module_of(path) != "svvr"], ids=module_of)
def test_a_room_imports_only_the_rooms_below_it(path: Path) -> None:
    own = room(module_of(path))
    for name in imports(path):
        if name.startswith("svvr.") and room(name) != own:
            below = name.removeprefix("svvr.")
            assert any(below == allowed or below.startswith(f"{allowed}.") for allowed in RULE[own]), name
        assert name.split(".")[0] not in ("stages", "tools", "tests", "benchmarks")
    if own == "penalties" and "helpers" not in path.parts and path.stem != "__init__":
        others = {name for name in imports(path) if name.startswith("svvr.")}
        assert all(name.startswith("svvr.penalties.helpers.") for name in others), "no other file is followed"


def test_each_room_has_a_rule() -> None:
    assert {room(module_of(path)) for path in FILES if module_of(path) != "svvr"} == set(RULE)


@pytest.mark.parametrize(
    "package,allowed",
    [("mnist1d", {"svvr.data.make"}), ("optuna", {"svvr.search.studies"}), ("matplotlib", {"svvr.show"})],
)
def test_a_package_is_imported_in_one_place(package: str, allowed: set[str]) -> None:
    users = {module_of(path) for path in FILES if any(name.split(".")[0] == package for name in imports(path))}
    assert users and all(any(user.startswith(each) for each in allowed) for user in users)


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules,absent",
    [
        ("core.params core.files core.seeds core.messages links", HEAVY),
        ("run.lifetime", {*HEAVY, "numpy", "pydantic"}),
        ("run.stage", HEAVY),
        ("judge.contrasts judge.integrity judge.dose judge.replication judge.results show.words", HEAVY - {"pandas"}),
        ("show.figures show.charts", {"torch", "optuna", "mnist1d"}),
        # the keys of cached results leave the params' code out, since a unit holds all that it uses of them
        (
            "learn.train penalties.sv_variance measure.unit",
            {"optuna", "matplotlib", "mnist1d", "pandas", "svvr.core.params"},
        ),
        ("learn.work search.studies measure.records", {"matplotlib", "mnist1d"}),
    ],
)
def test_a_module_does_not_load_what_it_does_not_need(modules: str, absent: set[str]) -> None:
    loads = "; ".join(f"import svvr.{module}" for module in modules.split())
    code = f"import sys; {loads}; sys.exit(' '.join(set(sys.modules) & {absent!r}) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (0, "")


def test_nothing_in_the_package_prints_but_the_one_that_shows_an_answer() -> None:
    for path in FILES:
        if path.parts[-2:] == ("run", "stage.py"):
            continue
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path
