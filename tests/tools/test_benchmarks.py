"""The benchmark's reference side and its peers do the same work as the engine."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import reference
from svvr import diagnostics
from svvr.data import mnist1d
from svvr.penalties import sv_variance
from svvr.records import Arrays
from svvr.seeds import derive
from svvr.training.loop import initial_parameters, train
from svvr.training.run import Run

ROOT = Path(__file__).parents[2]
PEER = """
import sys, torch
from benchmarks import peer_jax
arguments = torch.load(sys.argv[1], weights_only=False)
forms = [form for form, strengths in peer_jax.FORMS.items() if arguments[-1] in strengths]
torch.save([peer_jax.train(form, *arguments) for form in forms], sys.argv[1])
"""


@pytest.fixture(scope="module")
def splits() -> Arrays:
    return mnist1d.splits(seed=42, n_test=10, test_seed=1042)


@pytest.mark.slow
@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_reference_and_peers_train_as_ours(strength: float, splits: Arrays, tmp_path: Path) -> None:
    runs = [Run(seed, 0.004, 0, "sv_variance" if strength else "none", strength, epochs=3) for seed in range(3)]
    ours = [result.curves["validation_loss"][-1] for result in train(runs, splits)]
    theirs = [reference.train(splits, 0.004, strength, epochs=3, seed=seed) for seed in range(3)]
    assert np.mean(theirs) == pytest.approx(np.mean(ours), rel=0.05)
    if not (find_spec("jax") and find_spec("optax")):  # the extra `bench`
        return
    data = {name: array[:200] for name, array in splits.items()}  # with a short last batch
    generators = [torch.Generator().manual_seed(derive("batch_order", run.seed)) for run in runs]
    orders = torch.stack([torch.stack([torch.randperm(200, generator=each) for _ in range(3)]) for each in generators])
    torch.save([data, initial_parameters(runs, data), orders, 0.004, strength], tmp_path / "problem.pt")
    # in a process of its own, as JAX's threads and a later fork do not get on
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", PEER, str(tmp_path / "problem.pt")], check=True, cwd=ROOT, env=env)
    for losses in torch.load(tmp_path / "problem.pt"):
        np.testing.assert_allclose(losses, [each.curves["validation_loss"] for each in train(runs, data)], atol=1e-4)


@pytest.mark.slow
def test_the_reference_gradient_and_eigenvalue_are_ours(splits: Arrays) -> None:
    W = torch.randn(3, 10, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reference.penalty_gradient(W), sv_variance.gradient(W), rtol=1e-3, atol=1e-5)
    weights = train([Run(0, 0.004, epochs=3)], splits)[0].weights
    multiply = diagnostics.hessian_product(weights, (40, 128, 128, 10), splits["x_train"], splits["y_train"])
    ours = diagnostics.top_eigenvalue(multiply, len(weights), 1e-3, 0)
    assert reference.top_eigenvalue(splits, weights) == pytest.approx(ours, rel=0.01)


@pytest.mark.slow
def test_every_row_is_printed() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    rows = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True).stdout.splitlines()
    kinds = [f"{kind} run of 1 epochs, 2 asked for" for kind in ("baseline", "regularized")]
    for name in (*kinds, "top Hessian eigenvalue, relative residual 1e-3", "penalty and gradient, 2 of 10 x 12"):
        assert any(re.fullmatch(rf"{name} +[\d.]+ +[\d.]+ +[\d.]+  [\d.]+ to [\d.]+", row) for row in rows), name
    assert any(re.fullmatch(r"start of compare, against import torch +\d+ +\d+", row) for row in rows)
