"""From a penalty's name to its gradient: what a user's file may be, what is refused, and runs that diverge."""

import importlib
import itertools
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from svvr import penalties, polar
from svvr.training import model, penalty

SIZES = (6, 12, 9, 3)
NAMES = sorted(path.stem for path in Path(penalties.__path__[0]).glob("[!_]*.py"))
COUNT = itertools.count()
VAR = "torch.linalg.svdvals(W).var(-1)"
Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a user's file, after the line `import torch`; return the penalty's name, another one each time."""
    monkeypatch.setattr(penalties, "__path__", [*penalties.__path__, str(tmp_path)])

    def write(source: str) -> str:
        name = f"mine_{next(COUNT)}"
        (tmp_path / f"{name}.py").write_text(f"import torch\n{source}\n", encoding="utf-8")
        importlib.invalidate_caches()
        return name

    return write


def stack(k: int = 3) -> model.Stack:
    return model.copy(torch.stack([model.initial_weights(SIZES, seed) for seed in range(k)]), SIZES)


def added(name: str, models: model.Stack, fixed: Any = (), **tuned: Tensor) -> model.Stack:
    """Return the penalty's gradient at K networks."""
    k, total = len(models.flat), model.copy(torch.zeros_like(models.flat), SIZES)
    x = torch.randn(k, 20, 6, generator=torch.Generator().manual_seed(1), device="cpu").to(models.flat)
    y = torch.zeros(k, 20, dtype=torch.int64, device=x.device)
    penalty.gradient(name, SIZES, dict(fixed), tuned)(models, (x, y), torch.ones(k, device=x.device), total)
    return total


