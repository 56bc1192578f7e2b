"""The CUDA path, where there is a GPU."""

import functools
from dataclasses import replace

import numpy as np
import pytest
import torch

from svvr.core.files import Arrays
from svvr.learn import model, train
from svvr.learn.spec import Run
from svvr.penalties import sv_variance

RUN = Run(seed=1, lr=0.01, penalty="sv_variance", strength=0.1, hidden=(8, 7), epochs=3, batch_size=32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_a_run_on_a_gpu_is_close_to_one_on_the_processor(tiny_data: Arrays) -> None:
    (cpu,), (gpu,) = (train.train([replace(RUN, device=device)], tiny_data) for device in ("cpu", "cuda"))
    assert cpu.initial_weights == gpu.initial_weights
    np.testing.assert_allclose(gpu.curves["validation_loss"], cpu.curves["validation_loss"], rtol=1e-3)
    W = torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(sv_variance.gradient(W.cuda()).cpu(), sv_variance.gradient(W), rtol=1e-4, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device on this machine")
def test_an_epoch_on_a_gpu_waits_for_nothing_and_is_captured(tiny_data: Arrays) -> None:
    runs = [RUN, replace(RUN, seed=2)]
    start, sizes = train.initial_parameters(runs, tiny_data).cuda(), RUN.sizes(tiny_data)
    data = {name: torch.from_numpy(tiny_data[name]).cuda() for name in ("x_train", "y_train")}
    x, y = (array.expand(2, *array.shape).contiguous() for array in data.values())
    losses = []
    for captured in (False, True):
        models = model.stack(start.clone(), sizes)
        epoch = functools.partial(train.epoch, models, train.stepper(runs, models), x, y, RUN.batch_size)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), torch.cuda.stream(stream):
            epoch()  # the first use of a penalty looks at it, and libraries make their workspaces
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            try:
                if captured:
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph, stream=stream):
                        curves = epoch()
                    graph.replay()
                    graph.replay()
                else:
                    epoch()
                    curves = epoch()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        torch.cuda.synchronize()
        losses.append(curves["train_loss"].cpu())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-5, atol=0)


def test_a_gpu_that_is_not_there_is_named(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device: got cuda, expected cpu, since torch finds no GPU"):
        train.train([replace(RUN, device="cuda")], tiny_data)
