"""A first look at a penalty: what it asks for, measures and says."""

import math
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from svvr import params as settings
from svvr import penalties
from svvr.records import Arrays
from svvr.training import loop
from svvr.training.run import Result, Run
from tools import try_penalty

ROOT = Path(__file__).parents[2]
RUN = Run(seed=1, lr=0.01, penalty="l2", strength=2.0, hidden=(8, 7), epochs=2, batch_size=16)
WEIGHTS = ((0, 48, 8), (56, 112, 7), (119, 140, 3))  # start, end, rows
SPANS = ("1", "2:1", "1:1", "0:1", "-1:1", "a:b", "1:2:3", "1:inf", "nan:1")
PENALTIES = {
    "typo": "import torch\n\n\ndef penalty(W):\n    return torch.linalg.svdvalz(W)\n",
    "zero": "def penalty(W):\n    return 0 * W.sum()\n",
    "huge": "def penalty(W):\n    return 1e30 * W.square().sum()\n",
    "aimed": "def penalty(W, target, power=2):\n    return (W.norm() - target).abs() ** power\n",
}
LOADED = settings.load(ROOT / "params.yaml")
SMALL = LOADED.model_copy(update={"training": LOADED.training.model_copy(update={"epochs": 2})})


@pytest.mark.parametrize(
    "words",
    ["", "PENALTY=none", "PENALTY=l3", "PENALTY=l2 COUPLING=loose", "PENALTY=log_det EPS=abc"]
    + [f"PENALTY=l2 STRENGTH={span}" for span in SPANS],
)
def test_what_cannot_be_used_is_refused_with_the_usage(words: str) -> None:
    with pytest.raises(ValueError) as caught:
        try_penalty.asked(words.split(), SMALL, 0.002)
    got, usage, known = str(caught.value).splitlines()
    assert got == f"got {words or 'nothing'}" and usage.startswith("expected PENALTY=name [STRENGTH=low:high]")
    assert known.endswith(", sv_variation") and " none," not in known


def test_what_is_asked_for() -> None:
    words = ["PENALTY=log_det", "STRENGTH=1e-3:2", "COUPLING=decoupled", "PNG=a b.png", "EPS=1e-4"]
    run, span, png = try_penalty.asked(words, SMALL, 0.003)
    assert (run.penalty, run.coupling, run.lr, run.strength) == ("log_det", "decoupled", 0.003, 1.0)
    assert (run.fixed, span, png) == ((("eps", 1e-4),), [0.001, 2.0], "a b.png")


def test_norms_are_those_of_the_gradients(tiny_data: Arrays) -> None:
    """Against one plain network."""
    flat = loop.initial_parameters([RUN, replace(RUN, seed=2)], tiny_data)
    loss, unit = try_penalty.norms(RUN, flat, tiny_data)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7), nn.ReLU(), nn.Linear(7, 3))
    nn.utils.vector_to_parameters(flat[1], net.parameters())
    x, y = (torch.from_numpy(tiny_data[name])[:64].split(16) for name in ("x_train", "y_train"))
    losses = [nn.functional.cross_entropy(net(some), labels) for some, labels in zip(x, y, strict=True)]
    gradients = [torch.autograd.grad(each, list(net.parameters())) for each in losses]
    norms = [nn.utils.parameters_to_vector(each).norm().item() for each in gradients]
    assert loss[1].item() == pytest.approx(np.mean(norms), rel=1e-5)
    assert unit[1].item() == pytest.approx(torch.cat([flat[1][a:b] for a, b, _ in WEIGHTS]).norm().item(), rel=1e-5)
    step, same = try_penalty.norms(replace(RUN, coupling="decoupled"), flat, tiny_data)
    assert torch.equal(same, unit) and step.tolist() == pytest.approx([0.25 * math.sqrt(143)] * 2)


def of_seeds(run: Run, data: Arrays) -> tuple[list[Run], list[Result]]:
    runs = [replace(run, seed=seed) for seed in range(3)]
    return runs, loop.train(runs, data)


