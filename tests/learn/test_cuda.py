"""The CUDA path, where there is a GPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from svvr.core.files import Arrays
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.penalties import sv_variance

RUN = Run(seed=1, lr=0.01, penalty="sv_variance", strength=0.1, hidden=(8, 7), epochs=3, batch_size=32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_a_run_on_a_gpu_is_close_to_one_on_the_processor(tiny_data: Arrays) -> None:
    (cpu,), (gpu,) = (train([replace(RUN, device=device)], tiny_data) for device in ("cpu", "cuda"))
    assert cpu.initial_weights == gpu.initial_weights
    np.testing.assert_allclose(gpu.curves["validation_loss"], cpu.curves["validation_loss"], rtol=1e-3)
    W = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sv_variance.gradient(W.cuda()).cpu(), sv_variance.gradient(W), rtol=1e-4, atol=1e-5)


def test_a_gpu_that_is_not_there_is_named(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device: got cuda, expected cpu, since torch finds no GPU"):
        train([replace(RUN, device="cuda")], tiny_data)
