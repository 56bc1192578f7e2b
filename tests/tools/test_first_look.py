"""A first look at a penalty: what it asks for, what it trains, what it says."""

import math
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from svvr.core import params as parameters
from svvr.core.files import Arrays, read_json
from svvr.core.params import Params
from svvr.learn.result import Result
from svvr.learn.spec import Run
from svvr.learn.train import initial_parameters
from svvr.learn.train import train as learn
from svvr.measure import spectrum
from tests.copies import forks, tiny
from tools import first_look
from tools.first_look import Asked, Row

ROOT = Path(__file__).parents[2]
RUN = Run(seed=1, lr=0.01, penalty="l2", strength=0.5, hidden=(8, 7), epochs=2, batch_size=16)
BASELINE = Row(0, 4, 0, (0, 0, 0), 30, None)
FINE = Row(0.1, 4, 0, (-2, -4, 0.5), 12, (0.02, 0.004))
NOTHING = Row(0.01, 4, 0, (0.1, -0.5, 0.7), 29, (0.002, 0.001))
MUCH = Row(1, 4, 0, (30, 25, 35), 2.5, (0.2, 0.3))
FAILED = Row(10, 4, 3, None, None, None)


@pytest.fixture(scope="module")
def params() -> Params:
    return parameters.load(ROOT / "params.yaml")


@pytest.mark.parametrize(
    "settings,expected",
    [
        ({"PENALTY": "l2"}, Asked("l2")),
        ({"PENALTY": "l2", "STRENGTH": "", "PNG": "", "COUPLING": ""}, Asked("l2")),
        (
            {"PENALTY": "l2", "STRENGTH": "1e-3:2", "PNG": "a.png", "COUPLING": "decoupled"},
            Asked("l2", "decoupled", (0.001, 2.0), Path("a.png")),
        ),
    ],
)
def test_what_is_asked_for(settings: Mapping[str, str], expected: Asked) -> None:
    assert first_look.asked(settings) == expected


