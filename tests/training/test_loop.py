"""The stacked loop against a plain PyTorch loop, what pairing rests on, and the path of a GPU."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from svvr import polar
from svvr.records import Arrays, array_hash
from svvr.seeds import derive
from svvr.training import loop, model, optimizers, penalty
from svvr.training.loop import train
from svvr.training.run import CURVES, Result, Run

PLAIN = Run(seed=5, lr=0.01, hidden=(12, 9), epochs=3, batch_size=32)
SVV = replace(PLAIN, penalty="sv_variance", strength=0.3)
SGD = replace(PLAIN, lr=0.1, optimizer="sgd", momentum=0.9)
NETWORK = replace(PLAIN, penalty="activation_decorrelation", strength=0.01)
KINDS = [PLAIN, SGD, SVV, replace(SVV, coupling="decoupled"), replace(SVV, penalty="sv_variance_hidden"), NETWORK]
each_kind = pytest.mark.parametrize("run", KINDS, ids=lambda run: f"{run.penalty}-{run.optimizer}-{run.coupling}")
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU")


def examples(n: int, inputs: int = 6, classes: int = 3) -> Arrays:
    """Return n train, 50 validation and 50 test examples of classes that can be learned."""
    rng = np.random.default_rng(3)
    y = np.arange(n + 100) % classes
    x = (rng.normal(size=(classes, inputs))[y] + rng.normal(size=(n + 100, inputs))).astype(np.float32)
    parts = {"train": slice(0, n), "validation": slice(n, n + 50), "test": slice(n + 50, n + 100)}
    return {f"{name}_{split}": array[part] for split, part in parts.items() for name, array in (("x", x), ("y", y))}


DATA = examples(80)


def contents(result: Result) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in result.arrays().items()}


def plain_loop(run: Run, start: Any = None) -> tuple[dict[str, list[float]], Any, Any]:
    """Train one nn.Sequential in the obvious way: autograd, torch.optim, SVV through svdvals."""
    sizes = run.sizes(DATA)
    flat = (
        torch.tensor(start) if start is not None else model.initial_weights(sizes, derive("initial_weights", run.seed))
    )
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    net = nn.Sequential(*[module for layer in layers for module in (layer, nn.ReLU())][:-1])
    nn.utils.vector_to_parameters(flat, net.parameters())
    weights = [layer.weight for layer in layers]
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), lr=run.lr, weight_decay=run.weight_decay)
    if run.optimizer == "sgd":
        optimizer = torch.optim.SGD(net.parameters(), lr=run.lr, momentum=run.momentum)
    generator = torch.Generator().manual_seed(derive("batch_order", run.seed))
    x, y, xv, yv, xt, yt = map(torch.tensor, DATA.values())
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    for _ in range(run.epochs):
        losses, norms = 0.0, []
        for batch in torch.randperm(len(x), generator=generator).split(run.batch_size):
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            losses += loss.item() * len(batch)
            gradients = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
            norms.append(torch.cat([part.flatten() for part in gradients]).norm().item())
            svv = run.strength * torch.stack([torch.linalg.svdvals(W).var() for W in weights]).sum()
            decoupled = torch.autograd.grad(svv, weights, retain_graph=True) if run.coupling == "decoupled" else []
            optimizer.zero_grad()
            (loss if decoupled else loss + svv).backward()
            optimizer.step()
            with torch.no_grad():
                for W, part in zip(weights, decoupled, strict=False):
                    W -= run.lr * part
        full = norms[: len(x) // run.batch_size]
        validation = nn.functional.cross_entropy(net(xv), yv).item()
        figures = (losses / len(x), validation, (net(xv).argmax(1) == yv).float().mean(), np.mean(full), np.std(full))
        for name, figure in zip(CURVES, figures, strict=True):
            curves[name].append(float(figure))
    tested = nn.functional.cross_entropy(net(xt), yt, reduction="none").detach().numpy()
    return curves, nn.utils.parameters_to_vector(net.parameters()).detach().numpy(), tested


STRONG = replace(SVV, strength=2.0, weight_decay=0.1)
AS_TORCH = [PLAIN, SGD, replace(PLAIN, weight_decay=0.5), STRONG, replace(STRONG, coupling="decoupled")]


@pytest.mark.parametrize("run", [*AS_TORCH, replace(SVV, optimizer="sgd", momentum=0.9), replace(SVV, start=PLAIN)])
def test_the_stacked_loop_is_a_plain_pytorch_loop(run: Run) -> None:
    (result,) = train([run], DATA)
    start = train([run.start], DATA)[0].weights if run.start else None
    curves, weights, tested = plain_loop(run, start)
    for name in CURVES:
        np.testing.assert_allclose(result.curves[name], curves[name], rtol=2e-4, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(result.weights, weights, rtol=1e-3, atol=2e-5)
    np.testing.assert_allclose(result.test_losses, tested, rtol=1e-3, atol=2e-5)
    assert start is None or result.initial_weights == array_hash(start)


@pytest.mark.parametrize("n", [23, 63, 183])
@each_kind
def test_a_run_s_bytes_do_not_depend_on_the_runs_beside_it(run: Run, n: int) -> None:
    """Resumed stages stack what is left: any of the runs, in any order; every figure must stay as it was."""
    data = examples(n, 40, 10)
    runs = [
        replace(run, seed=k, lr=0.003 * (k + 1), strength=run.strength * (k + 1), hidden=(24, 20), batch_size=20)
        for k in range(6)
    ]
    alone = [contents(train([each], data)[0]) for each in runs]
    for size in (2, 3, 6):
        part = np.random.default_rng(n).permutation(6)[:size].tolist()
        assert [contents(each) for each in train([runs[k] for k in part], data)] == [alone[k] for k in part]


def test_a_seed_and_nothing_else_fixes_the_streams() -> None:
    torch.manual_seed(1)
    before, (first,) = torch.get_rng_state(), train([SVV], DATA)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    assert contents(train([SVV], DATA)[0]) == contents(first)
    starts = {train([run], DATA)[0].initial_weights for run in (PLAIN, replace(PLAIN, lr=0.3, weight_decay=1), SVV)}
    assert starts == {first.initial_weights} != {train([replace(SVV, seed=6)], DATA)[0].initial_weights}
    # without a penalty, and with one too weak to change a float32
    plain, off, weak = (
        train([run], DATA)[0] for run in (PLAIN, replace(SVV, strength=0), replace(SVV, strength=1e-30))
    )
    assert contents(plain) == contents(off) == contents(weak)


def test_a_penalty_s_own_hyperparameters_reach_it() -> None:
    penalised = replace(PLAIN, penalty="log_det", strength=0.1)
    runs = [replace(penalised, tuned=(("eps", eps),)) for eps in (0.01, 0.5)]
    stacked = [contents(each) for each in train(runs, DATA)]
    assert stacked == [contents(train([run], DATA)[0]) for run in runs]
    fixed, default = (train([replace(penalised, fixed=given)], DATA)[0] for given in ((("eps", 0.5),), ()))
    assert stacked[1]["weights"] == fixed.weights.tobytes() != default.weights.tobytes()


def test_best_epoch_keeps_the_weights_of_the_lowest_validation_loss() -> None:
    long = replace(PLAIN, lr=0.1, epochs=12, selection="best_epoch")
    (result,) = train([long], DATA)
    epoch = result.selected_epoch
    assert epoch == 1 + int(np.argmin(result.curves["validation_loss"])) < 12
    (short,) = train([replace(long, epochs=epoch, selection="last_epoch")], DATA)
    assert short.weights.tobytes() == result.weights.tobytes()


def test_the_test_split_plays_no_part_in_training() -> None:
    (tested,), (without,) = train([PLAIN], DATA), train([PLAIN], {k: v for k, v in DATA.items() if "test" not in k})
    assert without.test_losses.shape == without.test_hits.shape == (0,)
    assert contents(replace(tested, test_losses=without.test_losses, test_hits=without.test_hits)) == contents(without)


@each_kind
def test_a_diverged_run_is_recorded_and_leaves_its_neighbours_alone(run: Run) -> None:
    good, bad = train([run, replace(run, lr=1e30)], DATA)
    assert contents(good) == contents(train([run], DATA)[0])
    assert good.complete and not bad.complete and bad.selected_epoch == 0


def test_what_cannot_be_trained_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="of different kinds"):
        train([PLAIN, replace(PLAIN, epochs=1)], DATA)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"training\.device: got cuda, expected cpu, since torch finds no GPU"):
        train([replace(PLAIN, device="cuda")], DATA)


class NoReading(TorchDispatchMode):
    """Refuses what would wait for a GPU: reading a value, and sizes that follow from values."""

    READING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        indices = args[1] if name in ("index", "index_put") else ()
        assert name not in self.READING and not any(each is not None and each.dtype == torch.bool for each in indices)
        return func(*args, **(kwargs or {}))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are treated as if they were on a GPU."""
    for module in (polar, penalty, optimizers):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: False)


