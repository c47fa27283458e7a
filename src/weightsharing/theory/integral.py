"""The action S(F, q) of a nonlinear network by randomised quasi-Monte Carlo (THEORY 9).

    S(F, q) = 1/2 y^T R y + 1/2 tr(q F) - ln INT dg N(g; 0, C) exp(1/2 psi^T q psi),
    R = (kappa + v E F E^T)^-1,   C(F) = w B^+ mask(A F A^T) B^+T + K,   A = shift V,

with the notation of ``theory.problem``. S is maximal in q, in which it is concave, and stationary in F.
The integral over one neuron, of dimension T P at most, is taken over scrambled Sobol points with a
Gaussian proposal and importance weights. At fixed points and proposal, S is a smooth function of
(F, q), and its derivatives are moments over the same points: Newton's method converges to rounding error.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import linalg, special
from scipy.stats import qmc

from weightsharing.model.axes import Array
from weightsharing.theory.problem import (
    NonlinearProblem,
    full_matrix,
    noisy_readout,
    untrained,
)
from weightsharing.theory.symmetric import pack, packed_size, sandwich, unpack, whiten

# Points whose features are computed at a time: it bounds the memory of the covariances.
CHUNK = 4096


@dataclass(frozen=True)
class Sample:
    """Points of the integral at a fixed proposal.

    activity: g, (points, d). psi: (points, m). log_proposal: ln of the proposal's density, without
    the factor (2 pi)^(-d/2), (points,).
    """

    activity: Array
    psi: Array
    log_proposal: Array


@dataclass(frozen=True)
class Expansion:
    """S and its derivatives at one (F, q), for fixed points.

    kernel F, conjugate q: (m, m). action: S. gradient, gradient_q: dS/dF and dS/dq, symmetric (m, m).
    fraction: effective fraction of the points, <weight>^2 / <weight^2>. moment: <psi psi^T>.
    second_moment: <g g^T>, (d, d). hessian: of S in the coordinates of (F, q), or None.
    hessian_q: its block of q.
    """

    kernel: Array
    conjugate: Array
    action: float
    gradient: Array
    gradient_q: Array
    fraction: float
    moment: Array
    second_moment: Array
    hessian: Array | None
    hessian_q: Array

    @property
    def residual(self) -> float:
        """The larger of the Frobenius norms of dS/dF and dS/dq, each whitened by F."""
        frame = np.linalg.cholesky(self.kernel)
        norm = np.linalg.norm(frame.T @ self.gradient @ frame)
        return max(float(norm), float(np.linalg.norm(whiten(frame, self.gradient_q))))


def deviates(dimension: int, points: int, generator: np.random.Generator) -> Array:
    """Scrambled Sobol points of N(0, 1), (points, dimension), with exact mean and covariance.

    Exact first two moments remove the error of everything quadratic in h: linear networks become
    exact.
    """
    sobol = qmc.Sobol(dimension, scramble=True, seed=generator)
    # Take the centres of the cells of the 30-bit lattice, so that 0 cannot occur.
    normal = special.ndtri(sobol.random(points) + 2.0**-31)
    normal -= normal.mean(axis=0)
    frame = np.linalg.cholesky(normal.T @ normal / points)
    return np.asarray(linalg.solve_triangular(frame, normal.T, lower=True).T)


def covariance(problem: NonlinearProblem, kernel: Array) -> Array:
    """C(F), the prior covariance of g given the kernel, (d, d)."""
    return problem.input_kernel + unpack(problem.jacobian @ pack(kernel))


def sample(problem: NonlinearProblem, normal: Array, proposal: Array) -> Sample:
    """Points of the proposal N(0, proposal): normal (points, d), covariance of g (d, d).

    Raises LinAlgError if the covariance is not positive definite.
    """
    values, vectors = np.linalg.eigh(proposal)
    if values[0] <= 0.0:
        raise np.linalg.LinAlgError("proposal covariance: not positive definite")
    # The widest directions come first: the leading Sobol coordinates are the most uniform.
    frame = (vectors * np.sqrt(values))[:, ::-1]
    activity = normal @ frame.T
    log_proposal = -0.5 * (normal**2).sum(axis=1) - 0.5 * np.log(values).sum()
    return Sample(activity, np.ascontiguousarray(_psi(problem, activity)), log_proposal)


def prior_moments(problem: NonlinearProblem, normal: Array) -> Array:
    """F without data, (m, m), over given points (points, d): the recursion F -> C(F) -> F."""
    start = np.zeros((problem.basis.shape[1],) * 2)
    features, step = partial(_psi, problem), partial(covariance, problem)
    return untrained(features, step, normal, start, problem.steps)[1]


def prior_kernel(problem: NonlinearProblem, points: int = 2**16, seed: int = 0) -> Array:
    """Phi without data, (T P, T P), over ``points`` Sobol points."""
    normal = deviates(problem.dimension, points, np.random.default_rng(seed))
    return full_matrix(problem, prior_moments(problem, normal))


def expand(
    problem: NonlinearProblem, points: Sample, kernel: Array, conjugate: Array, full: bool = True
) -> Expansion:
    """S(F, q), its gradients and its Hessian for fixed points.

    With weights W proportional to N(g; 0, C) exp(1/2 psi^T q psi) / proposal and moments under them,

        dS/dq = 1/2 (F - <psi psi^T>)
        dS/dF = 1/2 [q - v b b^T - w A^T mask(B^+T M B^+) A],   M = C^-1 (<g g^T> - C) C^-1,

    b = E^T R y, and the second derivatives are covariances of psi psi^T and g g^T. kernel F and
    conjugate q: (m, m). full: whether the whole Hessian is formed or only its block of q. Raises
    LinAlgError if C is not positive definite.
    """
    frame = np.linalg.cholesky(covariance(problem, kernel))
    weight, log_integral = _weights(points, frame, conjugate)
    count = packed_size(len(kernel))
    mean, spread = _moments(points, weight, full)
    moment, h = unpack(mean[:count]), unpack(mean[count:])

    resolvent = np.linalg.inv(noisy_readout(problem, kernel))
    pull = problem.readout.T @ (resolvent @ problem.labels)
    loss = 0.5 * float((problem.labels * (resolvent @ problem.labels)).sum())
    inverse = linalg.cho_solve((frame, True), np.eye(len(frame)))
    inverse = 0.5 * (inverse + inverse.T)
    mismatch = inverse @ h @ inverse - inverse
    back = unpack(problem.jacobian.T @ pack(mismatch))
    hessian_q = -0.25 * spread[:count, :count]

    hessian = None
    if full:
        response = problem.readout.T @ resolvent @ problem.readout
        inner = sandwich(inverse, inverse)
        score = 0.5 * inner @ problem.jacobian
        bent = sandwich(inverse, inverse @ h @ inverse) - 0.5 * inner
        mixed = 0.5 * np.eye(count) - 0.5 * score.T @ spread[count:, :count]
        hessian_f = (
            problem.v**2 * sandwich(pull @ pull.T, response)
            + problem.jacobian.T @ bent @ problem.jacobian
            - score.T @ spread[count:, count:] @ score
        )
        hessian = np.block([[hessian_f, mixed], [mixed.T, hessian_q]])
    return Expansion(
        kernel=kernel,
        conjugate=conjugate,
        action=loss + 0.5 * float((conjugate * kernel).sum()) - log_integral,
        gradient=0.5 * (conjugate - problem.v * pull @ pull.T - back),
        gradient_q=0.5 * (kernel - moment),
        fraction=float(1.0 / (weight**2).sum() / weight.size),
        moment=moment,
        second_moment=h,
        hessian=hessian,
        hessian_q=hessian_q,
    )


def _psi(problem: NonlinearProblem, activity: Array) -> Array:
    """psi = V^+ phi(B g) of every point, (points, m)."""
    return np.asarray(problem.activation(activity @ problem.lift.T) @ problem.inverse.T)


def _weights(points: Sample, frame: Array, conjugate: Array) -> tuple[Array, float]:
    """Normalised weights of the points, (points,), and ln of the integral; C = L L^T, frame L."""
    whitened = linalg.solve_triangular(frame, points.activity.T, lower=True)
    log_weight = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(frame)).sum()
    log_weight += 0.5 * ((points.psi @ conjugate) * points.psi).sum(axis=1) - points.log_proposal
    largest = float(log_weight.max())
    weight = np.exp(log_weight - largest)
    log_integral = largest + float(np.log(weight.mean()))
    return weight / weight.sum(), log_integral


def _moments(points: Sample, weight: Array, full: bool) -> tuple[Array, Array]:
    """Means of psi psi^T and g g^T in coordinates, and their covariance (of psi psi^T unless full)."""
    count, dimension = packed_size(points.psi.shape[1]), points.activity.shape[1]
    width = count + packed_size(dimension) if full else count
    mean = np.zeros(width)
    square = np.zeros((width, width))
    features = np.empty((min(CHUNK, weight.size), width))
    for first in range(0, weight.size, CHUNK):
        chunk = slice(first, first + CHUNK)
        rows = features[: weight[chunk].size]
        _products(points.psi[chunk], rows[:, :count])
        if full:
            _products(points.activity[chunk], rows[:, count:])
        root = np.sqrt(weight[chunk])[:, None]
        rows *= root
        mean += root[:, 0] @ rows
        square += rows.T @ rows
    spread = square - np.outer(mean, mean)
    if not full:
        h = (points.activity * weight[:, None]).T @ points.activity
        mean = np.concatenate([mean, pack(h)])
    return mean, spread


def _products(values: Array, out: Array) -> None:
    """Outer products of the rows of ``values`` in coordinates, written to ``out``."""
    size, first = values.shape[1], 0
    scaled = np.sqrt(2.0) * values
    for row in range(size):
        out[:, first] = values[:, row] ** 2
        np.multiply(
            scaled[:, row, None], values[:, row + 1 :], out=out[:, first + 1 : first + size - row]
        )
        first += size - row
