"""What code determines a result."""

import subprocess
import sys
from pathlib import Path

import pytest

from svvr.core import files
from svvr.run import code

STAGES = Path(__file__).parents[2] / "stages"


def names(paths: object) -> set[str]:
    return {str(Path(str(path)).relative_to(code.SOURCES)) for path in paths}  # type: ignore[attr-defined]


def test_a_script_s_code_is_what_it_imports_in_the_end() -> None:
    found = set(code.of_script(STAGES / "tables.py"))
    assert STAGES / "tables.py" in found
    assert {"svvr/__init__.py", "svvr/tables.py", "svvr/core/files.py", "svvr/run/lifetime.py"} <= names(
        found - {STAGES / "tables.py"}
    )
    assert not any(path.name == "train.py" for path in found)


def test_a_stage_may_use_every_penalty_but_uses_those_that_are_loaded() -> None:
    every = code.of_stage(STAGES / "tune.py")
    assert {"sv_variance.py", "l2.py", "polar.py", "tune.py"} <= {path.name for path in every}
    script = (
        "from pathlib import Path; import svvr.penalties.sv_variance; from svvr.run import code;"
        f"print(*[path.name for path in code.in_use(code.of_stage(Path({str(STAGES / 'tune.py')!r})))])"
    )
    used = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert {"sv_variance.py", "polar.py", "tune.py", "train.py"} <= set(used) and "l2.py" not in used


def test_a_unit_s_code_follows_a_penalty_to_its_helpers_but_not_to_the_params() -> None:
    plain, penalised = (code.of_unit(("svvr.learn.train", code.penalty(name))) for name in ("l2", "sv_variance"))
    assert {"svvr/learn/train.py", "svvr/learn/model.py", "svvr/core/seeds.py", "svvr/penalties/l2.py"} <= set(plain)
    assert "svvr/penalties/helpers/polar.py" in penalised and "svvr/penalties/helpers/polar.py" not in plain
    assert not any(name.startswith(("svvr/run/", "svvr/core/params")) for name in penalised)
    assert all(digest == files.file_hash(code.SOURCES / name) for name, digest in plain.items())


def test_an_unknown_module_is_named() -> None:
    with pytest.raises(ValueError, match=r"module of a unit: got 'svvr\.gone', expected one that can be imported"):
        code.of_unit(("svvr.gone",))


def test_a_file_edited_after_the_first_look_belongs_to_the_next_process(tmp_path: Path) -> None:
    module = tmp_path / "edited.py"
    module.write_text("a = 1\n")
    first = code.file_hash(module)
    module.write_text("a = 2\n")
    assert code.file_hash(module) == first != files.file_hash(module)


def test_the_whole_package_has_one_hash() -> None:
    assert len(code.of_package()) == 12 and code.of_package() == code.of_package()