def an_epoch(run: Run, device: str = "cpu") -> tuple[loop.Epoch, Tensor, Tensor]:
    """Return what trains two models for an epoch, and its arguments."""
    runs = [run, replace(run, seed=6)]
    models = model.copy(loop.initial_parameters(runs, DATA).to(device), run.sizes(DATA))
    x, y = (torch.tensor(DATA[name]).expand(2, *DATA[name].shape).to(device) for name in ("x_train", "y_train"))
    return loop.epoch(runs, models), x, y


@pytest.mark.usefixtures("away")
@each_kind
def test_an_epoch_on_a_gpu_reads_no_values_and_gives_those_of_the_cpu(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    epoch, x, y = an_epoch(run)
    with torch.no_grad(), NoReading():
        found = epoch(x, y)
    on_meta, x, y = an_epoch(run, "meta")
    with torch.no_grad():
        assert on_meta(x, y)["norms"].shape == (2, 2)
    monkeypatch.undo()
    epoch, x, y = an_epoch(run)
    with torch.no_grad():
        expected = epoch(x, y)
    for name, curve in expected.items():
        torch.testing.assert_close(found[name], curve, rtol=2e-4, atol=2e-6)


def test_runs_that_fail_on_a_gpu_are_trained_on_the_cpu() -> None:
    runs = [replace(SVV, seed=seed) for seed in range(3)]
    expected = train(runs, DATA)
    broken = [replace(expected[0], complete=False), expected[1], replace(expected[2], complete=False)]
    found = loop.settled([replace(run, device="cuda") for run in runs], broken, DATA)
    assert found[1] is expected[1]
    assert [contents(each) for each in found] == [contents(each) for each in expected]


@on_a_gpu
@each_kind
def test_runs_on_a_gpu_are_close_to_those_on_the_cpu_and_captured(run: Run) -> None:
    (cpu,), (gpu,) = (train([replace(run, device=device)], DATA) for device in ("cpu", "cuda"))
    assert gpu.complete and cpu.initial_weights == gpu.initial_weights
    np.testing.assert_allclose(gpu.curves["validation_loss"], cpu.curves["validation_loss"], rtol=1e-3)
    runs = [run, replace(run, seed=6)]
    models = model.copy(loop.initial_parameters(runs, DATA).cuda(), run.sizes(DATA))
    with torch.no_grad(), torch.cuda.stream(torch.cuda.Stream()):
        plain, x, y = an_epoch(run, "cuda")
        captured = loop.captured(runs, models, x, y)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        losses = [torch.stack([each(x, y)["train_loss"] for _ in range(3)]) for each in (plain, captured)]
        torch.cuda.set_sync_debug_mode("default")
    assert captured.__name__ == "replay"
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
