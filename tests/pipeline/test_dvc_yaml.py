"""dvc.yaml declares what each stage uses."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from svvr.execution import provenance

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SURVEY = yaml.safe_load((ROOT / "survey/dvc.yaml").read_text())["stages"]
PENALTY = re.compile(r"src/svvr/penalties/\$\{item\.penalty(\.name)?\}\.py")


def body(name: str) -> dict[str, Any]:
    found: dict[str, Any] = (STAGES | SURVEY)[name]
    return found.get("do", found)


def test_every_stage_has_a_script_that_runs_the_copy_s_own_code() -> None:
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == set(STAGES)
    assert {path.stem for path in (ROOT / "survey").glob("*.py")} == set(SURVEY)
    for folder, stages in (("stages", STAGES), ("survey", SURVEY)):
        assert all(body(name)["cmd"] == f"${{run}} {folder}/{name}.py" for name in stages)


@pytest.mark.parametrize("name", STAGES | SURVEY)
def test_a_stage_depends_on_all_code_that_it_imports(name: str) -> None:
    used = {path.relative_to(ROOT) for path in provenance.files_of(ROOT / body(name)["cmd"].split()[-1])}
    declared = {Path(dep) for dep in body(name)["deps"]}
    missing = {path for path in used if not declared & {path, *path.parents}}
    assert missing <= {Path("src/svvr/__init__.py"), Path("src/svvr/report/__init__.py")}, "add them to dvc.yaml"
    trains = Path("src/svvr/training/loop.py") in used
    own = [dep for dep in body(name)["deps"] if PENALTY.fullmatch(dep)]
    assert len(own) == (trains and {"foreach", "matrix"} & set((STAGES | SURVEY)[name]) != set() and name != "diagnose")


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_params_that_it_reads(name: str) -> None:
    """Every `params.SECTION` of the script stands in dvc.yaml; what it hands on whole is checked by reruns."""
    source = (ROOT / "stages" / f"{name}.py").read_text()
    read = set(re.findall(r"\bparams\.([a-z_]+)", source)) - {"contrasts", "yaml"}
    declared = {key.split(".")[0] for key in body(name)["params"]}
    assert read <= declared


def test_tuning_never_sees_the_test_split() -> None:
    assert not [dep for dep in body("tune")["deps"] if "test" in dep]
    assert "data/test.npz" in body("train")["deps"] and "data/test.npz" in STAGES["prepare"]["outs"]


def test_small_results_are_in_git_without_switching_off_dvc_s_run_cache() -> None:
    for name in STAGES:
        for entry in [*body(name).get("metrics", []), *body(name).get("plots", [])]:
            ((path, options),) = entry.items()
            assert options["cache"] is False and path.split("/")[0] in ("metrics", "plots")
        assert all(isinstance(out, str) and out.startswith("data/") for out in body(name).get("outs", []))
