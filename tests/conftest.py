"""Small data and the settings that every test relies on."""

import numpy as np
import pytest
import torch

from svvr.records import Arrays


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def tiny_data() -> Arrays:
    """80 train and 40 validation examples of 6 inputs and 3 classes that can be learned."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(3, 6))
    y = rng.integers(0, 3, size=120)
    y[:3] = [0, 1, 2]
    x = (centres[y] + rng.normal(size=(120, 6))).astype(np.float32)
    return {"x_train": x[:80], "y_train": y[:80], "x_validation": x[80:], "y_validation": y[80:]}
