"""The stacked loop against a plain PyTorch loop, and what pairing rests on."""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from svvr.core.files import Arrays, array_hash
from svvr.core.seeds import derive
from svvr.learn.model import initial_weights, stack
from svvr.learn.result import CURVES, Result, record
from svvr.learn.spec import Run
from svvr.learn.train import train
from svvr.learn.work import WORK
from svvr.run import evaluate

TINY = Run(seed=5, lr=0.01, hidden=(8, 7), epochs=3, batch_size=32)


def contents(result: Result) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in result.arrays().items()}


def svv(W: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(W).var()


def plain_loop(run: Run, data: Arrays, start: np.ndarray | None = None) -> tuple[dict[str, list[float]], np.ndarray]:
    """Train one nn.Sequential in the obvious way: autograd, torch.optim.AdamW, SVV through svdvals."""
    sizes = run.sizes(data)
    flat = initial_weights(sizes, derive("initial_weights", run.seed)) if start is None else torch.from_numpy(start)
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    with torch.no_grad():
        for layer, W, b in zip(layers, stack(flat[None], sizes).weights, stack(flat[None], sizes).biases, strict=True):
            layer.weight.copy_(W[0])
            layer.bias.copy_(b[0])
    net = nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())][:-1])
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(net.parameters(), lr=run.lr, weight_decay=run.weight_decay)
    if run.optimizer == "sgd":
        optimizer = torch.optim.SGD(net.parameters(), lr=run.lr, momentum=run.momentum)
    generator = torch.Generator().manual_seed(derive("batch_order", run.seed))
    x, y, xv, yv = (torch.from_numpy(data[name]) for name in ("x_train", "y_train", "x_validation", "y_validation"))
    curves: dict[str, list[float]] = {name: [] for name in CURVES}
    for _ in range(run.epochs):
        order, losses, gradients = torch.randperm(len(x), generator=generator), 0.0, []
        for start_ in range(0, len(x), run.batch_size):
            batch = order[start_ : start_ + run.batch_size]
            loss = nn.functional.cross_entropy(net(x[batch]), y[batch])
            losses += loss.item() * len(batch)
            if len(batch) == run.batch_size:
                parts = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
                gradients.append(torch.cat([part.flatten() for part in parts]).double().numpy())
            penalty = run.strength * torch.stack([svv(layer.weight) for layer in layers]).sum()
            weights = [layer.weight for layer in layers]
            pull = torch.autograd.grad(penalty, weights, retain_graph=True) if run.strength else ()
            if run.coupling == "coupled":
                loss = loss + penalty
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if run.coupling == "decoupled":
                with torch.no_grad():
                    for layer, part in zip(layers, pull, strict=True):
                        layer.weight -= run.lr * part
        norms = [np.linalg.norm(g) for g in gradients]
        curves["train_loss"].append(losses / len(x))
        curves["gradient_norm_mean"].append(np.mean(norms))
        curves["gradient_norm_sd"].append(np.std(norms))
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in itertools.pairwise(gradients)]
        curves["gradient_cosine"].append(np.mean(cosines))
        with torch.no_grad():
            curves["validation_loss"].append(nn.functional.cross_entropy(net(xv), yv).item())
            curves["validation_accuracy"].append((net(xv).argmax(1) == yv).double().mean().item())
    return curves, torch.cat([p.detach().flatten() for layer in layers for p in layer.parameters()]).numpy()


@pytest.mark.parametrize(
    "run",
    [
        TINY,
        replace(TINY, weight_decay=0.5),
        replace(TINY, penalty="sv_variance", strength=0.3),
        replace(TINY, penalty="sv_variance", strength=2.0, weight_decay=0.1),
        replace(TINY, penalty="sv_variance", strength=2.0, coupling="decoupled"),
        replace(TINY, penalty="sv_variance", strength=2.0, coupling="decoupled", weight_decay=0.1),
        replace(TINY, lr=0.1, optimizer="sgd", momentum=0.9),
        replace(TINY, lr=0.1, optimizer="sgd", momentum=0.9, penalty="sv_variance", strength=0.3),
    ],
)
def test_the_stacked_loop_is_a_plain_pytorch_loop(run: Run, tiny_data: Arrays) -> None:
    (result,) = train([run], tiny_data)
    curves, weights = plain_loop(run, tiny_data)
    for name in CURVES:
        np.testing.assert_allclose(result.curves[name], curves[name], rtol=2e-4, atol=2e-6, err_msg=name)
    np.testing.assert_allclose(result.weights, weights, rtol=1e-3, atol=2e-5)


