"""Gradient noise against a loop over examples; figures of recorded gradients by hand."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from svvr.measure import gradients
from tests.measure import problems


def test_noise_agrees_with_a_loop_over_examples() -> None:
    sizes = (4, 5, 6, 3)
    weights, _, x, y = problems.small(sizes)
    w, features, labels = problems.tensors(weights, x, y)
    each = [problems.dense_gradient(w, sizes, features[[i]], labels[[i]]) for i in range(len(y))]
    expected = np.trace(np.cov(torch.stack(each).numpy().T, bias=True))
    assert gradients.noise_trace(weights, sizes, x, y) == pytest.approx(expected, rel=1e-9)
    assert gradients.noise_trace(weights, sizes, x[:1], y[:1]) == pytest.approx(0, abs=1e-12)


def test_stability_pools_the_minibatches_of_the_last_epochs() -> None:
    norms = np.random.default_rng(0).gamma(3, size=(7, 25))
    means, sds = norms.mean(1), norms.std(1)
    last = norms[-5:].ravel()
    assert gradients.stability(means, sds, 5) == pytest.approx(math.log(last.std() / last.mean()))
    everything = math.log(norms.std() / norms.mean())
    assert gradients.stability(means.tolist(), sds.tolist(), 10) == pytest.approx(everything)


@pytest.mark.parametrize(
    ("means", "sds", "last", "message"),
    [
        ([], [], 5, "gradient norms: got shapes"),
        ([1, 2], [1], 5, "gradient norms: got shapes"),
        ([1, 2], [1, 1], 0, "last_epochs: got 0"),
        ([1, -1], [1, 1], 5, "mean gradient norms"),
        ([1, math.nan], [1, 1], 5, "mean gradient norms"),
        ([1, None], [1, 1], 5, "mean gradient norms"),
        ([1, 1], [1, -1], 5, "gradient norm deviations"),
        ([1, 1], [1, math.inf], 5, "gradient norm deviations"),
        ([2, 2], [0, 0], 5, "norms that do not vary"),
        ([0, 0], [0, 0], 5, "norms that do not vary"),
    ],
)
def test_stability_refuses(means: Sequence[float], sds: Sequence[float], last: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        gradients.stability(means, sds, last)


@pytest.mark.parametrize(
    ("cosines", "expected"),
    [
        ([0.9, 0.1, 0.3], 0.2),
        ([0.9, 0.1, None], 0.1),
        ([0.9, None, None], None),
        ([0.5], 0.5),
    ],
)
def test_mean_cosine_is_over_the_last_epochs_that_have_one(
    cosines: Sequence[float | None], expected: float | None
) -> None:
    assert gradients.mean_cosine(cosines, 2) == expected
