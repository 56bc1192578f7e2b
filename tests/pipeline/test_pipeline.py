"""dvc.yaml itself: what each stage declares is what it uses."""

import ast
import re
import subprocess
import sys
from modulefinder import ModuleFinder
from pathlib import Path
from typing import Any

import pytest
import yaml

from svvr.core.params import Params
from svvr.learn import train as training

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = sorted((ROOT / "stages").glob("*.py"))
PENALTY = "src/svvr/penalties/${item.penalty.name}.py"


def body(name: str) -> dict[str, Any]:
    return STAGES[name].get("do", STAGES[name])


def closure(script: Path) -> set[str]:
    """Return the project's files that a script imports, lazily or not."""
    finder = ModuleFinder(path=[str(ROOT / "src"), str(ROOT)])
    finder.run_script(str(script))
    files = [Path(module.__file__) for module in finder.modules.values() if module.__file__]
    return {str(file.relative_to(ROOT)) for file in files if ROOT in file.parents}


def test_every_stage_has_a_script_of_its_name_and_the_other_way_round() -> None:
    assert {script.stem for script in SCRIPTS} == set(STAGES)
    # a copy of the repository must run its own code, not that of the one which is installed
    assert all(body(name)["cmd"] == f"exec env PYTHONPATH=src python stages/{name}.py" for name in STAGES)
    assert all(body(name)["desc"].endswith(".") for name in STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_exactly_the_files_that_it_imports(name: str) -> None:
    declared = {dep for dep in body(name)["deps"] if dep.endswith(".py")}
    penalties = {dep for dep in declared if Path(dep).parent.name == "penalties" and Path(dep).name != "__init__.py"}
    assert declared - penalties == closure(ROOT / "stages" / f"{name}.py")
    trains = "src/svvr/training.py" in declared
    by_name = {f"src/svvr/penalties/{penalty}.py" for penalty in ("none", "sv_variance")}
    assert penalties == (({PENALTY} if "foreach" in STAGES[name] else by_name) if trains else set())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_declares_exactly_the_sections_of_params_that_it_reads(name: str) -> None:
    declared = {key.split(".")[0] for key in body(name)["params"]}
    files = {
        file for file in closure(ROOT / "stages" / f"{name}.py") if Path(file).name not in ("params.py", "stage.py")
    }
    text = "\n".join((ROOT / file).read_text() for file in files)
    read = set(re.findall(r"\bparams\.(\w+)", text)) & set(Params.model_fields)
    assert declared == read


def test_tuning_never_sees_the_test_split() -> None:
    assert not [dep for dep in body("tune")["deps"] if "test" in dep]
    assert "data/test.npz" in body("train")["deps"]
    assert "data/test.npz" in STAGES["prepare"]["outs"]


def test_small_results_are_in_git_and_data_in_the_cache() -> None:
    for name in STAGES:
        for entry in [*body(name).get("metrics", []), *body(name).get("plots", [])]:
            ((path, options),) = entry.items()
            assert options["cache"] is False and path.split("/")[0] in ("metrics", "plots")
            assert ("template" in options) == path.startswith("plots/interactive/")
        assert all(out.startswith("data/") for out in body(name).get("outs", []))


def test_no_stage_declares_a_whole_arms_section_but_those_that_gather_all() -> None:
    assert {name for name in STAGES if "arms" in body(name)["params"]} == {"compare", "plot"}


def imported(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            names.add("." + (node.module or ""))
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize(
    "package,allowed", [("mnist1d", {"data"}), ("optuna", {"tuning"}), ("matplotlib", {"figures"})]
)
def test_a_package_is_imported_in_one_place(package: str, allowed: set[str]) -> None:
    users = {
        path.stem for path in (ROOT / "src").rglob("*.py") if any(n.split(".")[0] == package for n in imported(path))
    }
    assert users == allowed


@pytest.mark.parametrize("path", sorted((ROOT / "src/svvr/penalties").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_a_penalty_imports_nothing_of_the_project(path: Path) -> None:
    """Since stages depend on the penalty that they name, and cached results on its code, and on no further file."""
    names = imported(path)
    assert "torch" in {name.split(".")[0] for name in names}
    assert not any(name.split(".")[0] in ("", "svvr", "stages", "tools") for name in names), names


def test_src_imports_no_stage_prints_nothing_and_knows_no_path() -> None:
    for path in (ROOT / "src").rglob("*.py"):
        assert not any(name.split(".")[0] == "stages" for name in imported(path)), path
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not any(isinstance(call.func, ast.Name) and call.func.id == "print" for call in calls), path
        assert not any(folder in path.read_text() for folder in ('"metrics/', '"data/', '"plots/')), path


@pytest.mark.parametrize(
    "module,absent",
    [
        *[
            (name, ("torch", "optuna", "matplotlib"))
            for name in ("statistics", "comparison", "records", "params", "seeds", "replication")
        ],
        ("stage", ("torch", "optuna", "matplotlib")),
        ("figures", ("torch", "optuna")),
        ("training", ("optuna", "matplotlib", "mnist1d")),
        ("diagnostics", ("optuna", "matplotlib", "mnist1d")),
    ],
)
def test_a_module_does_not_load_what_it_does_not_need(module: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, svvr.{module}; sys.exit(' '.join(set(sys.modules) & {set(absent)!r}) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr.strip()) == (0, "")


def test_the_key_of_a_cached_run_covers_the_code_that_computes_it() -> None:
    run = training.Run(seed=0, lr=0.1, penalty="sv_variance", strength=1.0)
    named = {name.replace(".", "/") for name in training.modules(run)}
    used = {
        path.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
        for path in closure(ROOT / "src/svvr/training.py")
    }
    # records only names and writes what the others compute, and lifetime ends the process
    assert used - named == {"svvr", "svvr/records", "svvr/lifetime"}
    assert {"svvr/penalties/none", "svvr/penalties/sv_variance"} <= named
