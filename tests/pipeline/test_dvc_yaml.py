"""dvc.yaml itself: what each stage declares is what it uses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from svvr.core.params import penalty_names
from svvr.run import code

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SCRIPTS = sorted((ROOT / "stages").glob("*.py"))
PENALTY = "src/svvr/penalties/${item.penalty.name}.py"
PENALTIES = "src/svvr/penalties/"


def body(name: str) -> dict[str, Any]:
    found: dict[str, Any] = STAGES[name].get("do", STAGES[name])
    return found


def imported(name: str) -> set[str]:
    """Return the files that a stage's script imports, and what its penalties import."""
    files = {str(path.relative_to(ROOT)) for path in code.of_script(ROOT / "stages" / f"{name}.py")}
    if trains(files):
        found = {path for penalty in penalty_names() for path in code.of_unit((code.penalty(penalty),))}
        files |= {f"src/{path}" for path in found if path.endswith("__init__.py") or "/helpers/" in path}
    return files


def trains(files: set[str]) -> bool:
    return "src/svvr/learn/train.py" in files


def sources(name: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each dependency on code with the files that it stands for."""
    for dep in body(name)["deps"]:
        path = ROOT / dep
        if path.is_dir() and dep.startswith("src/"):
            yield dep, {str(file.relative_to(ROOT)) for file in path.rglob("*.py")}
        elif dep.endswith(".py"):
            yield dep, {dep}


def test_every_stage_has_a_script_of_its_name_and_the_other_way_round() -> None:
    assert {script.stem for script in SCRIPTS} == set(STAGES)
    # a copy of the repository must run its own code, not that of the one which is installed
    assert all(body(name)["cmd"] == f"exec env PYTHONPATH=src python stages/{name}.py" for name in STAGES)
    assert all(body(name)["desc"].endswith(".") for name in STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports_and_on_no_other(name: str) -> None:
    used, declared = imported(name), dict(sources(name))
    assert used <= {file for files in declared.values() for file in files}, "add the missing ones to dvc.yaml"
    own = {dep for dep in declared if dep.startswith(PENALTIES) and not dep.endswith(("__init__.py", "helpers"))}
    by_name = {f"{PENALTIES}none.py", f"{PENALTIES}sv_variance.py"}
    assert own == (({PENALTY} if "foreach" in STAGES[name] else by_name) if trains(used) else set())
    idle = {dep for dep, files in declared.items() if dep not in own and not files & used}
    assert not idle, "remove them from dvc.yaml"


def test_tuning_never_sees_the_test_split() -> None:
    assert not [dep for dep in body("tune")["deps"] if "test" in dep]
    assert "data/test.npz" in body("train")["deps"]
    assert "data/test.npz" in STAGES["prepare"]["outs"]


def test_the_answers_alone_are_metrics() -> None:
    assert [path for name in STAGES for entry in body(name).get("metrics", []) for path in entry] == [
        "metrics/verdicts"
    ]


def test_small_results_are_in_git_and_data_in_the_cache() -> None:
    for name in STAGES:
        entries = [*body(name).get("metrics", []), *body(name).get("plots", [])]
        entries += [out for out in body(name).get("outs", []) if isinstance(out, dict)]
        for entry in entries:
            ((path, options),) = entry.items()
            assert options["cache"] is False and path.split("/")[0] in ("metrics", "plots")
            assert ("template" in options) == path.startswith("plots/interactive/")
        assert all(out.startswith("data/") for out in body(name).get("outs", []) if isinstance(out, str))


def test_no_stage_declares_a_whole_arms_section_but_those_that_gather_all() -> None:
    assert {name for name in STAGES if "arms" in body(name)["params"]} == {"compare", "tables", "plot"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_a_stage_is_thin(script: Path) -> None:
    lines = script.read_text().splitlines()
    start = lines.index("def main(params: Params) -> None:")
    end = next(number for number, line in enumerate(lines) if number > start and line and not line.startswith(" "))
    assert end - start <= 30
