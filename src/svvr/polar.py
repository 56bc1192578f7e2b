"""Polar factor: U Vh of W = U diag(s) Vh, the matrix with orthonormal columns (rows, if fewer) nearest to W.

Accuracy of float32 on the CPU: the distance from the exact factor, in the Frobenius norm over the root of n, is below
2e-6 where s_1 / s_n <= 10 and n <= 256, and below 2e-5 everywhere; a float32 decomposition can lose a digit with every
factor of 10. On one thread a matrix has the same result, bit for bit, alone and in any stack.

Method: Newton's step X <- (c X + (c X)^-T) / 2, with the pseudo-inverse where W is tall, maps a singular value s to
(c s + 1 / (c s)) / 2. So all lie in [1, L], with L known from norms, and after a division by L in [1 / L, 1]. Odd
polynomials X <- a X + X (b X'X + c (X'X)^2), matrix products alone, bring these to 1: each one stays nearest to 1 on
what the one before has left. Where it is faster, W (W'W)^(-1/2) comes from eigenvectors in float64 instead. A matrix
that is out of reach is decomposed in float64.

Sources: Higham, Functions of Matrices (SIAM 2008), section 8.6 (Newton's step, its scaling c by norms);
    Amsel et al. 2025 (arXiv 2505.16932), theorem 3.1 (the best composition of polynomials).
"""

import functools
import math
from typing import TypeAlias

import torch
from torch import Tensor
from torch.linalg import matrix_norm, solve_triangular

Step: TypeAlias = tuple[float, float, float, float]

# Singular values: eigenvectors are faster up to SMALL, above LARGE for square W, and safer above STACKED for tall W.
# Above STACKED each matrix is computed alone: torch's LU of a stack hangs or fails from 151 rows on with several
# threads (pytorch issue 142815).
SMALL, STACKED, LARGE = 16, 128, 512
# Bounds on s_1 / s_n up to which float32 holds the inverse of a square W (over the root of n, with which the norms that
# bound it grow) and the inverse of W'W (whose condition is the square), and float64 the eigenvectors of W'W.
INVERSE_LIMIT, TALL_LIMIT, GRAM_LIMIT = 2e4 / math.sqrt(128), 40.0, 1e5
RESIDUAL_LIMIT = 30.0  # of an inverse, in units of what rounding may leave; it is 3 or less unless pivots have grown
# The polynomials as (reach, a, b, c), in their order: each takes singular values in [1 / reach, 1] to within the reach
# of the next, the last to within 1e-6 of each other. A last one with c = 0 costs a product less, which puts the reaches
# of the chains between each other.
CHAINS: tuple[tuple[Step, ...], ...] = (
    (
        (1663.465, 4.254762892, -12.620768391, 9.366005499),
        (390.9657, 4.246981407, -12.555407270, 9.308425864),
        (92.05911, 4.213845999, -12.279626768, 9.065780769),
        (21.85433, 4.073412221, -11.155930468, 8.082518247),
        (5.396010, 3.527836199, -7.442867133, 4.915030934),
        (1.646122, 2.392705300, -2.521747201, 1.129041901),
        (1.018740, 1.892496584, -1.285238929, 0.392742345),
    ),
    (
        (979.3226, 4.253093435, -12.606726948, 9.353633514),
        (230.2620, 4.239873394, -12.495900603, 9.256027209),
        (54.31171, 4.183594544, -12.031429619, 8.847835075),
        (12.99473, 3.947653936, -10.210117198, 7.262463261),
        (3.342744, 3.139861368, -5.375528794, 3.235667425),
        (1.245109, 2.092072885, -1.723469169, 0.631396284),
        (1.001634, 1.501224578, -0.501225578, 0.0),
    ),
    (
        (579.3434, 4.250290131, -12.583171382, 9.332881250),
        (136.3080, 4.227935783, -12.396389746, 9.168453963),
        (32.24493, 4.132906092, -11.623146051, 8.490239959),
        (7.823145, 3.745948052, -8.807778209, 6.061830157),
        (2.170894, 2.698042001, -3.525598534, 1.827556533),
        (1.068231, 1.549203848, -0.550835509, 0.0),
        (1.001634, 1.501224578, -0.501225578, 0.0),
    ),
)
SCHEDULES = sorted({chain[start:] for chain in CHAINS for start in range(len(chain))})  # by reach
STEPS_OF_TALL = CHAINS[1][-3:]  # reach all that TALL_LIMIT lets through
# On the GPU: repeats of one polynomial for m == n, where rounding in the smallest singular value does not matter, and
# for m > n, where it does.
SQUARE, TALL = 8, 4
CUSHION = 1 + 1e-4  # kept below 1 by more than rounding, since a polynomial takes what is above 1 far beyond it
TINY = torch.finfo(torch.float32).tiny  # divides in place of 0
CONVERGED = 2e-5  # of the squared norm over n from 1


