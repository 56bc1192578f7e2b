"""The comparison of recomputed with committed metrics, and where there is nothing to compare."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from svvr.run import platform
from tests.copies import ROOT, commit
from tools import git, verify


def texts(effect: float = -1.0, torch: str = "2.13.0", loss: float = 1.0) -> verify.Texts:
    contrast = {"arm": "a", "reference": "b", "link": "generalisation", "effect_percent": effect}
    return {
        "metrics/provenance/a.json": json.dumps({"provenance": [{"torch": torch, "workers": 2}]}),
        "metrics/summary.json": json.dumps({"contrasts": [contrast | {"ci_low": -2.0, "ci_high": 0.5}]}),
        "metrics/train/a.json": json.dumps({"loss": loss}),
    }


def test_other_bytes_are_named_but_provenance_is_not_compared() -> None:
    assert verify.other_bytes(texts(), texts(torch="3")) == []
    assert verify.other_bytes(texts(), texts(loss=1.0000001)) == ["metrics/train/a.json: got other bytes"]
    missing = texts()
    del missing["metrics/train/a.json"]
    assert verify.other_bytes(texts(), missing) == ["metrics/train/a.json: got other bytes"]


def test_the_number_of_workers_is_no_other_platform() -> None:
    assert verify.platforms(texts()) != verify.platforms(texts(torch="3"))
    other = texts() | {"metrics/provenance/a.json": json.dumps({"provenance": [{"torch": "2.13.0", "workers": 64}]})}
    assert verify.platforms(texts()) == verify.platforms(other)


def test_elsewhere_an_effect_must_lie_within_the_committed_interval() -> None:
    assert verify.outside(texts(), texts(effect=0.4)) == []
    assert verify.outside(texts(), texts(effect=0.6)) == [
        "a vs b, generalisation: got an effect of 0.6 %, expected one from -2.00 to 0.50 %"
    ]


def test_bytes_count_on_the_same_platform_and_effects_on_another() -> None:
    assert verify.differences(texts(), texts()) == verify.differences(texts(), texts(torch="3")) == []
    assert verify.differences(texts(), texts(loss=2.0)) == ["metrics/train/a.json: got other bytes"]
    assert verify.differences(texts(), texts(loss=2.0, torch="3")) == []
    assert len(verify.differences(texts(), texts(effect=0.6, torch="3"))) == 1


def test_where_the_maker_of_the_processor_was_not_written_it_is_another() -> None:
    records = [[{"processor": "AuthenticAMD"}], [{"processor": "GenuineIntel"}], [{}]]
    one, other, unknown = (
        texts(loss=k) | {"metrics/provenance/a.json": json.dumps({"provenance": record})}
        for k, record in enumerate(records)
    )
    assert verify.differences(one, other) == verify.differences(unknown, one) == []
    assert verify.differences(one, one | {"metrics/train/a.json": "{}"}) != []


def test_every_metrics_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "metrics/train").mkdir(parents=True)
    (tmp_path / "metrics/train/a.json").write_text("{}")
    assert verify.read(tmp_path) == {"metrics/train/a.json": "{}"}


def test_the_platform_is_what_a_stage_writes() -> None:
    (facts,) = platform.describe()["provenance"]
    assert set(verify.PLATFORM) <= set(facts) and facts["torch"] == importlib.metadata.version("torch")


def tarball(folder: Path) -> Path:
    return folder


def monorepo(folder: Path) -> Path:
    git.ask(folder, "init", "-q")
    (folder / "sub/project").mkdir(parents=True)
    return folder / "sub/project"


def another_user_s(folder: Path) -> Path:
    """As git sees another user's repository; its own variable for that would be dropped on the way."""
    git.ask(folder, "init", "-q")
    (folder / "bin").mkdir()
    real = shutil.which("git")
    (folder / "bin/git").write_text(f'#!/bin/sh\nGIT_TEST_ASSUME_DIFFERENT_OWNER=1 exec "{real}" "$@"\n')
    (folder / "bin/git").chmod(0o755)
    return folder


def without_git(folder: Path) -> Path:
    (folder / "bin").mkdir()
    (folder / "bin/git").mkdir()
    return folder


def before_the_first_commit(folder: Path) -> Path:
    git.ask(folder, "init", "-q")
    return folder


def without_results(folder: Path) -> Path:
    git.ask(folder, "init", "-q")
    commit(folder, "one")
    return folder


def whose_stage_fails(folder: Path) -> Path:
    git.ask(folder, "init", "-q")
    (folder / "metrics").mkdir()
    (folder / "metrics/summary.json").write_text("{}")
    (folder / "bin").mkdir()
    (folder / "bin/dvc").write_text("#!/bin/sh\nexit 1\n")
    (folder / "bin/dvc").chmod(0o755)
    git.ask(folder, "add", "metrics")
    commit(folder, "one")
    return folder


REPOSITORY = "expected a git repository, whose last commit is recomputed"


@pytest.mark.slow
@pytest.mark.parametrize(
    "place,expected",
    [
        (tarball, rf"{{}}: got 'fatal: not a git repository .*', {REPOSITORY}"),
        (monorepo, r"{}: got the subfolder sub/project/ of a git repository, expected its top folder"),
        (another_user_s, rf"{{}}: got 'fatal: detected dubious ownership in repository at .*', {REPOSITORY}"),
        (without_git, rf"{{}}: got 'git: .*', {REPOSITORY}"),
        (before_the_first_commit, r"HEAD: got no metrics, expected the committed results of a run"),
        (without_results, r"HEAD: got no metrics, expected the committed results of a run"),
        (whose_stage_fails, r"a stage failed in the clone"),
    ],
)
def test_what_cannot_be_verified_is_one_line(tmp_path: Path, place: Callable[[Path], Path], expected: str) -> None:
    folder = place(tmp_path)
    path = os.pathsep.join([str(tmp_path / "bin"), *([] if place is without_git else [os.environ["PATH"]])])
    done = subprocess.run(
        [sys.executable, "-m", "tools.verify"], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 1 and done.stdout == ""
    assert re.fullmatch("verify: " + expected.format(re.escape(str(folder))) + "\n", done.stderr)
