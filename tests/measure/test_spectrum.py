"""Singular values against numpy."""

import math

import numpy as np
import pytest

from svvr.measure import spectrum
from tests.measure import problems
from tests.measure.problems import SIZES, P


def test_spectra_agree_with_numpy() -> None:
    sizes = (6, 8, 5, 3)
    weights, initial, _, _ = problems.small(sizes)
    layers = spectrum.spectra(weights, initial, sizes)
    assert [(layer["layer"], layer["m"], layer["n"]) for layer in layers] == [(1, 8, 6), (2, 5, 8), (3, 3, 5)]
    oracle = zip(layers, problems.split(weights, sizes), problems.split(initial, sizes), strict=True)
    for layer, (single, _), (before, _) in oracle:
        matrix = single.astype(np.float64)
        s = np.linalg.svd(matrix, compute_uv=False)
        start = np.linalg.svd(before.astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(layer["singular_values"], s, rtol=1e-12)
        np.testing.assert_allclose(layer["initial_singular_values"], start, rtol=1e-12)
        frobenius = (matrix**2).sum()
        assert layer["variance"] == pytest.approx(((s - s.mean()) ** 2).sum() / (len(s) - 1))
        assert layer["coefficient_of_variation"] ** 2 == pytest.approx(len(s) * frobenius / s.sum() ** 2 - 1)
        assert layer["stable_rank"] == pytest.approx(frobenius / np.linalg.norm(matrix, 2) ** 2)
        assert layer["ln_condition"] == pytest.approx(math.log(np.linalg.cond(matrix)))
    expected = np.mean([math.log(np.linalg.cond(W.astype(np.float64))) for W, _ in problems.split(weights, sizes)])
    assert spectrum.conditioning(layers) == pytest.approx(expected)


def test_a_singular_matrix_has_a_finite_condition() -> None:
    weights = np.concatenate([np.diag([2.0, 1.0, 0.0]).ravel(), np.zeros(3)]).astype(np.float32)
    (layer,) = spectrum.spectra(weights, weights, (3, 3))
    assert layer["singular_values"] == [2, 1, 0]
    assert layer["variance"] == pytest.approx(1)
    assert layer["coefficient_of_variation"] == pytest.approx(math.sqrt(2 / 3))
    assert layer["stable_rank"] == pytest.approx(1.25)
    assert layer["ln_condition"] == pytest.approx(math.log(2**52 / 3))


def test_a_zero_initial_matrix_is_no_error_but_a_zero_trained_one_is() -> None:
    weights, _, _, _ = problems.small()
    zero = np.zeros(P, np.float32)
    assert spectrum.spectra(weights, zero, SIZES)[0]["initial_singular_values"] == [0] * 4
    with pytest.raises(ValueError, match="weights of layer 1: got all zeros"):
        spectrum.spectra(zero, weights, SIZES)


def test_a_single_singular_value_and_other_initial_weights_are_refused() -> None:
    weights, initial, _, _ = problems.small()
    with pytest.raises(ValueError, match="singular values of layer 1: got 1"):
        spectrum.spectra(np.ones(4), np.ones(4), (3, 1))
    with pytest.raises(ValueError, match="initial: got shape"):
        spectrum.spectra(weights, initial[1:], SIZES)


@pytest.mark.parametrize("factor", [0.25, 3.0])
def test_relu_rescaling_moves_the_variance_alone(factor: float) -> None:
    weights, initial, _, _ = problems.small()
    moved = problems.rescaled(weights, SIZES, 0, factor)
    before, after = (spectrum.spectra(each, initial, SIZES) for each in (weights, moved))
    for one, other in zip(before, after, strict=True):
        assert other["ln_condition"] == pytest.approx(one["ln_condition"])
        assert other["coefficient_of_variation"] == pytest.approx(one["coefficient_of_variation"])
    assert after[0]["variance"] == pytest.approx(factor**2 * before[0]["variance"])
