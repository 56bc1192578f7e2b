"""The path of accelerators, run without one: nothing is read back within an epoch, and the results agree."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from svvr.core.files import Arrays
from svvr.learn import model, train
from svvr.learn.spec import Run
from svvr.penalties.helpers import device, isometry
from tests.penalties.oracles import variance

RUN = Run(seed=5, lr=0.01, penalty="sv_variance", strength=0.3, hidden=(12, 9), epochs=3, batch_size=32)
KINDS = [
    replace(RUN, penalty="none", strength=0.0),
    replace(RUN, penalty="none", strength=0.0, optimizer="sgd", momentum=0.9),
    RUN,
    replace(RUN, coupling="decoupled"),
    replace(RUN, penalty="sv_variance_hidden"),
    replace(RUN, penalty="sv_variance_scaled"),
    replace(RUN, penalty="l2"),
    replace(RUN, penalty="activation_decorrelation", strength=0.01),
    replace(RUN, penalty="jacobian", strength=0.001),
]
each_kind = pytest.mark.parametrize("run", KINDS, ids=lambda run: f"{run.penalty}-{run.optimizer}-{run.coupling}")


class Nothing(TorchDispatchMode):
    """Refuses what waits for an accelerator: reading a value, and sizes that follow from values."""

    READING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        by_mask = name in ("index", "index_put") and any(
            isinstance(each, Tensor) and each.dtype == torch.bool for each in args[1]
        )
        if name in self.READING or by_mask:
            raise AssertionError(f"{name} inside the step")
        return func(*args, **(kwargs or {}))


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows is computed as if its tensors were on an accelerator."""
    monkeypatch.setattr(device, "at_hand", lambda tensor: False)


def an_epoch(run: Run, data: Arrays, where: str = "cpu") -> Callable[[], dict[str, Tensor]]:
    """Return a function that trains two models for an epoch."""
    runs = [run, replace(run, seed=6)]
    models = model.stack(train.initial_parameters(runs, data).to(where), run.sizes(data))
    step = train.stepper(runs, models)
    x, y = (torch.from_numpy(data[name]).expand(2, *data[name].shape).to(where) for name in ("x_train", "y_train"))
    return lambda: train.epoch(models, step, x, y, run.batch_size)


@pytest.mark.usefixtures("away")
@pytest.mark.parametrize(
    "reads",
    [
        lambda x: x.sum().item(),
        lambda x: float(x.sum()),
        lambda x: x[x > 0],
        lambda x: x.masked_fill_(x > 0, 0) if x.sum() > 0 else x,
        lambda x: (x > 0).nonzero(),
        lambda x: x.index_put_((x > 0,), torch.tensor(0.0)),
    ],
)
def test_a_reading_is_seen(reads: Callable[[Tensor], object]) -> None:
    with pytest.raises(AssertionError, match="inside the step"), Nothing():
        reads(torch.ones(3))


@pytest.mark.usefixtures("away")
@each_kind
def test_nothing_is_read_within_an_epoch(run: Run, tiny_data: Arrays) -> None:
    epoch = an_epoch(run, tiny_data)
    with torch.no_grad():
        epoch()  # the first use of a penalty looks at it
        with Nothing():
            curves = epoch()
    assert curves["train_loss"].isfinite().all()


@each_kind
def test_an_epoch_needs_no_values_at_all(run: Run, tiny_data: Arrays) -> None:
    """On torch's meta device, where tensors have shapes alone."""
    with torch.no_grad():
        curves = an_epoch(run, tiny_data, "meta")()
    assert curves["norms"].shape == (2, 2) and curves["norms"].is_meta


@pytest.mark.usefixtures("away")
@each_kind
def test_runs_are_those_of_the_processor(run: Run, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = train.train([run], tiny_data)
    monkeypatch.undo()
    (expected,) = train.train([run], tiny_data)
    for name, curve in expected.curves.items():
        np.testing.assert_allclose(found.curves[name], curve, rtol=2e-4, atol=2e-6, err_msg=name)


@pytest.mark.usefixtures("away")
def test_the_penalty_s_gradient_is_that_of_float64_along_a_training() -> None:
    rng = np.random.default_rng(0)
    data: Arrays = {"x_train": rng.normal(size=(640, 40)).astype(np.float32), "y_train": np.arange(640) % 10}
    runs = [Run(seed, 0.004, penalty="sv_variance", strength=strength) for seed in (0, 1) for strength in (0.1, 1.0)]
    models = model.stack(train.initial_parameters(runs, data), runs[0].sizes(data))
    step = train.stepper(runs, models)
    x, y = (torch.from_numpy(array).expand(4, *array.shape) for array in data.values())
    with torch.no_grad():
        for _ in range(12):
            for W in models.weights:
                found = isometry.deviation(W) * (2 / (min(W.shape[-2:]) - 1))
                _, expected = variance(W)
                error = torch.linalg.matrix_norm(found - expected) / torch.linalg.matrix_norm(expected)
                assert error.max() < 1e-4
            train.epoch(models, step, x, y, 128)


@pytest.mark.usefixtures("away")
def test_a_diverged_model_leaves_the_others_alone(tiny_data: Arrays) -> None:
    for run in KINDS:
        (alone,) = train.train([run], tiny_data)
        beside, diverged = train.train([run, replace(run, seed=6, lr=1e30)], tiny_data)
        assert beside.complete and not diverged.complete
        np.testing.assert_allclose(beside.curves["train_loss"], alone.curves["train_loss"], rtol=1e-5)


def test_what_is_not_complete_is_trained_on_the_processor(tiny_data: Arrays) -> None:
    runs = [replace(RUN, seed=seed) for seed in range(3)]
    expected = train.train(runs, tiny_data)
    away = [replace(run, device="cuda") for run in runs]
    broken = [expected[0], replace(expected[1], complete=False), expected[2]]
    found = train.settled(away, broken, tiny_data)
    assert found[0] is expected[0] and found[2] is expected[2]
    assert found[1].arrays().keys() == expected[1].arrays().keys() and found[1].complete
    np.testing.assert_array_equal(found[1].weights, expected[1].weights)
