"""Polar factor of a stack on an accelerator: all matrices take the same steps, and nothing is read back between them.

Matrix products alone: the odd polynomial of `polar.CHAINS` that takes [1 / 22, 1] to [1 / 5.4, 1] is repeated until the
smallest singular value within reach is there, then the polynomials after it follow. Repeating one polynomial takes a
step more than the best chain would, but no singular value comes near 0 on the way, where rounding would weigh most.

Accuracy in float32: the distance from the exact factor, in the Frobenius norm over the root of n, is below 2e-5 where
s_1 / s_n is 1000 or less, and for m = n and a single small singular value up to 1e5. Beyond, a small one ends between 0
and 1 instead of at 1: the sum of the singular values (the nuclear norm), whose gradient the polar factor is, has a kink
at 0, and there such a value makes a subgradient.
"""

import torch
from torch import Tensor
from torch.linalg import matrix_norm

from svvr.penalties.helpers.polar import CHAINS

# Repeats for m == n, where rounding in the smallest singular value does not matter, and for m > n, where it does.
SQUARE, TALL = 8, 4
CUSHION = 1 + 1e-4  # kept below 1 by more than rounding, since a polynomial takes what is above 1 far beyond it
TINY = torch.finfo(torch.float32).tiny  # divides in place of 0
CONVERGED = 2e-5  # of the squared norm over n from 1


def _chain(repeats: int) -> tuple[float, list[tuple[float, float]]]:
    """Return a scale to begin with, and p and q of the steps X <- X ((X'X + p I)^2 + q I).

    Of a X + X (b X'X + c (X'X)^2) that is the same polynomial: with c the scale of X goes from step to step, and the
    rest is a square. Products that add a matrix, or a factor of the whole stack, would cost a pass over memory each.
    """
    repeated, *last = CHAINS[0][3:]
    polynomials = [repeated] * repeats + last
    after, steps = 1.0, []
    for index, (_, *coefficients) in reversed(list(enumerate(polynomials))):
        a, b, c = (each / CUSHION if index < len(polynomials) - 2 else each for each in coefficients)
        before = (c * after) ** 0.2
        p = after * b / before**3 / 2
        steps.append((p, after * a / before - p**2))
        after = before
    return after, steps[::-1]


FOR_SQUARE, FOR_TALL = _chain(SQUARE), _chain(TALL)


def polar_factor(W: Tensor) -> Tensor:
    """Compute U Vh of the singular value decomposition W = U diag(s) Vh.

    Args:
        W: (..., m, n), float32.

    Returns:
        (..., m, n), of W's dtype and on its device.
    """
    m, n = W.shape[-2:]
    if m < n:
        return polar_factor(W.mT).mT
    X = W.reshape(-1, m, n)
    X = X / matrix_norm(X, keepdim=True).clamp_min(TINY)
    gram = torch.bmm(X.mT, X)
    largest = matrix_norm(torch.bmm(gram, gram), keepdim=True) ** 0.25  # s_1 or a little more
    largest = largest.clamp_min(TINY)
    scale, steps = FOR_SQUARE if m == n else FOR_TALL
    X = X / (largest * (CUSHION / scale))
    for p, q in steps:
        gram = torch.bmm(X.mT, X)
        gram.diagonal(dim1=-2, dim2=-1).add_(p)
        factor = torch.bmm(gram, gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(q)
        X = torch.bmm(X, factor)
    mean_square = X.square().sum((-2, -1), keepdim=True) / n
    # a common factor near 1 would weigh most where the singular values are nearly equal
    converged = (mean_square - 1).abs() < CONVERGED
    return (X * mean_square.rsqrt().where(converged, 1)).view(W.shape)
