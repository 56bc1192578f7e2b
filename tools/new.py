"""Begin a penalty: a file that works, a test against its singular values, and an arm to put into params.yaml.

`make new PENALTY=name` writes `src/svvr/penalties/NAME.py` and `tests/penalties/test_NAME.py`, and prints the arm.
Formula, docstring and the oracle of the test are then replaced by one's own.
"""

import keyword
import os
import sys
from pathlib import Path

from svvr.core.files import write_bytes
from svvr.core.messages import show
from svvr.core.params import ARM
from svvr.run.stage import answer

PENALTIES, TESTS = Path("src/svvr/penalties"), Path("tests/penalties")

PENALTY = '''"""TITLE: one line that says what it pulls weights to; here, as an example, singular values to 1."""

import torch
from torch import Tensor


def penalty(W: Tensor) -> Tensor:
    """Return the sum of (s - 1)^2 / 2 (...) over the singular values s of weights W (..., m, n).

    Source: AUTHORS YEAR (arXiv NUMBER), equation N.
    """
    s: Tensor = torch.linalg.svdvals(W)
    return (s - 1).square().sum(-1) / 2
'''

TEST = '''"""The penalty NAME against its formula in singular values, and its gradient against a difference quotient."""

import importlib

import numpy as np
import pytest
import torch

from svvr.learn import penalty
from tests.penalties.oracles import matrices

MODULE = importlib.import_module("svvr.penalties.NAME")


@pytest.mark.parametrize("shape", [(4, 6), (2, 6, 4), (2, 3, 5, 5)])
def test_it_is_its_formula_in_singular_values(shape: tuple[int, ...]) -> None:
    W = matrices(*shape)
    s = np.linalg.svd(W.numpy(), compute_uv=False)
    expected = ((s - 1) ** 2).sum(-1) / 2
    np.testing.assert_allclose(MODULE.penalty(W).numpy(), expected, rtol=1e-10)


def test_its_gradient_is_a_difference_quotient() -> None:
    W, direction, h = matrices(3, 4, 5), matrices(3, 4, 5, seed=1), 1e-6
    slope = (penalty.gradient("NAME")(W) * direction).sum((-2, -1))
    quotient = (MODULE.penalty(W + h * direction) - MODULE.penalty(W - h * direction)) / (2 * h)
    torch.testing.assert_close(slope, quotient, rtol=1e-6, atol=1e-7)
'''

NEXT = """wrote {penalty} and {test}
1. Write the formula into both files, and run: python -m pytest {test}
2. See what it does: make try PENALTY=NAME
3. Put this arm below `arms:` in params.yaml, with the range that step 2 suggests, and run: make repro
Other kinds of penalties, which know their layer or see the whole network: docs/penalties.md

  NAME:
    tune: [lr, strength]
    penalty: {{name: NAME, strength: {{low: 1.0e-3, high: 10.0}}}}   # log-uniform range of its factor
    reference: baseline
"""


def begin(name: str, root: Path) -> str:
    """Write a penalty's file and its test.

    Args:
        name: of the penalty, a Python name.
        root: folder of the repository.

    Returns:
        What to do next, with an arm for params.yaml.

    Raises:
        ValueError: where it is no name for a penalty, or a file of that name exists.
    """
    if not ARM.fullmatch(name) or not name.islower() or keyword.iskeyword(name):
        expected = "a Python name: a lower-case letter, then at most 63 lower-case letters, digits or _"
        raise ValueError(f"PENALTY: got {show(name)}, expected {expected}")
    penalty, test = PENALTIES / f"{name}.py", TESTS / f"test_{name}.py"
    for path in (penalty, penalty.with_suffix(""), test):
        if (root / path).exists():
            raise ValueError(f"PENALTY: got {show(name)}, expected a new one, since {path} exists")
    for path, text in ((penalty, PENALTY), (test, TEST)):
        write_bytes(root / path, text.replace("NAME", name).encode())
    return NEXT.format(penalty=penalty, test=test).replace("NAME", name)


if __name__ == "__main__":
    try:
        answer("new", begin(os.environ.get("PENALTY", ""), Path.cwd()).removesuffix("\n"))
    except ValueError as error:
        sys.exit(f"new: {error}")