def test_a_continued_run_starts_from_the_trained_weights(tiny_data: Arrays) -> None:
    continued = replace(TINY, penalty="sv_variance", strength=0.1, start=TINY)
    trained, result = train([TINY], tiny_data)[0], train([continued], tiny_data)[0]
    assert result.initial_weights == array_hash(trained.weights)
    assert result.initial_weights != trained.initial_weights
    curves, _ = plain_loop(continued, tiny_data, trained.weights)
    np.testing.assert_allclose(result.curves["validation_loss"], curves["validation_loss"], rtol=2e-4)


@pytest.mark.parametrize(
    "penalty,strength,others",
    [
        ("none", 0.0, {}),
        ("sv_variance", 0.2, {}),
        ("sv_variance", 0.2, {"coupling": "decoupled"}),
        ("none", 0.0, {"optimizer": "sgd", "momentum": 0.9}),
        ("sv_variance_hidden", 0.2, {}),
        ("sv_variance_scaled", 0.01, {}),
        ("activation_decorrelation", 0.01, {}),
        ("jacobian", 0.001, {}),
    ],
)
def test_stacked_runs_are_single_runs_bit_for_bit(penalty: str, strength: float, others: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    data: Arrays = {
        "x_train": rng.normal(size=(300, 40)).astype(np.float32),
        "y_train": np.arange(300) % 10,
        "x_validation": rng.normal(size=(100, 40)).astype(np.float32),
        "y_validation": np.arange(100) % 10,
        "x_test": rng.normal(size=(2500, 40)).astype(np.float32),
        "y_test": np.arange(2500) % 10,
    }
    runs = [
        Run(
            seed=k,
            lr=0.001 * (k + 1),
            weight_decay=0.1 * k,
            penalty=penalty,
            strength=strength * (k + 1),
            epochs=2,
            **others,
        )
        for k in range(5)
    ]
    stacked = train(runs, data)
    for run, result in zip(runs, stacked, strict=True):
        (single,) = train([run], data)
        assert contents(single) == contents(result)


@pytest.mark.parametrize("n_batches", [1, 2, 3, 9, 31])
def test_a_run_s_bytes_do_not_depend_on_the_runs_beside_it(n_batches: int) -> None:
    """Resumed stages stack what is left: any part of the runs, of any size; every figure must stay as it was."""
    rng = np.random.default_rng(n_batches)
    data: Arrays = {
        "x_train": rng.normal(size=(20 * n_batches + 3, 40)).astype(np.float32),
        "y_train": np.arange(20 * n_batches + 3) % 10,
        "x_validation": rng.normal(size=(50, 40)).astype(np.float32),
        "y_validation": np.arange(50) % 10,
    }
    runs = [Run(k, 0.003 * (k + 1), 0, "sv_variance", 0.1, (24, 20), epochs=3, batch_size=20) for k in range(8)]
    alone = [train([run], data)[0] for run in runs]
    for size in (2, 3, 5, 8):
        part = rng.permutation(8)[:size].tolist()
        for k, result in zip(part, train([runs[k] for k in part], data), strict=True):
            assert contents(result) == contents(alone[k])


def test_strength_0_is_the_baseline_bit_for_bit(tiny_data: Arrays) -> None:
    (baseline,) = train([TINY], tiny_data)
    (unpenalised,) = train([replace(TINY, penalty="sv_variance")], tiny_data)
    assert contents(baseline) == contents(unpenalised)


def test_the_penalty_s_gradient_at_strength_0_would_leave_the_baseline_as_it_is(tiny_data: Arrays) -> None:
    # a strength too small to change a float32 goes through the penalty's code path
    (baseline,) = train([TINY], tiny_data)
    (penalised,) = train([replace(TINY, penalty="sv_variance", strength=1e-30)], tiny_data)
    assert baseline.weights.tobytes() == penalised.weights.tobytes()


def test_a_seed_fixes_initial_weights_and_batch_order_whatever_the_arm(tiny_data: Arrays) -> None:
    runs = [
        TINY,
        replace(TINY, lr=0.3),
        replace(TINY, weight_decay=1.0),
        replace(TINY, penalty="sv_variance", strength=1.0),
    ]
    hashes = {train([run], tiny_data)[0].initial_weights for run in runs}
    assert len(hashes) == 1
    assert hashes != {train([replace(TINY, seed=6)], tiny_data)[0].initial_weights}


def test_the_global_generators_play_no_part(tiny_data: Arrays) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    (first,) = train([TINY], tiny_data)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    (second,) = train([TINY], tiny_data)
    assert first.weights.tobytes() == second.weights.tobytes()


def test_best_epoch_keeps_the_weights_of_the_lowest_validation_loss(tiny_data: Arrays) -> None:
    long = replace(TINY, lr=0.1, epochs=12, selection="best_epoch")
    (result,) = train([long], tiny_data)
    epoch = result.selected_epoch
    assert epoch == 1 + int(np.argmin(result.curves["validation_loss"])) < 12
    (short,) = train([replace(long, epochs=epoch, selection="last_epoch")], tiny_data)
    assert short.weights.tobytes() == result.weights.tobytes()


def test_a_diverged_run_is_recorded_and_leaves_its_neighbours_alone(tiny_data: Arrays) -> None:
    runs = [
        replace(TINY, penalty="sv_variance", strength=0.1),
        replace(TINY, lr=1e30, penalty="sv_variance", strength=0.1),
    ]
    good, bad = train(runs, tiny_data)
    (alone,) = train(runs[:1], tiny_data)
    assert good.weights.tobytes() == alone.weights.tobytes()
    assert not bad.complete and good.complete
    described = record(runs[1], bad)
    assert described["state"] == "failed" and described["selected_epoch"] is None
    assert len(described["validation_loss"]) == 3 and described["validation_loss"][-1] is None
    assert bad.validation_loss("last_epoch") is None and bad.test_loss is None and bad.test_accuracy is None


def test_test_losses_are_those_of_a_plain_network(tiny_data: Arrays) -> None:
    x, y = tiny_data["x_validation"], tiny_data["y_validation"]
    (result,) = train([TINY], tiny_data | {"x_test": np.tile(x, (60, 1)), "y_test": np.tile(y, 60)})
    models = stack(torch.from_numpy(result.weights)[None], TINY.sizes(tiny_data))
    h = torch.from_numpy(x)
    for layer, (W, b) in enumerate(zip(models.weights, models.biases, strict=True)):
        h = h @ W[0].T + b[0]
        h = h.relu() if layer < 2 else h
    expected = nn.functional.cross_entropy(h, torch.from_numpy(y), reduction="none")
    np.testing.assert_allclose(result.test_losses, np.tile(expected.numpy(), 60), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(result.test_hits, np.tile(h.argmax(1).numpy() == y, 60))
    assert result.curves["validation_loss"][-1] == pytest.approx(result.test_loss, rel=1e-6)
    assert result.test_accuracy == pytest.approx(result.curves["validation_accuracy"][-1])


def test_the_test_split_changes_nothing_but_what_is_told_of_it(tiny_data: Arrays) -> None:
    test = {"x_test": tiny_data["x_validation"], "y_test": tiny_data["y_validation"]}
    (without,), (evaluated,) = train([TINY], tiny_data), train([TINY], tiny_data | test)
    assert without.test_loss is None and evaluated.test_loss is not None
    assert contents(replace(evaluated, test_losses=without.test_losses, test_hits=without.test_hits)) == contents(
        without
    )


def test_what_cannot_be_trained_is_refused(tiny_data: Arrays) -> None:
    with pytest.raises(ValueError, match="of different kinds"):
        train([TINY, replace(TINY, epochs=1)], tiny_data)
    with pytest.raises(ValueError, match="got 0"):
        train([], tiny_data)


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_bytes_do_not_depend_on_chunks_workers_or_order(chunk: int, tiny_data: Arrays) -> None:
    runs = [replace(TINY, seed=k, penalty="sv_variance", strength=0.1 * (k % 3)) for k in range(7)]
    work = replace(WORK, chunk=lambda _: chunk)
    with evaluate.workers() as executor:
        forwards = evaluate.evaluate(runs, work, tiny_data, executor)
        backwards = evaluate.evaluate(runs[::-1], work, tiny_data, executor)[::-1]
    for run, one, other in zip(runs, forwards, backwards, strict=True):
        (single,) = train([run], tiny_data)
        assert contents(one) == contents(other) == contents(single)