def on_cpu(tensor: Tensor) -> bool:
    """Return True where reading a tensor's values is free; on a GPU it would wait for all work so far."""
    return tensor.device.type == "cpu"


@torch.no_grad()
def deviation(W: Tensor) -> Tensor:
    """Return W - mean(s) Q of W (..., m, n): how far W is from the nearest matrix with equal singular values.

    Its squared Frobenius norm is the sum of (s - mean(s))^2.
    """
    Q = polar_factor(W)
    result = W * Q
    mean = result.sum((-2, -1), keepdim=True) / min(W.shape[-2:])  # trace(Q' W) is the sum of the singular values
    return torch.addcmul(W, Q, mean, value=-1, out=result)


def polar_factor(W: Tensor) -> Tensor:
    """Compute U Vh of W = U diag(s) Vh, with orthonormal rows or columns, whichever are fewer.

    W is (..., m, n), float32 or float64, finite. Of float32 on a GPU no value is read back; see `lockstep`.
    """
    if W.dtype == torch.float64 or W.numel() == 0:
        return _by_svd(W)
    m, n = W.shape[-2:]
    if m < n:
        return polar_factor(W.mT).mT
    flat = W.reshape(-1, m, n)
    if not on_cpu(W):
        return lockstep(flat).view(W.shape)
    if n <= SMALL or n > (LARGE if m == n else STACKED):
        return _by_eigenvectors(flat).view(W.shape)
    compute = _tall if m > n else _square
    Q = compute(flat) if n <= STACKED else torch.cat([compute(each) for each in torch.split(flat, 1)])
    # a common factor near 1 would weigh most where the singular values are nearly equal
    Q.mul_(math.sqrt(n) / matrix_norm(Q, keepdim=True))
    return Q.view(W.shape)