@pytest.mark.parametrize(
    "source",
    [
        f"def penalty(W): return {VAR}",
        "def penalty(W):\n    m, n = W.shape\n    return torch.linalg.svdvals(W)[: min(m, n)].var(-1)",
        f"def penalty(W, normalize=False): return {VAR} if normalize is False else 0 * W.sum()",
        f"def penalty(W, *, eps=0.0): return {VAR} + eps",
        f"def penalty(W, layer, eps=0.0): return {VAR} + eps + 0 * layer.index",
        f"def penalty(W, *, scale=1, layer): return scale * {VAR} if layer.n_layers == 3 else 0",
        f"import functools\ndef variance(W, c): return c * {VAR}\npenalty = functools.partial(variance, c=1)",
        f"class Variance(torch.nn.Module):\n    def forward(self, W): return {VAR}\npenalty = Variance()",
        f"penalty = lambda W: {VAR}",
        f"penalty = lambda W: (W / torch.linalg.vector_norm(W)).square().sum((-2, -1)) * {VAR}",  # harmless: W is one
        "def penalty(W): ...\ndef gradient(W):\n    from svvr.polar import deviation\n"
        "    return 2 / (min(W.shape[-2:]) - 1) * deviation(W)",
    ],
)
def test_any_function_of_a_matrix_may_be_a_penalty(write: Write, source: str) -> None:
    models = stack()
    found, expected = added(write(source), models), added("sv_variance", models)
    torch.testing.assert_close(found.flat, expected.flat, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("value", ["W.new_zeros(())", "torch.zeros(())", "W.square().sum().detach()"])
def test_a_value_that_does_not_depend_on_the_weights_has_the_gradient_0(write: Write, value: str) -> None:
    assert not added(write(f"def penalty(W): return {value}"), stack()).flat.any()


NO_FORM = re.escape(f"expected {penalty.FORMS}")


@pytest.mark.parametrize(
    "source,complaint",
    [
        # forms
        ("def value(W): ...", rf"\.py: got no Python function, {NO_FORM}"),
        ("penalty = torch.linalg.matrix_norm", rf"\.py: got no Python function, {NO_FORM}"),
        ("def penalty(matrix): ...", rf"\.py: got penalty\(matrix\), {NO_FORM}"),
        ("def penalty(network, x): ...", rf"\.py: got penalty\(network, x\), {NO_FORM}"),
        ("def penalty(W, *others): ...", rf"\.py: got penalty\(W, \*others\), {NO_FORM}"),
        ("def penalty(W, **others): ...", rf"\.py: got penalty\(W, \*\*others\), {NO_FORM}"),
        ("def penalty(W, p): ...", r"\.py:2: got the hyperparameters none; expected p"),
        # the file
        ("import absent", r"\.py:2: ModuleNotFoundError: No module named 'absent'"),
        ("from svvr.penalties import absent", r"\.py:2: ImportError: cannot import name 'absent'"),
        ("import pathlib\npathlib.Path('params.yaml').read_text()", r"\.py: .*got a read of params.yaml, expected hyp"),
        ("open('schatten.json')", r"\.py:2: FileNotFoundError: "),
        ("def penalty(W) return W", r"\.py:2: SyntaxError: "),
        ("torch.set_default_dtype(torch.float64)", r"\.py: .*got a change of the default dtype"),
        ("torch.set_default_device('meta')", r"\.py: .*got a change of the default device"),
        ("torch.set_num_threads(4)\ntorch.manual_seed(1)", r"\.py: .*the number of threads, torch's random state"),
        ("torch.use_deterministic_algorithms(True)", r"\.py: .*got a change of deterministic algorithms"),
        ("torch.set_grad_enabled(False)", r"\.py: .*got a change of the grad mode"),
        ("import numpy\nnumpy.random.rand()", r"\.py: .*got a change of numpy's random state"),
        # the function
        ("def penalty(W):\n    return W.sm()", r"\.py:3: AttributeError: 'Tensor' object has no attribute 'sm'"),
        ("def penalty(W): return torch.linalg.cholesky(W.mT @ W).sum()", r"\.py:2: _?LinAlgError: "),
        ("def penalty(W): return W.square().sum() * torch.rand(())", r"\.py:2: RuntimeError: vmap: called random op"),
        ("def penalty(W):\n    return W.sum() if W.max() > 0 else 0", r"\.py:3: RuntimeError: vmap: .*control flow"),
        ("def penalty(W): return W.sum() * W.max().item()", r"\.py:2: RuntimeError: vmap: .*calling \.item\(\)"),
        ("def penalty(W):\n    return W.mul_(2).sum()", r"\.py:3: RuntimeError: a leaf Variable that requires grad"),
        ("def penalty(W): return W.sum(-1)", r"\.py:2: RuntimeError: .*to return a scalar Tensor, got"),
        ("def penalty(W): return 0.0", r"\.py:2: RuntimeError: .*to return a Tensor, got <class 'float"),
        ("def penalty(W): return torch.fft.fft(W).sum()", r"\.py:2: RuntimeError: .*only for real scalar"),
        ("def penalty(W): return (0 * W.sum()).sqrt()", r"\.py:2: got a gradient that is not finite at initial"),
        ("import numpy\ndef penalty(W): return W.sum() * numpy.random.rand()", r"\.py:3: .*change of numpy's random"),
        ("n = []\ndef penalty(W): return W.sum() * (n.append(1) or len(n))", r"\.py:3: got another gradient at a se"),
        # a closed form
        ("def penalty(W): ...\ndef gradient(W): return W.mul_(2)", r"\.py:2: got other weights or another batch after"),
        ("def penalty(W): ...\ndef gradient(W): return W * torch.rand(())", r"\.py:2: .*change of torch's random"),
        ("def penalty(W): ...\ndef gradient(W): return 2 * W[0]", r"\.py:2: got a gradient torch.float32 .*\[12, 6\]"),
        ("def penalty(W): ...\ndef gradient(W): return W.double()", r"\.py:2: got a gradient torch.float64"),
        ("def penalty(W): ...\ndef gradient(W): return 3", r"\.py:2: TypeError: "),
        ("def penalty(W, layer): ...\ndef gradient(W): return W", r"\.py:2: TypeError: .*unexpected keyword"),
        # a penalty of the network
        ("def penalty(network, x, y):\n    return network.logit", r"\.py:3: AttributeError: 'Network' object has no"),
        ("def penalty(network, x, y): return network.logits.sum() + 0 * y.add_(1).sum()", r"\.py:2: got other weight"),
        ("def penalty(network, x, y): return network.logits.sum() / 0", r"\.py:2: got a gradient that is not finite"),
    ],
)
def test_a_mistake_is_told_in_one_message_with_its_line(write: Write, source: str, complaint: str) -> None:
    name, before = write(source), [pickle.dumps(get()) for get, _ in penalty.SETTINGS.values()]
    for _ in range(2):  # nothing of the first attempt is left
        with pytest.raises(ValueError, match=f"^svvr/penalties/{name}{complaint}") as raised:
            penalty.gradient(name, SIZES, {}, {})
        assert "\n" not in str(raised.value)
    assert [pickle.dumps(get()) for get, _ in penalty.SETTINGS.values()] == before


def test_an_unknown_penalty_is_named() -> None:
    with pytest.raises(ValueError, match="penalty: got 'nuclear', expected the name of a file in svvr/penalties"):
        penalty.load("nuclear")


CLOSED = "\ndef gradient(W, p, scale=1.0): return scale * p * W"


@pytest.mark.parametrize("closed", ["", CLOSED])
def test_hyperparameters_are_fixed_or_tuned_run_by_run(write: Write, closed: str) -> None:
    name = write(f"def penalty(W, p, scale=1.0): return scale * p * W.square().sum() / 2{closed}")
    models, p = stack(), torch.tensor([1.0, 2.0, 3.0])
    for found, factors in (
        (added(name, models, {"p": 2}), 2 * torch.ones(3)),
        (added(name, models, p=p), p),
        (added(name, models, {"scale": 0.5}, p=p), p / 2),
        (added(name, models, {"p": 2}, scale=p), 2 * p),
    ):
        for weight, part in zip(models.weights, found.weights, strict=True):
            torch.testing.assert_close(part, weight * factors[:, None, None])
    for fixed, tuned in (({}, ("scale",)), ({"p": 1.0, "q": 1.0}, ()), ({"p": 1.0, "layer": 1.0}, ())):
        with pytest.raises(ValueError, match=rf"{name}\.py:2: got the hyperparameters .*; expected p, scale=1\.0$"):
            penalty.check(name, SIZES, tuple(fixed.items()), tuned)


def test_a_fixed_hyperparameter_is_a_plain_value_and_the_check_costs_once(write: Write) -> None:
    name = write(
        "calls = []\ndef penalty(W, p, flag=False):\n    calls.append((p, flag))\n"
        "    return W.pow(p).sum() if flag else W.sum()"
    )
    for _ in range(3):
        penalty.gradient(name, SIZES, {"p": 2, "flag": True}, {})
    calls = importlib.import_module(f"svvr.penalties.{name}").calls
    assert set(calls) == {(2, True)} and len(calls) == 3 * (2 + 3)  # layers; twice in a stack, three alone


def test_a_penalty_that_rounds_otherwise_in_a_stack_is_computed_alone(write: Write) -> None:
    """Here by far more than rounding: a closed form that mixes its stack by mistake is one of each matrix, alone."""
    name, models = write("def penalty(W): ...\ndef gradient(W): return W / W.norm()"), stack(4)
    assert not penalty.check(name, SIZES, (), ())
    found = added(name, models)
    for weight, part in zip(models.weights, found.weights, strict=True):
        assert torch.equal(part, torch.stack([each / each.norm() for each in weight]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("on_cpu", [True, False])
def test_a_network_that_is_not_finite_gets_nan_and_leaves_its_neighbours_alone(
    name: str, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (polar, penalty):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: on_cpu)
    models = stack(5)
    good = added(name, models).flat.clone()
    models.flat[1, 4], models.flat[2, 4], models.flat[3] = torch.nan, torch.inf, 1e30
    found = added(name, models).flat
    assert torch.equal(found[[0, 4]], good[[0, 4]])
    assert found[[1, 2]].isnan().all()


@pytest.mark.parametrize(
    "source",
    [
        "def penalty(W): return torch.linalg.cholesky(W @ W.mT if len(W) < len(W.mT) else W.mT @ W).square().sum()",
        "def penalty(W):\n    U, s, Vh = torch.linalg.svd(W, full_matrices=False)\n"
        "    return (W - s.mean(-1)[..., None, None] * U @ Vh).square().sum((-2, -1))",
    ],
)
def test_a_gradient_that_fails_at_a_few_weights_is_nan_for_that_run_alone(write: Write, source: str) -> None:
    name, models = write(source), stack()
    good = added(name, models)
    models.weights[0][1].zero_()
    found = added(name, models)
    assert not torch.isfinite(found.weights[0][1]).any()
    assert torch.equal(found.flat[[0, 2]], good.flat[[0, 2]])


def test_the_value_is_summed_over_matrices_and_missing_for_networks_that_are_not_finite(write: Write) -> None:
    weights, x, y = stack().flat.numpy().copy(), np.zeros((4, 6), np.float32), np.arange(4) % 3
    squares = [sum(float(W.square().sum()) for W in model.stack(row[None], SIZES).weights) for row in stack().flat]
    weights[1, 0] = np.nan
    for name, p, fixed, tuned in (
        ("l2", [0.5] * 3, {}, {}),
        (write("def penalty(W, p, layer): return p * W.square().sum()"), [1, 2, 3], {}, {"p": np.array([1, 2, 3])}),
        (write("def penalty(network, x, y, p): return p * y.sum() + 0 * network.logits.sum()"), None, {"p": 2}, {}),
    ):
        expected = [6.0] * 3 if p is None else [a * b for a, b in zip(p, squares, strict=True)]
        expected[1] = np.nan
        found = penalty.values(name, SIZES, weights, x, y, fixed, tuned)
        assert found.dtype == np.float64 and found.tolist() == pytest.approx(expected, nan_ok=True)
    name = write("def penalty(W): return torch.linalg.cholesky(W.mT @ W).sum()")
    assert np.isnan(penalty.values(name, SIZES, weights * 0, x, y, {}, {})).all()


class NothingRead(TorchDispatchMode):
    """Refuses what waits for a GPU: reading a value, and sizes that follow from values."""

    READING = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__.rstrip("_")
        masks = args[1] if name in ("index", "index_put") else ()
        if name in self.READING or any(isinstance(each, Tensor) and each.dtype == torch.bool for each in masks):
            raise AssertionError(f"{name} reads values")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_on_a_gpu_nothing_is_read_back(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for reads in (lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: x.index_put_((x > 0,), torch.tensor(0.0))):
        with pytest.raises(AssertionError, match="reads values"), NothingRead():
            reads(torch.ones(3))
    models = stack()
    on_the_cpu = added(name, models)  # which checks the penalty
    for module in (polar, penalty):
        monkeypatch.setattr(module, "on_cpu", lambda tensor: False)
    with NothingRead():
        found = added(name, models)
    torch.testing.assert_close(found.flat, on_the_cpu.flat, rtol=1e-3, atol=1e-4)
    away = added(name, model.copy(models.flat.to("meta"), SIZES))  # where tensors have no values at all
    assert away.flat.is_meta
