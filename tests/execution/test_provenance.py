"""What a result depends on: the code that computes it, to the last import, and what that code means."""

import json
from pathlib import Path

import pytest

from svvr.execution import provenance

OWN = {
    "own/__init__.py": "",
    "own/main.py": 'def f(x):\n    """Say."""\n    from own.helper import N\n    return N * x + 1\n',
    "own/helper.py": '"""Say."""\n\nN = 1\n',
    "own/other.py": "M = 1\n",  # nothing imports it
}


def test_the_files_of_a_script_are_all_that_it_may_import(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("def later():\n    from svvr.execution import stage\nimport svvr.seeds, json\n")
    found = {str(path.relative_to(provenance.SOURCES)) for path in provenance.files_of(script) if path != script}
    lazily = {f"svvr/execution/{name}.py" for name in ("__init__", "stage", "provenance")}  # provenance: twice so
    assert found == lazily | {f"svvr/{name}.py" for name in ("__init__", "seeds", "params", "records")}


def test_the_code_of_a_run_follows_its_penalty_but_not_the_params() -> None:
    one, other = (provenance.code(("svvr.training.loop", f"svvr.penalties.{name}")) for name in ("l2", "jacobian"))
    assert one.keys() ^ other.keys() == {"svvr/penalties/l2.py", "svvr/penalties/jacobian.py"}
    assert {"svvr/training/loop.py", "svvr/training/optimizers.py", "svvr/polar.py", "svvr/seeds.py"} <= one.keys()
    assert not any(name.startswith(("svvr/execution", "svvr/params", "svvr/tuning")) for name in one)
    assert len(provenance.identity()["svvr"]) == 12 and json.dumps(provenance.row("cpu", 3))


def test_code_is_what_it_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def code(old: str, new: str) -> dict[str, str]:
        for name, content in OWN.items():
            (tmp_path / name).write_text(content.replace(old, new))
        return provenance.code.__wrapped__(("own.main",))

    monkeypatch.setattr(provenance, "SOURCES", tmp_path)
    (tmp_path / "own").mkdir()
    same = [("def f", "# a comment\n\ndef f"), ("Say", "Tell"), ('"""Say."""', "\n"), ("M = 1", "M = 2")]
    assert all(code(*edit) == code("", "") for edit in same)
    others = [("x + 1", "x + 2"), ("N = 1", "N = 1.0"), ("N = 1", "N = 1; from own import other")]
    assert len({*map(str, (code(*edit) for edit in others)), str(code("", ""))}) == 4


def test_a_penalty_that_imports_another_one_s_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    provenance.refuse_unknown("sv_variance")
    monkeypatch.setattr(
        provenance, "code", lambda modules: {"svvr/penalties/mine.py": "", "svvr/penalties/base.py": ""}
    )
    with pytest.raises(
        ValueError, match=r"mine\.py: got an import of svvr/penalties/base\.py, expected svvr.penalties"
    ):
        provenance.refuse_unknown("mine")
