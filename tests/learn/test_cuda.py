"""The CUDA path, where there is a GPU."""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from svvr import penalties
from svvr.core.files import Arrays
from svvr.learn import model, train
from svvr.learn.captured import Captured, Epoch
from svvr.learn.spec import Run
from svvr.penalties import sv_variance

NAMES = sorted(path.stem for path in Path(penalties.__path__[0]).glob("[!_]*.py"))
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
RUN = Run(seed=1, lr=0.01, penalty="sv_variance", strength=0.1, hidden=(8, 7), epochs=3, batch_size=32)


@on_a_gpu
def test_a_run_on_a_gpu_is_close_to_one_on_the_processor(tiny_data: Arrays) -> None:
    (cpu,), (gpu,) = (train.train([replace(RUN, device=device)], tiny_data) for device in ("cpu", "cuda"))
    assert cpu.initial_weights == gpu.initial_weights
    np.testing.assert_allclose(gpu.curves["validation_loss"], cpu.curves["validation_loss"], rtol=1e-3)
    W = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sv_variance.gradient(W.cuda()).cpu(), sv_variance.gradient(W), rtol=1e-4, atol=1e-5)


@on_a_gpu
@pytest.mark.parametrize("name", NAMES)
def test_every_penalty_trains_on_a_gpu(name: str, tiny_data: Arrays) -> None:
    run = replace(RUN, penalty=name, strength=0.001 if name != "none" else 0.0)
    (cpu,), (gpu,) = (train.train([replace(run, device=device)], tiny_data) for device in ("cpu", "cuda"))
    assert gpu.complete
    np.testing.assert_allclose(gpu.curves["validation_loss"], cpu.curves["validation_loss"], rtol=1e-3)


@contextlib.contextmanager
def no_waiting() -> Iterator[None]:
    """Operations that wait for the GPU are errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls the mode a prototype, once in a process
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@on_a_gpu
@pytest.mark.parametrize("name", ["none", "sv_variance", "l2"])
def test_an_epoch_on_a_gpu_waits_for_nothing_and_is_captured(name: str, tiny_data: Arrays) -> None:
    runs = [replace(RUN, seed=seed, penalty=name, strength=0.1 if name != "none" else 0.0) for seed in (1, 2)]
    start, sizes = train.initial_parameters(runs, tiny_data).cuda(), RUN.sizes(tiny_data)
    data = {name: torch.from_numpy(tiny_data[name]).cuda() for name in ("x_train", "y_train")}
    x, y = (array.expand(2, *array.shape).contiguous() for array in data.values())

    def an_epoch() -> Epoch:
        models = model.stack(start.clone(), sizes)
        return functools.partial(train.epoch, models, train.stepper(runs, models), batch_size=RUN.batch_size)

    with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream()):
        an_epoch()(x, y)  # the first use of a penalty looks at it
        plain, captured = an_epoch(), Captured(an_epoch(), an_epoch())
        torch.cuda.synchronize()
        with no_waiting():
            expected = [plain(x, y)["train_loss"] for _ in range(3)]
            found = [captured(x, y)["train_loss"] for _ in range(3)]
        assert captured.captured
        torch.testing.assert_close(torch.stack(found), torch.stack(expected), rtol=1e-5, atol=0)


@on_a_gpu
def test_an_epoch_that_reads_values_is_trained_without_a_graph() -> None:
    def reads(x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"train_loss": x * float(y.sum())}

    x, y = torch.ones(1, 3, device="cuda"), torch.arange(3, device="cuda")[None]
    with torch.cuda.stream(torch.cuda.Stream()):
        epoch = Captured(reads, reads)
        for _ in range(3):
            assert epoch(x, y)["train_loss"].tolist() == [[3.0, 3.0, 3.0]]
        assert not epoch.captured


def test_a_gpu_that_is_not_there_is_named(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device: got cuda, expected cpu, since torch finds no GPU"):
        train.train([replace(RUN, device="cuda")], tiny_data)
