"""Singular value variance: the unbiased variance of a weight matrix's singular values.

With k = min(m, n), singular values s and the polar factor Q = U Vh,

    Var = (F^2 - nuclear^2 / k) / (k - 1),    dVar/dW = 2 / (k - 1) (W - mean(s) Q),

so a step needs the polar factor alone and never a backward pass through a decomposition. k Var_pop is the squared
distance from W to the nearest scaled partial isometry: the penalty decays W towards that isometry, not towards 0,
and 2 / (k - 1) makes a head with k = 10 feel it 14 times as hard per unit of distance as a 128 x 128 layer.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.linalg import matrix_norm

Step: TypeAlias = tuple[float, float, float, float]
Steps: TypeAlias = Sequence[Step]

SMALL = 16  # singular values: so few cost less in a decomposition of W'W than in many small products
# Singular values: with more, a matrix is computed alone (torch's LU of a stack fails from 151 rows where it has several
# threads: pytorch issue 142815), a square one takes Halley's step, and symmetric products so many rows at once.
PANEL = 128
# Limits of float32 on bounds of s_1 / s_n: of a square W with PANEL rows, in its inverse (the norms that bound it grow
# with the root of the rows); of a W (m, n) with m > n, in that of W'W, whose condition is the square of W's; of what
# Halley's step starts from. And of float64, in the eigenvectors of W'W.
INVERSE_LIMIT, TALL_LIMIT, HALLEY_LIMIT, GRAM_LIMIT = 2e4, 40.0, 1e3, 1e5
RESIDUAL_LIMIT = 30.0  # of an inverse, in units of what rounding may leave; it is 3 or less unless pivots have grown
# Steps X <- a X + X (b X'X + c (X'X)^2) as (reach, a, b, c), in their order: singular values in [1 / reach, 1] come
# within the reach of the next one, those of the last within 1e-6 of each other. A last step with c = 0 costs a product
# less, so that the chains' reaches lie between each other.
CHAINS = (
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
SCHEDULES = sorted({chain[start:] for chain in CHAINS for start in range(len(chain))})  # by their reach
REACHES = [steps[0][0] for steps in SCHEDULES]
STEPS_OF_TALL = CHAINS[1][-3:]  # reach all that TALL_LIMIT lets through


def penalty(W: Tensor) -> Tensor:
    """Compute the unbiased variance of the singular values, `torch.var(torch.linalg.svdvals(W))`.

    Args:
        W: (..., m, n), float32 or float64, min(m, n) >= 2.

    Returns:
        (...), of W's dtype; differentiable once. Where a singular value is 0 or repeated, the gradient is one of the
        finite subgradients.

    Raises:
        ValueError: where min(m, n) < 2, or a weight is not finite.
    """
    if not torch.isfinite(W.sum()) and not torch.isfinite(W).all():  # a sum costs little, and overflows where W is huge
        raise ValueError(f"weights of sv_variance: got values that are not finite in {tuple(W.shape)}, expected finite")
    result: Tensor = _Variance.apply(W)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def gradient(W: Tensor) -> Tensor:
    """Compute the gradient of `penalty`.

    Args:
        W: (..., m, n), float32 or float64, finite, min(m, n) >= 2.

    Returns:
        (..., m, n), of W's dtype.

    Raises:
        ValueError: where min(m, n) < 2.
    """
    if W.ndim < 2 or min(W.shape[-2:]) < 2:
        raise ValueError(f"weights of sv_variance: got shape {tuple(W.shape)}, expected (..., m, n) with m, n >= 2")
    k = min(W.shape[-2:])
    Q = polar_factor(W)
    result = W * Q
    mean = result.sum((-2, -1), keepdim=True) / k  # trace(Q' W) is the sum of the singular values
    return torch.addcmul(W, Q, mean, value=-1, out=result).mul_(2 / (k - 1))


def polar_factor(W: Tensor) -> Tensor:
    """Compute U Vh of the singular value decomposition W = U diag(s) Vh.

    In float32 by one step of Newton's iteration, and matrix products from there. The step X <- (c X + (c X)^+') / 2,
    with the transposed pseudo-inverse, maps a singular value s of c X to (s + 1/s) / 2 >= 1, and norms bound the
    largest one. The shortest of the CHAINS within whose reach that is brings all of them to 1: each step is the odd
    polynomial of its degree that stays nearest to 1 on what the one before has left. A large square matrix takes a step
    of Halley's iteration first; one that float32 cannot invert well enough is inverted in float64. What even so is out
    of reach takes the singular value decomposition, in float64, and so does every matrix in float64; one with few
    singular values the eigenvectors of W'W.

    Args:
        W: (..., m, n), float32 or float64, finite.

    Returns:
        (..., m, n), of W's dtype, with orthonormal rows or columns, whichever are fewer.

    Source: Higham, Functions of Matrices (SIAM 2008), section 8.6 (Newton's iteration, its scaling c by norms);
        Nakatsukasa, Bai and Gygi 2010 (SIAM J. Matrix Anal. Appl. 31), section 3 (Halley's, with the best weights);
        Amsel et al. 2025 (arXiv 2505.16932), theorem 3.1 (the best composition of polynomials).
    """
    if W.dtype == torch.float64 or W.numel() == 0:
        return _by_svd(W)
    if W.shape[-2] < W.shape[-1]:
        return polar_factor(W.mT).mT
    flat = W.reshape(-1, *W.shape[-2:])
    if W.shape[-1] <= SMALL:
        return _by_eigenvectors(flat).view(W.shape)
    compute = _tall if W.shape[-2] > W.shape[-1] else _square
    Q = compute(flat) if W.shape[-1] <= PANEL else torch.cat([compute(each) for each in torch.split(flat, 1)])
    # a common factor near 1 would weigh most where the singular values are nearly equal
    Q.mul_(math.sqrt(W.shape[-1]) / matrix_norm(Q, keepdim=True))
    return Q.view(W.shape)


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
    space = [torch.empty_like(W[0]) for _ in range(3)]
    for k in range(len(W)):
        result = _by_products(X[k], mean[k], *space)
        Q[k] = _by_svd(W[k]) if result is None else result
    return Q


def _newton(W: Tensor) -> tuple[Tensor, list[float]]:
    """Take Newton's step from W (K, n, n).

    Returns:
        Its result, (K, n, n), with singular values of 1 and more; and the mean of their squares for each matrix, NaN
        where W could not be inverted.
    """
    n = W.shape[-1]
    inverse = torch.linalg.inv_ex(W).inverse.mT
    norm, inverse_norm = matrix_norm(W, keepdim=True), matrix_norm(inverse, keepdim=True)
    ill = ~(norm * inverse_norm < INVERSE_LIMIT * math.sqrt(n / PANEL)).view(-1)  # NaN too
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


def _by_products(X: Tensor, mean: float, gram: Tensor, factor: Tensor, spare: Tensor) -> Tensor | None:
    """Compute the polar factor of X (n, n); None where its singular values are out of reach.

    Args:
        X: (n, n), with singular values of 1 and more; overwritten.
        mean: the mean of their squares, or near it, where the bound on the largest one is sharp.
        gram, factor, spare: (n, n), to compute in.
    """
    _symmetric(X.T, X, gram)
    gram.diagonal().sub_(mean)
    narrow = len(X) <= PANEL
    steps = _by_polynomial(X, mean, gram, factor, spare) if narrow else _by_halley(X, mean, gram, spare)
    if steps is None:
        return None
    for _, a, b, c in steps:
        X, spare = spare, X
        _symmetric(X.T, X, gram)
        if c:
            _symmetric(gram, gram, factor, b, c)
            torch.addmm(X, X, factor, beta=a, out=spare)
        else:
            torch.addmm(X, X, gram, beta=a, alpha=b, out=spare)
    return spare


def _by_polynomial(X: Tensor, mean: float, gram: Tensor, factor: Tensor, out: Tensor) -> Steps | None:
    """Take the first step of the chain within whose reach X is, from gram = X'X - mean I; return those that follow."""
    _symmetric(gram, gram, factor)
    largest = math.sqrt(mean + math.sqrt(float(torch.linalg.vector_norm(factor))))
    if not largest <= REACHES[-1]:  # NaN too
        return None
    (_, a, b, c), *others = _within_reach(largest)
    a, b, c = a / largest, b / largest**3, c / largest**5
    a, b = a + b * mean + c * mean**2, b + 2 * c * mean  # in powers of gram
    torch.addmm(X, X, factor.mul_(c).add_(gram, alpha=b), beta=a, out=out)
    return others


def _by_halley(X: Tensor, mean: float, gram: Tensor, out: Tensor) -> Steps | None:
    """Take the step X <- X (a I + b X'X) (I + c X'X)^-1 from gram = X'X - mean I; return those that follow."""
    largest = math.sqrt(mean + float(torch.linalg.vector_norm(gram)))
    if not largest <= HALLEY_LIMIT:  # NaN too
        return None
    a, b, c, spread = halley(max(largest, 1.0))
    shift = c / largest**2
    gram.mul_(shift).diagonal().add_(1 + shift * mean)
    quotient = torch.linalg.solve_ex(gram.T, X.T).result.T  # symmetric, and in LAPACK's order where transposed
    torch.add(X.mul_(b / c / largest), quotient, alpha=(a - b / c) / largest, out=out)
    return _within_reach(spread)


def halley(spread: float) -> tuple[float, float, float, float]:
    """Find the map s (a + b s^2) / (1 + c s^2) that stays nearest to 1 on [1 / spread, 1], up to a factor.

    Returns:
        a, b, c, and the spread that the map leaves.
    """
    square = spread**2
    d = (4 * square * (square - 1)) ** (1 / 3)
    a = math.sqrt(1 + d) + math.sqrt(2 - d + (4 * square - 2) / math.sqrt(1 + d))
    b = (a - 1) ** 2 / 4
    c = a + b - 1
    return a, b, c, spread * (square + c) / (a * square + b)


def _within_reach(spread: float) -> Steps:
    return SCHEDULES[bisect_left(REACHES, spread)]


def _symmetric(A: Tensor, B: Tensor, out: Tensor, beta: float = 0.0, alpha: float = 1.0) -> None:
    """Compute beta B + alpha A B, (n, n) and known to be symmetric."""
    if len(A) <= PANEL:
        torch.addmm(B, A, B, beta=beta, alpha=alpha, out=out)
        return
    for start in range(0, len(A), PANEL):
        rows, rest = slice(start, start + PANEL), slice(start, None)
        torch.addmm(B[rows, rest], A[rows], B[:, rest], beta=beta, alpha=alpha, out=out[rows, rest])
        out[start + PANEL :, rows] = out[rows, start + PANEL :].T


def _by_eigenvectors(W: Tensor) -> Tensor:
    """Compute the polar factor of W (K, m, n), n few, as W (W'W)^(-1/2) in float64."""
    exact = W.double()
    values, V = torch.linalg.eigh(exact.mT @ exact)
    Q: Tensor = (exact @ (V * values.rsqrt()[:, None, :]) @ V.mT).to(W.dtype)
    lost = ~(values[:, 0] * GRAM_LIMIT**2 > values[:, -1])  # NaN too
    if lost.any():
        Q[lost] = _by_svd(W[lost])
    return Q


def _by_svd(W: Tensor) -> Tensor:
    U, _, Vh = torch.linalg.svd(W.double(), full_matrices=False)
    Q: Tensor = U @ Vh
    return Q.to(W.dtype)


class _Variance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, W: Tensor) -> Tensor:
        slope = gradient(W)
        ctx.save_for_backward(slope)
        # |W - mean(s) Q|^2 is the sum of (s - mean(s))^2, which F^2 - nuclear^2 / k would lose where the s are alike
        value: Tensor = slope.square().sum((-2, -1)) * ((min(W.shape[-2:]) - 1) / 4)
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> Tensor:
        slope: Tensor = upstream[0][..., None, None] * ctx.saved_tensors[0]
        return slope
