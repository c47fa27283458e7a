"""The integral over one neuron by randomised quasi-Monte Carlo: S(F, q) and its derivatives.

Scrambled Sobol points, a Gaussian proposal, importance weights. At fixed points and proposal S is a
smooth function of (F, q) whose derivatives are moments over the same points (``theory.nonlinear``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, special
from scipy.stats import qmc

from weightsharing.model.axes import Array
from weightsharing.theory.neuron import NonlinearProblem, covariance, full_kernel, triangular_root
from weightsharing.theory.packed import pack, packed_size, sandwich, unpack

# Points that are turned into features at a time: bounds the memory of the covariances.
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
class Local:
    """S and its derivatives at one (F, q), for fixed points.

    action: S. gradient, gradient_q: dS/dF and dS/dq, symmetric. fraction: effective fraction of the
    points, <weight>^2 / <weight^2>. moment: <psi psi^T>. second_moment: <g g^T>. hessian: of S in
    the packed coordinates (F, q), or None. hessian_q: its block of q.
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
    def residuals(self) -> tuple[float, float]:
        """Frobenius norms of dS/dF and dS/dq, each whitened by F."""
        frame = np.linalg.cholesky(self.kernel)
        half = linalg.solve_triangular(frame, self.gradient_q, lower=True)
        return (
            float(np.linalg.norm(frame.T @ self.gradient @ frame)),
            float(np.linalg.norm(linalg.solve_triangular(frame, half.T, lower=True))),
        )


def deviates(dimension: int, points: int, generator: np.random.Generator) -> Array:
    """Scrambled Sobol points of N(0, 1), (points, dimension), with exact mean and covariance.

    Matching the first two moments removes the error of everything quadratic in h: linear networks
    become exact.
    """
    sobol = qmc.Sobol(dimension, scramble=True, seed=generator)
    # Centres of the cells of the 30-bit lattice, so that 0 cannot occur.
    normal = special.ndtri(sobol.random(points) + 2.0**-31)
    normal -= normal.mean(axis=0)
    frame = np.linalg.cholesky(normal.T @ normal / points)
    return np.asarray(linalg.solve_triangular(frame, normal.T, lower=True).T)


def sample(problem: NonlinearProblem, normal: Array, proposal: Array) -> Sample:
    """Points of the proposal N(0, proposal): normal (points, d), covariance of g (d, d).

    Raises LinAlgError if the covariance is not positive definite.
    """
    values, vectors = np.linalg.eigh(proposal)
    if values[0] <= 0.0:
        raise np.linalg.LinAlgError("proposal covariance: not positive definite")
    # Widest directions first: the leading Sobol coordinates are the most uniform.
    frame = (vectors * np.sqrt(values))[:, ::-1]
    activity = normal @ frame.T
    psi = problem.activation(activity @ problem.lift.T) @ problem.lower_phi.T
    log_proposal = -0.5 * (normal**2).sum(axis=1) - 0.5 * np.log(values).sum()
    return Sample(activity, np.ascontiguousarray(psi), log_proposal)


def prior_kernel(problem: NonlinearProblem, points: int = 2**16, seed: int = 0) -> Array:
    """Phi without data, (T P, T P): the recursion Phi^t -> C^(t+1) -> Phi^(t+1) (THEORY 3)."""
    normal = deviates(problem.dimension, points, np.random.default_rng(seed))
    return full_kernel(problem, prior_moments(problem, normal))


def prior_moments(problem: NonlinearProblem, normal: Array) -> Array:
    """F without data, (m, m), over the given points of ``deviates``, (points, d) (THEORY 3)."""
    kernel = np.zeros((problem.lower_phi.shape[0],) * 2)
    for _ in range(problem.steps):
        activity = normal @ triangular_root(covariance(problem, kernel)).T
        psi = problem.activation(activity @ problem.lift.T) @ problem.lower_phi.T
        kernel = psi.T @ psi / len(psi)
    return kernel