def _by_svd(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    Q: Tensor = U @ Vh
    return Q.to(W.dtype)


def _by_eigenvectors(W: Tensor) -> Tensor:
    """Compute the polar factors of W (K, m, n) as W (W'W)^(-1/2), by eigenvectors in float64."""
    exact = W.double()
    values, V = torch.linalg.eigh(exact.mT @ exact)
    Q: Tensor = (exact @ (V * values.rsqrt()[:, None, :]) @ V.mT).to(W.dtype)
    lost = ~(values[:, 0] * GRAM_LIMIT**2 > values[:, -1])  # NaN too
    if lost.any():
        Q[lost] = _by_svd(W[lost])
    return Q


def _tall(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, m, n) with m > n, all matrices at once and by the same steps."""
    gram = torch.bmm(W.mT, W)
    inverse = torch.linalg.inv_ex(gram).inverse
    largest, smallest = matrix_norm(gram, keepdim=True), matrix_norm(inverse, keepdim=True)
    condition = (largest * smallest).sqrt()  # at least s_1 / s_n, since |gram|_F >= s_1^2 and |inverse|_F >= s_n^-2
    scale = (smallest / largest) ** 0.25
    spread = condition.sqrt() + condition.rsqrt()  # twice what Newton's step leaves
    X = torch.addcmul(W * (scale / spread), torch.bmm(W, inverse), 1 / (scale * spread))
    for _, a, b, c in STEPS_OF_TALL:
        gram = torch.bmm(X.mT, X)
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c) if c else gram * b
        X = torch.baddbmm(X, X, factor, beta=a)
    lost = ~(condition < TALL_LIMIT).view(-1)  # NaN too
    if lost.any():
        X[lost] = _by_svd(W[lost])
    return X


def _square(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, n, n), one after the other: each stays in a core's cache, by its own steps."""
    X, mean = _newton(W)
    Q = torch.empty_like(W)
    for k in range(len(W)):
        result = _by_polynomials(X[k], mean[k])
        Q[k] = _by_svd(W[k]) if result is None else result
    return Q


def _newton(W: Tensor) -> tuple[Tensor, list[float]]:
    """Take Newton's step from W (K, n, n).

    Returns its result, with singular values of 1 and more, and the mean of their squares for each matrix, NaN where W
    could not be inverted.
    """
    n = W.shape[-1]
    inverse = _inverse(W).mT
    norm, inverse_norm = matrix_norm(W, keepdim=True), matrix_norm(inverse, keepdim=True)
    ill = ~(norm * inverse_norm < INVERSE_LIMIT * math.sqrt(n)).view(-1)  # NaN too
    if ill.any():
        inverse[ill] = torch.linalg.inv_ex(W[ill].double()).inverse.mT.to(W.dtype)
        inverse_norm = matrix_norm(inverse, keepdim=True)
    # W' times the transposed inverse, on a vector of ones: large where the elimination's pivots have grown
    residual = matrix_norm(W.mT @ inverse.sum(-1, keepdim=True) - 1, keepdim=True)
    inverted = residual < RESIDUAL_LIMIT * torch.finfo(W.dtype).eps * norm * inverse_norm
    # c^2 = 1 / (s_1 s_n) is best. Where the singular values are alike the norms' ratio is that; where they are not, a
    # few make the norm of the inverse but most of them that of W, which the last factor allows for
    half_c = 0.5 * (inverse_norm / norm * (norm * inverse_norm / n) ** 0.25).sqrt()
    half_inverse_c = 0.25 / half_c
    mean = ((half_c * norm) ** 2 + (half_inverse_c * inverse_norm) ** 2) / n + 0.5
    X = inverse.mul_(half_inverse_c).addcmul_(W, half_c)
    return X, torch.where(inverted, mean, torch.nan).view(-1).tolist()


def _inverse(W: Tensor) -> Tensor:
    """Return the inverse of W (K, n, n), not finite where W is singular, in half the time of `torch.linalg.inv_ex`.

    With W' = P L U it is P (L')^-1 (U')^-1. Triangles are solved from the right.
    """
    LU, pivots, _ = torch.linalg.lu_factor_ex(W.mT)
    P, _, _ = torch.lu_unpack(LU, pivots, unpack_data=False)
    X = solve_triangular(LU.mT, P, upper=True, left=False, unitriangular=True)
    result: Tensor = solve_triangular(LU.mT, X, upper=False, left=False)
    return result


def _by_polynomials(X: Tensor, mean: float) -> Tensor | None:
    """Bring the singular values of X (n, n), 1 and more, to 1; None where they are out of reach.

    The bound on the largest is sharp where `mean` is near the mean of their squares.
    """
    gram = X.mT @ X
    gram.diagonal().sub_(mean)
    square = gram @ gram
    largest = math.sqrt(mean + math.sqrt(float(matrix_norm(square))))
    steps = next((each for each in SCHEDULES if largest <= each[0][0]), None)
    if steps is None:  # where `largest` is NaN too
        return None
    (_, a, b, c), *others = steps
    a, b, c = a / largest, b / largest**3, c / largest**5
    a, b = a + b * mean + c * mean**2, b + 2 * c * mean  # in powers of X'X - mean I
    X = torch.addmm(X, X, square.mul_(c).add_(gram, alpha=b), beta=a)
    for _, a, b, c in others:
        gram = X.mT @ X
        if c:
            X = torch.addmm(X, X, torch.addmm(gram, gram, gram, beta=b, alpha=c), beta=a)
        else:
            X = torch.addmm(X, X, gram, beta=a, alpha=b)
    return X


def lockstep(W: Tensor) -> Tensor:
    """Compute the polar factors of W (K, m, n), m >= n, float32, all by the same steps: nothing is read back.

    Matrix products alone: the polynomial that takes [1 / 22, 1] to [1 / 5.4, 1] is repeated until the smallest singular
    value within reach is there, then those after it follow. The best chain would need a step less, but here no singular
    value comes near 0 on the way, where rounding would weigh most.

    Accuracy: as above, below 2e-5 where s_1 / s_n <= 1000, and for m = n and a single small singular value up to 1e5.
    Beyond, a small one ends between 0 and 1 instead of at 1: at 0 the nuclear norm, whose gradient the polar factor is,
    has a kink, and such a value makes a subgradient.
    """
    m, n = W.shape[-2:]
    X = W / matrix_norm(W, keepdim=True).clamp_min(TINY)
    gram = torch.bmm(X.mT, X)
    largest = matrix_norm(torch.bmm(gram, gram), keepdim=True) ** 0.25  # s_1 or a little more
    scale, steps = _chain(SQUARE if m == n else TALL)
    X = X / (largest.clamp_min(TINY) * (CUSHION / scale))
    for p, q in steps:
        gram = torch.bmm(X.mT, X)
        gram.diagonal(dim1=-2, dim2=-1).add_(p)
        factor = torch.bmm(gram, gram)
        factor.diagonal(dim1=-2, dim2=-1).add_(q)
        X = torch.bmm(X, factor)
    mean_square = X.square().sum((-2, -1), keepdim=True) / n
    converged = (mean_square - 1).abs() < CONVERGED
    result: Tensor = X * mean_square.rsqrt().where(converged, 1)
    return result


@functools.cache
def _chain(repeats: int) -> tuple[float, list[tuple[float, float]]]:
    """Return a scale to begin with, and p and q of the steps X <- X ((X'X + p I)^2 + q I).

    That is a X + X (b X'X + c (X'X)^2): with c the scale of X goes from step to step, and the rest is a square. Adding
    a matrix to a product, or scaling the stack, would cost a pass over memory each.
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
