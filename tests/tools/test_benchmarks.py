"""The benchmark's reference side and its peers do the same work as the engine."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks import peer_func, reference
from svvr.core.files import Arrays
from svvr.core.seeds import derive
from svvr.data import make
from svvr.learn import penalty
from svvr.learn.spec import Run
from svvr.learn.train import initial_parameters, train
from svvr.measure import hessian


@pytest.fixture(scope="module")
def splits() -> Arrays:
    return make.splits(42, 10, 1042)[0]


def test_the_reference_penalty_is_ours() -> None:
    W = torch.randn(3, 10, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reference.penalty_gradient(W), penalty.gradient("sv_variance")(W), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_reference_run_learns_as_ours(strength: float, splits: Arrays) -> None:
    theirs = [reference.train(splits, 0.004, strength, epochs=3, seed=seed) for seed in range(3)]
    runs = [Run(seed, 0.004, 0, "sv_variance", strength, epochs=3) for seed in range(3)]
    ours = [result.curves["validation_loss"][-1] for result in train(runs, splits)]
    assert np.mean(theirs) == pytest.approx(np.mean(ours), rel=0.05)


def a_problem(splits: Arrays, strength: float) -> tuple[list[Any], npt.NDArray[np.float64]]:
    """Return a peer's arguments, with 200 examples for a short last batch, and our validation losses."""
    data = {name: array[:200] for name, array in splits.items()}
    runs = [Run(seed, 0.004, 0, "sv_variance", strength, epochs=3) for seed in range(2)]
    generators = [torch.Generator().manual_seed(derive("batch_order", run.seed)) for run in runs]
    orders = torch.stack([torch.stack([torch.randperm(200, generator=each) for _ in range(3)]) for each in generators])
    losses = np.stack([result.curves["validation_loss"] for result in train(runs, data)])
    return [data, initial_parameters(runs, data), orders, 0.004, strength], losses


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_torch_func_trains_as_ours(strength: float, splits: Arrays) -> None:
    arguments, ours = a_problem(splits, strength)
    np.testing.assert_allclose(peer_func.train("torch.func", *arguments).numpy(), ours, atol=1e-4)


def jax_losses(path: Path, arguments: list[Any]) -> dict[str, torch.Tensor]:
    """Train in each form of JAX, in a process of its own, as its threads and a later fork do not get on."""
    code = """
import sys, torch
from benchmarks import peer_jax
arguments = torch.load(sys.argv[1], weights_only=False)
forms = [form for form, strengths in peer_jax.FORMS.items() if arguments[-1] in strengths]
torch.save({form: peer_jax.train(form, *arguments) for form in forms}, sys.argv[1])
"""
    torch.save(arguments, path)
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, cwd=Path(__file__).parents[2])
    losses: dict[str, torch.Tensor] = torch.load(path)
    return losses


if importlib.util.find_spec("jax") and importlib.util.find_spec("optax"):  # the extra `bench`

    @pytest.mark.slow
    @pytest.mark.parametrize("strength", [0.0, 0.3])
    def test_jax_trains_as_ours(strength: float, splits: Arrays, tmp_path: Path) -> None:
        arguments, ours = a_problem(splits, strength)
        for form, theirs in jax_losses(tmp_path / "problem.pt", arguments).items():
            np.testing.assert_allclose(theirs.numpy(), ours, atol=1e-4, err_msg=form)


def test_the_reference_eigenvalue_is_ours(splits: Arrays) -> None:
    weights = train([Run(0, 0.004, epochs=3)], splits)[0].weights
    x, y = splits["x_train"], splits["y_train"]
    ours = hessian.top_eigenvalue(weights, (40, 128, 128, 10), x, y, 1e-3, 0)[0]
    assert reference.top_eigenvalue(splits, weights) == pytest.approx(ours, rel=0.01)


def test_every_row_is_printed() -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick"], capture_output=True, text=True,
        cwd=Path(__file__).parents[2], env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    rows = result.stdout.splitlines()
    ratio = r" +[\d.]+ +[\d.]+ +[\d.]+  [\d.]+ to [\d.]+"
    peers = [f"{name} run, 2 against 2 by torch.func" for name in ("baseline", "regularized")]
    others = ("baseline run of 1 epochs", "regularized run of", "top Hessian", "penalty and gradient, 2 of 10 x 12")
    for name in (*others, *peers):
        assert any(row.startswith(name) and re.search(f"{ratio}$", row) for row in rows), name
    assert any(re.search(r"baseline run, 2 asked for +[\d.]+ +\d+ MiB so far", row) for row in rows)
    assert any(re.search(r"start of compare, against import torch +\d+ +\d+", row) for row in rows)
    assert any(row.startswith("dvc repro with nothing to do") for row in rows)
