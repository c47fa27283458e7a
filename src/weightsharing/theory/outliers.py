"""The spectrum of the recurrent weights: a disc of noise and the outliers of the theory (THEORY 7)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, special

from weightsharing.model.architecture import Kind
from weightsharing.model.axes import Array, kernel_matrix


def weight_eigenvalues(kernel: Array, kind: Kind) -> NDArray[np.complex128]:
    """Eigenvalues that the activities give to the recurrent weights, by decreasing modulus.

    Given the activities, W is a low-rank matrix that maps each h^t to h^(t+1), plus prior noise on the
    orthogonal complement. The noise fills the disc of radius sqrt(w). The low-rank part has the
    eigenvalues of M = H_(0..T-2, 0..T-2)^-1 H_(0..T-2, 1..T-1); those beyond the disc are outliers.
    In a DNN each W^(t) has a separate block, H_(t-1, t-1)^-1 H_(t-1, t). It vanishes unless t - 1
    and t are correlated. This holds for linear networks with input at t = 0 only.

    kernel: H with the axes (pattern, pattern_, time, time_). Returns shape ((T - 1) P,).
    """
    patterns, steps = kernel.shape[0], kernel.shape[-1]
    matrix = kernel_matrix(kernel)
    before, after = matrix[:-patterns, :-patterns], matrix[:-patterns, patterns:]
    blocks = [slice(None)]
    if kind == "dnn":
        blocks = [slice(time * patterns, (time + 1) * patterns) for time in range(steps - 1)]
    # If inputs span fewer directions than there are patterns, H is singular and M acts on its range.
    inverses = [np.linalg.pinv(before[b, b], rcond=1e-10, hermitian=True) for b in blocks]
    maps = [inverse @ after[b, b] for inverse, b in zip(inverses, blocks, strict=True)]
    values = np.concatenate([np.linalg.eigvals(low_rank) for low_rank in maps])
    return np.asarray(values[np.argsort(-np.abs(values))], dtype=np.complex128)


def noise_beyond(radius: float, width: int, w: float) -> float:
    """Expected number of eigenvalues of pure noise beyond ``radius``, conjugate pairs counted once.

    It is exact for an N x N matrix of independent N(0, w/N) entries at any N >= 2. With
    x = radius sqrt(N/w), the densities of real eigenvalues (Edelman, Kostlan & Shub 1994) and of
    complex ones in the upper half plane (Edelman 1997), z = x + iy, are

        1/sqrt(2 pi) [Q(N-1, x^2) + sqrt(pi) 2^((1-N)/2)/Gamma(N/2) x^(N-1) e^(-x^2/2) P((N-1)/2, x^2/2)]
        sqrt(2/pi) y erfcx(sqrt(2) y) Q(N-1, x^2 + y^2)

    with the regularised incomplete gamma functions P and Q. The expected number bounds the
    probability that there is any (Markov's inequality).
    """
    start, disc = radius * math.sqrt(width / w), math.sqrt(width)
    log_norm = (
        0.5 * math.log(math.pi) + 0.5 * (1 - width) * math.log(2.0) - math.lgamma(0.5 * width)
    )

    def real(x: float) -> float:
        log_tail = log_norm + ((width - 1) * math.log(x) - 0.5 * x * x)
        lower = special.gammainc(0.5 * (width - 1), 0.5 * x * x)
        upper = special.gammaincc(width - 1, x * x)
        return float((upper + math.exp(log_tail) * lower) / math.sqrt(2.0 * math.pi))

    angles, angle_weights = _angles()

    def pairs(x: float) -> float:
        y = x * np.sin(0.25 * math.pi * (angles + 1.0))
        angular = 0.5 * math.pi * angle_weights @ (y * special.erfcx(math.sqrt(2.0) * y))
        return float(x * math.sqrt(2.0 / math.pi) * angular * special.gammaincc(width - 1, x * x))

    # Both densities vanish within a few units beyond the disc.
    last = max(start, disc) + 12.0
    points = [point for point in (disc - 3.0, disc + 3.0) if start < point < last]
    reals, both = (
        integrate.quad(density, start, last, points=points, epsrel=1e-8, limit=200)[0]
        for density in (real, pairs)
    )
    return float(2.0 * reals + both)


@cache
def _angles() -> tuple[Array, Array]:
    """Nodes and weights of the quadrature over the angle, (400,).

    Its integrand has a layer of width 1 / sqrt(N) at 0.
    """
    return np.polynomial.legendre.leggauss(400)


def noise_edge(width: int, w: float, expected: float) -> float:
    """Radius beyond which ``expected`` eigenvalues of pure noise lie on average (``noise_beyond``).

    The probability of any noise beyond it is below ``expected``. The radius shrinks to that of the
    disc, sqrt(w), like 1/sqrt(N).
    """

    def excess(radius: float) -> float:
        return math.log(max(noise_beyond(radius, width, 1.0), 1e-300) / expected)

    largest = 1.0 + 12.0 / math.sqrt(width)
    return math.sqrt(w) * float(optimize.brentq(excess, 0.5, largest, xtol=1e-10))
