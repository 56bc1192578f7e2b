"""From a penalty's name to its gradient: the loader, mistakes in a user's file, and promises that a file may break."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from svvr import penalties
from svvr.learn import model, penalty
from tests.penalties.oracles import matrices

L2 = "def penalty(W): return W.square().sum((-2, -1)) / 2\n"


def test_an_unknown_penalty_is_named() -> None:
    with pytest.raises(ValueError, match="penalty: got 'nuclear', expected the name of a file in svvr/penalties"):
        penalty.gradient("nuclear")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write a user's file with the penalty `mine`."""

    def write(source: str) -> None:
        (tmp_path / "mine.py").write_text(f"import torch\n{source}\n", encoding="utf-8")
        monkeypatch.setattr(penalties, "__path__", [*penalties.__path__, str(tmp_path)])
        monkeypatch.delitem(sys.modules, "svvr.penalties.mine", raising=False)

    return write


def test_a_user_s_penalty_without_closed_form_goes_through_autograd(write: Callable[[str], None]) -> None:
    write("def penalty(W): return torch.linalg.svdvals(W).var(-1)")
    W = matrices(3, 5, 4)
    torch.testing.assert_close(penalty.gradient("mine")(W), penalty.gradient("sv_variance")(W))


@pytest.mark.parametrize(
    "source,complaint",
    [
        ("import absent", "its file imports absent, which is not installed"),
        ("def penalty(W) return W", r"mine\.py:2: SyntaxError: "),
        ("1 / 0", r"mine\.py:2: ZeroDivisionError: division by zero"),
        ("def penalty(W):\n    return W.sm()", r"mine\.py:3: AttributeError: 'Tensor' object has no attribute 'sm'"),
        ("def penalty(W): return unknown", r"mine\.py:2: NameError: name 'unknown' is not defined"),
        ("def penalty(W): return torch.linalg.cholesky(W.mT @ W).sum((-2, -1))", r"mine\.py:2: _?LinAlgError: "),
        (
            "def penalty(W):\n    V = 2 * W\n    total = V.exp().sum((-2, -1)) + V.square().sum((-2, -1))\n"
            "    V.mul_(2)\n    return total",
            "its gradient by autograd: RuntimeError: one of the variables",
        ),
        (
            "def penalty(W):\n    W.mul_(2)\n    return W.sum((-2, -1))",
            r"mine\.py:3: RuntimeError: a leaf Variable that",
        ),
        ("def penalty(W): return torch.fft.fft(W).sum((-2, -1))", "got a complex value, expected a real one"),
        ("def penalty(W): ...\ndef gradient(W): return W.double()", "got a gradient of type float64, expected float32"),
        ("def penalty(W): ...\ndef gradient(W): return 3", "got a gradient of type int, expected float32"),
        ("def penalty(a, b, c, d): ...", r"got penalty with 4 arguments, expected one of penalty\(W\), pen"),
        ("def penalty(network, x, y): ...", r"got penalty\(network, x, y\), expected one of a single weight matrix"),
        ("def value(W): ...", r"got a file without the function penalty\(W\)"),
        ("def penalty(W): return 0.0", r"got a float, expected a tensor of shape \(3,\)"),
        ("def penalty(W): return W.sum()", r"got a value of shape \(\), expected \(3,\) for weights of shape"),
        ("def penalty(W): return torch.zeros(len(W))", "got a value without gradient, expected one computed from"),
        ("def penalty(W): return (W.sum((-2, -1)) * 0).sqrt()", r"got a gradient that is not finite at .*\(3, 3, 4\)"),
        ("def penalty(W): ...\ndef gradient(W): return W * torch.nan", "got a gradient that is not finite"),
        (  # would broadcast over the stack
            "def penalty(W): ...\ndef gradient(W): return 2 * W[0]",
            r"got a gradient of shape \(3, 4\), expected that of the weights, \(3, 3, 4\)",
        ),
    ],
)
def test_a_mistake_in_a_user_s_file_is_named(write: Callable[[str], None], source: str, complaint: str) -> None:
    write(source)
    with pytest.raises(ValueError, match=f"penalty 'mine': {complaint}"):
        penalty.gradient("mine")(matrices(2, 3, 4).float())