@pytest.mark.parametrize(
    "settings,message",
    [
        ({}, "PENALTY: got nothing, expected a file of src/svvr/penalties: activation_decorrelation, "),
        ({"PENALTY": "none"}, "PENALTY: got 'none', expected"),
        ({"PENALTY": "helpers.polar"}, "PENALTY: got 'helpers.polar', expected"),
        *[
            ({"PENALTY": "l2", "STRENGTH": each}, f"STRENGTH: got '{each}', expected low:high")
            for each in ("1", "2:1", "1:1", "0:1", "-1:1", "a:b", "1:2:3", "1:inf", "nan:1")
        ],
        ({"PENALTY": "l2", "COUPLING": "loose"}, "COUPLING: got 'loose', expected coupled or decoupled"),
        ({"PENALTY": "l2", "PNG": "a.pdf"}, "PNG: got 'a.pdf', expected a file in an existing folder, ending in .png"),
        ({"PENALTY": "l2", "PNG": "nowhere/a.png"}, "PNG: got 'nowhere/a.png', expected"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(settings: Mapping[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}[^\n]*$"):
        first_look.asked(settings)


def test_the_learning_rate_is_the_baseline_s_winners(tmp_path: Path) -> None:
    record = ROOT / "metrics/tune/baseline.json"
    rate, why = first_look.learning_rate(record)
    assert rate == np.median([study["best"]["lr"] for study in read_json(record)["studies"]])
    assert why == f"median of the winners in {record}"
    assert first_look.learning_rate(tmp_path / "none.json") == (0.002, f"there is no {tmp_path / 'none.json'}")


@pytest.mark.parametrize("name", ["l2", "sv_variance_hidden", "activation_decorrelation"])
def test_the_pulls_are_the_norms_of_the_gradients(name: str, tiny_data: Arrays) -> None:
    """Against one plain network, by autograd for the loss and for l2 by hand."""
    runs = [replace(RUN, seed=seed, penalty=name) for seed in (1, 2)]
    flat = initial_parameters(runs, tiny_data)
    loss, unit = first_look.pulls(runs[0], flat, tiny_data)
    norms = []
    for start in range(0, 64, 16):
        leaf = flat[1].clone().requires_grad_()
        net, at = torch.from_numpy(tiny_data["x_train"][start : start + 16]), 0
        for index, (n_in, n_out) in enumerate([(6, 8), (8, 7), (7, 3)]):
            weight = leaf[at : at + n_in * n_out].view(n_out, n_in)
            net = net @ weight.mT + leaf[at + n_in * n_out : (at := at + (n_in + 1) * n_out)]
            net = net.relu() if index < 2 else net
        labels = torch.from_numpy(tiny_data["y_train"][start : start + 16])
        (gradient,) = torch.autograd.grad(torch.nn.functional.cross_entropy(net, labels), leaf)
        norms.append(float(gradient.norm()))
    assert float(loss[1]) == pytest.approx(np.mean(norms), rel=1e-5)
    if name == "l2":
        weights = [flat[1][a:b] for a, b in ((0, 48), (56, 112), (119, 140))]
        assert float(unit[1]) == pytest.approx(float(torch.cat(weights).norm()), rel=1e-5)
    assert (unit > 0).all()
    step, same = first_look.pulls(replace(runs[0], coupling="decoupled"), flat, tiny_data)
    assert torch.equal(same, unit) and step.tolist() == pytest.approx([first_look.ADAM * math.sqrt(143)] * 2)


def test_the_range_is_the_user_s_or_an_arm_s_or_that_of_shares(params: Params) -> None:
    assert first_look.strengths_of(params, Asked("l2", span=(1.0, 2.0)), 5.0) == ((1.0, 2.0), "as asked for")
    own = params.arms["regularized"].penalty.strength
    assert own is not None
    span, why = first_look.strengths_of(params, Asked("sv_variance"), 5.0)
    assert span == (own.low, own.high) and why == "the range of arms.regularized in params.yaml"
    (low, high), why = first_look.strengths_of(params, Asked("l2"), 5.0)
    assert low / (low + 5) == pytest.approx(0.01, rel=0.1) and high / (high + 5) == pytest.approx(0.9, rel=0.1)
    assert why == "where the penalty is 1 % to 90 % of the gradient before training"
    assert "of the step" in first_look.strengths_of(params, Asked("l2", "decoupled"), 5.0)[1]
    assert first_look.strengths_of(params, Asked("l2"), math.inf)[0] == (1e-3, 10.0)


@pytest.mark.parametrize(
    "penalised,plain,expected",
    [
        (0.01, 0.01, (6, 24, 20)),
        (0.6, 0.08, (6, 11, 20)),
        (4.0, 0.08, (5, 2, 20)),
        (20.0, 0.08, (3, 2, 6)),
        (1e4, 0.08, (3, 2, 1)),
    ],
)
def test_as_much_is_trained_as_fits(penalised: float, plain: float, expected: tuple[int, int, int]) -> None:
    n, n_seeds, epochs = first_look.fitting(penalised, plain, 20)
    assert (n, n_seeds, epochs) == expected
    assert epochs == 1 or epochs / 20 * n_seeds * (n * penalised + plain) <= first_look.TIME


def test_strengths_share_the_baseline_s_seeds(tiny_data: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as executor:
        found = first_look.train(RUN, [0.0, 0.1, 1.0], [5, 6, 7, 8], 0.01, tiny_data, executor)
        monkeypatch.setattr(first_look, "TIME", 0.0)
        slow = first_look.train(RUN, [0.0, 0.1], [5, 6, 7, 8], 0.01, tiny_data, executor)
    assert len(found) == 4 and len(slow) == 2  # the fewest of which there is an interval
    (plain,) = learn([replace(RUN, seed=6, strength=0.0, penalty="none")], tiny_data)
    (penalised,) = learn([replace(RUN, seed=6, strength=1.0)], tiny_data)
    assert np.array_equal(found[1][0].weights, plain.weights)
    assert np.array_equal(found[1][2].weights, penalised.weights)


def of_seeds(run: Run, data: Arrays, n: int = 3) -> list[Result]:
    return learn([replace(run, seed=seed) for seed in range(n)], data)


def test_a_row_is_the_change_over_pairs_of_seeds(tiny_data: Arrays) -> None:
    run = replace(RUN, strength=2.0)
    found, baseline = of_seeds(run, tiny_data), of_seeds(replace(RUN, strength=0.0, penalty="none"), tiny_data)
    row = first_look.row(run, found, baseline, tiny_data)
    last = [[each.curves["validation_loss"][-1] for each in group] for group in (found, baseline)]
    d = np.log(np.array(last[0]) / np.array(last[1]))
    half = 4.302652729911275 * d.std(ddof=1) / math.sqrt(3)  # Student's t, 2 degrees of freedom, 95 %
    assert row.change == pytest.approx(
        [100 * math.expm1(each) for each in (d.mean(), d.mean() - half, d.mean() + half)]
    )
    sizes = (6, 8, 7, 3)
    spectra = [spectrum.spectra(each.weights, each.weights, sizes) for each in found]
    conditions = [layer["singular_values"][0] / layer["singular_values"][-1] for each in spectra for layer in each]
    assert row.condition == pytest.approx(np.exp(np.log(conditions).mean()))
    loss, unit = first_look.pulls(run, torch.from_numpy(np.stack([each.weights for each in found[:2]])), tiny_data)
    assert row.shares is not None and row.shares[1] == pytest.approx(float((2 * unit / (2 * unit + loss)).mean()))


def test_a_diverged_run_is_failed(tiny_data: Arrays) -> None:
    run = replace(RUN, penalty="orthogonality", lr=1e20)
    baseline = of_seeds(replace(RUN, strength=0.0, penalty="none"), tiny_data)
    row = first_look.row(run, of_seeds(run, tiny_data), baseline, tiny_data)
    assert (row.n, row.n_failed, row.change, row.condition, row.shares) == (3, 3, None, None, None)
    assert row.breaks and re.search(r"failed +3 of 3 runs", first_look.table([BASELINE, row], "gradient"))


def test_weights_that_are_gone_have_no_condition_number(tiny_data: Arrays) -> None:
    results = [replace(each, weights=0 * each.weights) for each in of_seeds(RUN, tiny_data, 1)]
    assert first_look.condition(RUN, results, tiny_data) is None


@pytest.mark.parametrize(
    "row,something,breaks",
    [
        (NOTHING, False, False),
        (FINE, True, False),
        (replace(NOTHING, change=(-2, -3, -1)), True, False),
        (MUCH, True, True),
        (replace(MUCH, change=(30, 9.9, 50)), True, False),
        (FAILED, True, True),
    ],
)
def test_what_does_something_and_what_breaks(row: Row, something: bool, breaks: bool) -> None:
    assert (row.does_something, row.breaks) == (something, breaks)


@pytest.mark.parametrize(
    "rows,said",
    [
        ([NOTHING, FINE, MUCH], "strength: {low: 0.03, high: 0.3}"),
        ([FINE, FINE, MUCH], "strength: {low: 0.003, high: 0.3}; perhaps lower, which was not tried"),
        ([NOTHING, FINE], "strength: {low: 0.03, high: 0.3}; perhaps higher, which was not tried"),
        ([NOTHING, NOTHING], "nothing happens up to 0.1; look higher"),
        ([NOTHING, MUCH, FAILED], "where something happens, it breaks; look below 0.01 or more closely"),
    ],
)
def test_the_range_worth_tuning(rows: list[Row], said: str) -> None:
    rows = [replace(row, strength=0.01 * 10**k) for k, row in enumerate(rows)]
    assert first_look.worth_tuning([BASELINE, *rows]) == f"worth tuning: {said}"


def test_table_and_chart_fit_a_terminal() -> None:
    rows = [BASELINE, NOTHING, FINE, MUCH, replace(MUCH, strength=3.2, change=(1e4, 5e3, 2e4)), FAILED]
    assert first_look.table(rows, "gradient").splitlines() == [
        "strength  validation loss     95 % interval  condition  penalty's share  of the gradient",
        "               changes by      over 4 seeds     number           before   after training",
        "       0         baseline                           30                -                -",
        "    0.01          +0.10 %    -0.50 to +0.70         29            0.2 %            0.1 %",
        "     0.1          -2.00 %    -4.00 to +0.50         12              2 %            0.4 %",
        "       1         +30.00 %  +25.00 to +35.00        2.5             20 %             30 %",
        "     3.2         > +999 %  > +999 to > +999        2.5             20 %             30 %",
        "      10           failed       3 of 4 runs          -                -                -",
    ]
    lines = first_look.chart(rows).splitlines()
    assert lines[0].split() == ["-50", "0", "+50", "%"] and max(map(len, lines)) < 80
    marks = [line[6:] for line in lines[1:]]
    assert [mark.count("o") for mark in marks] == [1, 1, 1, 0, 0] and marks[4].split() == ["|", "failed"]
    assert marks[1].index("o") < 30 < marks[2].index("o") and marks[3][60] == ">"


def test_the_picture_is_drawn_whatever_failed(tmp_path: Path) -> None:
    for name, rows in (("all", [BASELINE, FINE, MUCH, FAILED]), ("none", [replace(BASELINE, condition=None), FAILED])):
        first_look.picture(rows, "mine", tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def tried(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    own = os.environ | {"PYTHONPATH": f"src{os.pathsep}{ROOT}"} | forks() | settings
    command = ["python", "-m", "tools.first_look"]
    return subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The package with broken penalties of a user's, and tiny params."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(tiny(yaml.safe_load((ROOT / "params.yaml").read_text()))))
    folder = tmp_path / "src/svvr/penalties"
    (folder / "broken.py").write_text("import torch\n\n\ndef penalty(W):\n    return torch.linalg.svdvalz(W)\n")
    (folder / "unfinished.py").write_text("def penalty(W)\n")
    return tmp_path


@pytest.mark.slow
def test_it_prints_all_in_time_and_writes_the_picture_alone(tree: Path) -> None:
    before = {path for path in tree.rglob("*") if "__pycache__" not in path.parts}
    done = tried(tree, PENALTY="l2", STRENGTH="0.01:10", PNG="look.png")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "l2, coupled: 6 strengths, 0.01 to 10: as asked for"
    assert lines[1] == "learning rate 0.002: there is no metrics/tune/baseline.json; Adam, 2 epochs"
    assert re.search(r"^the full comparison of one more arm: \d+ runs, about [\d.]+ (s|min) here$", done.stdout, re.M)
    assert re.search(r"^worth tuning: ", done.stdout, re.M) and lines[-1] == "no verdict: a first look"
    after = {path for path in tree.rglob("*") if "__pycache__" not in path.parts}
    assert after - before == {tree / "look.png"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,line",
    [
        ("broken", "svvr/penalties/broken.py:5: AttributeError: module 'torch.linalg' has no attribute 'svdvalz'"),
        ("unfinished", "svvr/penalties/unfinished.py:1: SyntaxError: expected ':' (unfinished.py, line 1)"),
    ],
)
def test_a_broken_penalty_is_told_in_a_line(name: str, line: str, tree: Path) -> None:
    done = tried(tree, PENALTY=name)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"try: penalty '{name}': {line}\n")