def expand(
    problem: NonlinearProblem, points: Sample, kernel: Array, conjugate: Array, full: bool = True
) -> Local:
    """S(F, q), its gradients and its Hessian for fixed points (THEORY 3).

    With weights W proportional to N(g; 0, C) exp(1/2 psi^T q psi) / proposal and moments under them,

        dS/dq = 1/2 (F - <psi psi^T>)
        dS/dF = 1/2 [q - v b b^T - w A^T mask(B^+T M B^+) A],   M = C^-1 (<g g^T> - C) C^-1,

    b = E^T R y, and the second derivatives are covariances of psi psi^T and g g^T. kernel F and
    conjugate q: (m, m). full: whether the whole Hessian is formed or only its block of q. Raises
    LinAlgError if C is not positive definite.
    """
    c = covariance(problem, kernel)
    frame = np.linalg.cholesky(c)
    whitened = linalg.solve_triangular(frame, points.activity.T, lower=True)
    log_weight = -0.5 * (whitened**2).sum(axis=0) - np.log(np.diag(frame)).sum()
    log_weight += 0.5 * ((points.psi @ conjugate) * points.psi).sum(axis=1) - points.log_proposal
    largest = float(log_weight.max())
    weight = np.exp(log_weight - largest)
    log_integral = largest + float(np.log(weight.mean()))
    weight /= weight.sum()

    count = packed_size(problem.lower_phi.shape[0])
    mean, spread = _moments(points, weight, full)
    moment, h = unpack(mean[:count]), unpack(mean[count:])

    supervised = problem.readout @ kernel @ problem.readout.T
    resolvent = np.linalg.inv(problem.kappa * np.eye(problem.labels.size) + problem.v * supervised)
    pull = problem.readout.T @ (resolvent @ problem.labels)
    loss = 0.5 * float(problem.labels @ resolvent @ problem.labels)
    inverse = linalg.cho_solve((frame, True), np.eye(len(frame)))
    inverse = 0.5 * (inverse + inverse.T)
    mismatch = inverse @ h @ inverse - inverse
    back = unpack(problem.jacobian.T @ pack(mismatch))
    hessian_q = -0.25 * spread[:count, :count]

    hessian = None
    if full:
        identity = np.eye(count)
        response = problem.readout.T @ resolvent @ problem.readout
        inner = sandwich(inverse, inverse)
        score = 0.5 * inner @ problem.jacobian
        bent = sandwich(inverse, inverse @ h @ inverse) - 0.5 * inner
        mixed = 0.5 * identity - 0.5 * score.T @ spread[count:, :count]
        hessian = np.block([
            [
                problem.v**2 * sandwich(np.outer(pull, pull), response)
                + problem.jacobian.T @ bent @ problem.jacobian
                - score.T @ spread[count:, count:] @ score,
                mixed,
            ],
            [mixed.T, hessian_q],
        ])  # fmt: skip
    return Local(
        kernel=kernel,
        conjugate=conjugate,
        action=loss + 0.5 * float((conjugate * kernel).sum()) - log_integral,
        gradient=0.5 * (conjugate - problem.v * np.outer(pull, pull) - back),
        gradient_q=0.5 * (kernel - moment),
        fraction=float(1.0 / (weight**2).sum() / weight.size),
        moment=moment,
        second_moment=h,
        hessian=hessian,
        hessian_q=hessian_q,
    )


def _moments(points: Sample, weight: Array, full: bool) -> tuple[Array, Array]:
    """Means of packed psi psi^T and g g^T, and the covariance (of psi psi^T alone unless full)."""
    size, dimension = points.psi.shape[1], points.activity.shape[1]
    count = packed_size(size)
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
    if not full:
        h = (points.activity * weight[:, None]).T @ points.activity
        mean_full = np.concatenate([mean, pack(h)])
    else:
        mean_full = mean
    return mean_full, square - np.outer(mean, mean)


def _products(values: Array, out: Array) -> None:
    """Packed outer products of the rows of values, written to out."""
    size, first = values.shape[1], 0
    scaled = np.sqrt(2.0) * values
    for row in range(size):
        out[:, first] = values[:, row] ** 2
        np.multiply(
            scaled[:, row, None], values[:, row + 1 :], out=out[:, first + 1 : first + size - row]
        )
        first += size - row