@pytest.mark.parametrize(
    "source,complaint",
    [
        (L2 + "def gradient(W):\n    W.mul_(0.9)\n    return W / 0.9", "got other weights after the call than before"),
        (
            "def penalty(W): return (W @ torch.randn(*W.shape[:-2], W.shape[-1], 1)).square().sum((-2, -1))",
            "got a draw from a global random generator",
        ),
        ("import numpy as np\ndef penalty(W): return W.square().sum((-2, -1)) * np.random.rand()", "got a draw from"),
        (
            "import random\ndef penalty(W): return W.square().sum((-2, -1)) * random.random()",
            "got a draw from a global",
        ),
        (
            "generator = torch.Generator()\n"
            "def penalty(W): return W.square().sum((-2, -1)) * torch.rand((), generator=generator)",
            "got another gradient at a second call",
        ),
        (
            "last = [0.0]\n"
            "def penalty(W):\n    last[0] = max(last[0], float(W.detach().max()))\n"
            "    return W.square().sum((-2, -1)) * last[0]",
            "got another gradient after a call with other weights",
        ),
        (
            "def penalty(W): return (W / torch.linalg.vector_norm(W)).square().sum((-2, -1)) * W.sum((-2, -1))",
            "got another gradient for a matrix alone than in a stack",
        ),
    ],
)
def test_a_penalty_that_is_no_function_of_each_matrix_alone_is_refused(
    write: Callable[[str], None], source: str, complaint: str
) -> None:
    write(source)
    with pytest.raises(ValueError, match=f"penalty 'mine': {complaint}.*, expected"):
        penalty.gradient("mine")(matrices(1, 6, 4).float())


def test_a_draw_of_another_thread_is_not_the_penalty_s(write: Callable[[str], None]) -> None:
    """A Dask worker chooses by Python's generator from whom to fetch data, while another thread of it computes."""
    write(
        "import random, threading\n"
        "threads = [threading.Thread(target=random.random)]\n"
        "def penalty(W):\n"
        "    for thread in threads: thread.start(), thread.join()\n"
        "    threads.clear()\n"
        "    return W.square().sum((-2, -1)) / 2"
    )
    W = matrices(1, 6, 4).float()
    assert torch.equal(penalty.gradient("mine")(W), W)


def test_fixed_draws_are_offered_and_a_stack_is_computed_as_its_matrices_are(write: Callable[[str], None]) -> None:
    """torch rounds this product otherwise for a stack than for a matrix, which must change no run."""
    write(
        "from svvr.penalties.helpers import draws\n"
        "def penalty(W): return (W @ draws.normal(W.shape[-1], 1, like=W)).square().sum((-2, -1))"
    )
    gradient, W = penalty.gradient("mine"), matrices(5, 6, 4).float()
    assert torch.equal(gradient(W), gradient(W))
    for k in range(5):
        assert torch.equal(gradient(W[k : k + 1])[0], gradient(W)[k])


@pytest.mark.parametrize(
    "body,complaint",
    [
        ("return network.logits.sum()", r"got a value of shape \(\), expected \(3,\)"),
        ("return x.sum((1, 2))", "got a value without gradient, expected one computed from the weights"),
        ("return (network.logits * torch.rand(())).sum((1, 2))", "got a draw from a global random generator"),
        (
            "return network.logits.sum((1, 2)) * network.logits.mean()",
            "got another gradient for a network and its batch al",
        ),
        ("y.add_(1)\n    return network.logits.sum((1, 2))", "got other weights after the call than before"),
        ("return network.logit", r"mine\.py:3: AttributeError: 'Network' object has no attribute 'logit'"),
        ("return (network.logits * torch.nan).sum((1, 2))", "got a gradient that is not finite at finite weights"),
    ],
)
def test_a_mistake_in_a_penalty_of_networks_is_named(write: Callable[[str], None], body: str, complaint: str) -> None:
    write(f"def penalty(network, x, y):\n    {body}")
    sizes = (4, 5, 3)
    flat = torch.stack([model.initial_weights(sizes, 0)])
    with pytest.raises(ValueError, match=f"penalty 'mine': .*{complaint}"):
        penalty.network_gradient("mine", sizes)(flat, matrices(1, 6, 4).float(), torch.zeros(1, 6, dtype=torch.int64))