def test_a_strength_is_described_by_pairs_of_seeds(tiny_data: Arrays) -> None:
    plain, baseline = of_seeds(replace(RUN, penalty="none", strength=0.0), tiny_data)
    runs, found = of_seeds(RUN, tiny_data)
    strength, failed, *change, condition, _, after = try_penalty.describe(runs, found, baseline, tiny_data)
    own, other = (np.array([each.curves["validation_loss"][-1] for each in some]) for some in (found, baseline))
    d = np.log(own / other)
    half = 4.302652729911275 * d.std(ddof=1) / math.sqrt(3)  # Student's t, 2 degrees of freedom, 95 %
    assert change == pytest.approx([100 * math.expm1(each) for each in (d.mean(), d.mean() - half, d.mean() + half)])
    conditions = [np.linalg.cond(each.weights[a:b].reshape(m, -1)) for each in found for a, b, m in WEIGHTS]
    assert condition == pytest.approx(np.exp(np.mean(np.log(conditions))), rel=1e-3)
    trained = torch.stack([torch.from_numpy(each.weights) for each in found[:2]])
    loss, unit = try_penalty.norms(RUN, trained, tiny_data)
    assert after == pytest.approx(float((2 * unit / (2 * unit + loss)).mean())) and (strength, failed) == (2.0, 0)
    assert np.isnan(try_penalty.describe(plain, baseline, baseline, tiny_data)[2:5]).all()
    dead = [replace(each, weights=0 * each.weights) for each in found]
    assert math.isnan(try_penalty.describe(runs, dead, baseline, tiny_data)[5])
    diverged = of_seeds(replace(RUN, penalty="orthogonality", lr=1e20), tiny_data)
    np.testing.assert_equal(try_penalty.describe(*diverged, baseline, tiny_data), [2, 3, *[math.nan] * 6])


def test_as_much_is_trained_as_fits() -> None:
    for penalised, expected in {5e-4: (6, 24, 20), 0.03: (6, 10, 20), 0.2: (4, 2, 20), 500.0: (3, 2, 1)}.items():
        assert try_penalty.fit(penalised, 0.004, 20) == expected


NOTHING, FINE, MUCH = (0.1, -0.5, 0.7, 0.002, 0.001), (-2, -4, 0.5, 0.02, 0.004), (30, 25, 35, 0.2, 0.3)
BROKEN = "runs fail or the loss rises by 10 %"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([NOTHING, FINE, MUCH], f"strength: {{low: 0.03, high: 0.3}}; from 1 on {BROKEN}"),
        ([FINE, NOTHING], "strength: {low: 0.003, high: 0.03}; perhaps lower, which was not tried"),
        ([NOTHING, FINE], "strength: {low: 0.03, high: 0.3}; perhaps higher, which was not tried"),
        ([NOTHING, NOTHING], "nothing happens up to 0.1; look higher"),
        ([NOTHING, MUCH, (math.nan,) * 5], f"nothing that was tried; from 0.1 on {BROKEN}; look below that"),
    ],
)
def test_the_range_worth_tuning(rows: list[tuple[float, ...]], said: str) -> None:
    columns = ["strength", "change", "low", "high", "before", "after"]
    frame = pd.DataFrame([(0.01 * 10**k, *row) for k, row in enumerate(rows)], columns=columns)
    assert try_penalty.worth_tuning(frame) == f"worth tuning: {said}"


def test_a_look_at_penalties_of_one_s_own(
    elsewhere: Path, tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def look(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["try", *words])
        try_penalty.main(SMALL)
        return capsys.readouterr().out

    for name, source in PENALTIES.items():
        (elsewhere / f"{name}.py").write_text(source)
    monkeypatch.setattr(penalties, "__path__", [*penalties.__path__, str(elsewhere)])
    monkeypatch.setattr(try_penalty, "PENALTIES", elsewhere)
    monkeypatch.setattr(try_penalty, "SECONDS", 1.0)
    monkeypatch.setattr(try_penalty, "make", lambda *_: tiny_data)
    out = look("PENALTY=aimed", "TARGET=1.0", "STRENGTH=0.01:10", "PNG=look.png")
    assert out.startswith("aimed, coupled; adam, learning rate 0.002, ") and (elsewhere / "look.png").exists()
    assert "\nworth tuning: " in out and "\nthe full comparison of one more arm: 2176 runs, about " in out
    assert "worth tuning: nothing, the penalty's gradient is 0 at every weight tried\n" in look("PENALTY=zero")
    for name, said in {
        "typo": "svvr/penalties/typo.py:5: AttributeError: module 'torch.linalg' has no attribute 'svdvalz'",
        "huge": "got a penalty whose gradient is [0-9]e[+]3[0-9] times the data loss's, expected a usual scale",
        "aimed": "svvr/penalties/aimed.py:1: got the hyperparameters none; expected target, power",
    }.items():
        with pytest.raises(ValueError, match=f"^{said}"):
            look(f"PENALTY={name}")


@pytest.mark.slow
def test_an_interruption_ends_it_in_a_line() -> None:
    command = [sys.executable, "-m", "tools.try_penalty", "PENALTY=l2"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr and process.stderr.read(4) == "\ntry"  # the progress bar
        process.send_signal(signal.SIGINT)
        assert process.stderr.read().endswith("try: stopped\n") and process.wait(5) == 130
