"""What every test relies on: one thread, an environment of its own, small data."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from svvr import records
from svvr.records import Arrays

ROOT = Path(__file__).parents[1]
NOBODY = {f"GIT_{role}_{key}": "test@example.org" for role in ("AUTHOR", "COMMITTER") for key in ("NAME", "EMAIL")}

# Git exports the repository of a hook that starts the tests, DVC and the user what would steer a stage
for name in [name for name in os.environ if name.startswith(("DVC_", "GIT_", "SVVR_"))]:
    del os.environ[name]
os.environ |= NOBODY | {"PYTHONPATH": str(ROOT / "src"), "DVC_NO_ANALYTICS": "1"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, as a process that has read no record yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(records, "_READ", {})
    return tmp_path


@pytest.fixture
def tiny_data() -> Arrays:
    """80 train and 40 validation examples of 6 inputs and 3 classes that can be learned."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 6))
    y = rng.integers(0, 3, size=120)
    y[:3] = [0, 1, 2]
    x = (centres[y] + rng.normal(size=(120, 6))).astype(np.float32)
    return {"x_train": x[:80], "y_train": y[:80], "x_validation": x[80:], "y_validation": y[80:]}
