"""The action of a linear network with its gradient and Hessian (THEORY 3).

    S(G) = 1/2 y^T R y + 1/2 [tr(C^-1 G) - ln det(C^-1 G) - dim],   R = (kappa + v E G E^T)^-1,
    C(G) = w B^T mask(A G A^T) B + K

in the reachable directions, with the notation of ``theory.problem``. ``mask`` keeps everything in an
RNN and the blocks t = t' in a DNN, whose layers have independent weights. It acts on C only: a DNN
supervised at several times has blocks of H with t != t', which its shared readout induces.

With G = L L^T, derivatives are taken with respect to Z in G -> L (1 + Z) L^T, the metric that G itself
defines: "whitened". The new kernel is positive definite for |Z| < 1. The Hessian is close to the
identity in all directions that the labels do not act on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from weightsharing.errors import SolverError
from weightsharing.model.axes import Array
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import LinearProblem, full_matrix, noisy_readout
from weightsharing.theory.symmetric import pack, packed_size, transpose, unpack

# Up to this size, that of 64 directions, a Hessian is formed (half a GB) and diagonalised. A larger one
# is only applied to vectors.
LARGEST_FORMED = 2080


def carry(problem: LinearProblem, kernel: Array) -> Array:
    """B^T mask(A G A^T) B: the kernel of one step as seen by the next, shape (..., d, d)."""
    moved = problem.mask * (problem.shifted @ kernel @ problem.shifted.T)
    return np.asarray(problem.basis.T @ moved @ problem.basis)


def carry_back(problem: LinearProblem, conjugate: Array) -> Array:
    """The adjoint of ``carry``, A^T mask(B M B^T) A, shape (..., d, d)."""
    moved = problem.mask * (problem.basis @ conjugate @ problem.basis.T)
    return np.asarray(problem.shifted.T @ moved @ problem.shifted)


def covariance(problem: LinearProblem, kernel: Array) -> Array:
    """C = w B^T mask(A G A^T) B + K, the prior covariance of a neuron given the kernel, (d, d)."""
    return problem.w * carry(problem, kernel) + problem.input_kernel


def prior_kernel(problem: LinearProblem) -> Array:
    """The kernel without data, (d, d): the fixed point G = C(G), reached in T steps."""
    kernel = problem.input_kernel
    for _ in range(problem.steps):
        kernel = covariance(problem, kernel)
    return kernel


def action(problem: LinearProblem, kernel: Array) -> float:
    """S(G) per neuron; infinite where G is not positive definite."""
    try:
        factor = np.linalg.cholesky(kernel)
        factor_c = np.linalg.cholesky(covariance(problem, kernel))
    except np.linalg.LinAlgError:
        return np.inf
    whitened = linalg.solve_triangular(factor_c, factor, lower=True)
    log_determinant = 2.0 * (np.log(np.diag(factor)).sum() - np.log(np.diag(factor_c)).sum())
    answer = np.linalg.solve(noisy_readout(problem, kernel), problem.labels)
    loss = (problem.labels * answer).sum()
    return float(0.5 * loss + 0.5 * ((whitened**2).sum() - log_determinant - problem.dimension))


@dataclass(frozen=True)
class Expansion:
    """S at one G to second order: the matrices that gradient and Hessian share.

    inverse: G^-1. inverse_c: C^-1. mismatch: C^-1 (G - C) C^-1. pull: b = E^T R y, (d, D).
    response: Rho = E^T R E. All matrices are (d, d).
    """

    problem: LinearProblem
    kernel: Array
    inverse: Array
    inverse_c: Array
    mismatch: Array
    pull: Array
    response: Array

    @property
    def gradient(self) -> Array:
        """dS/dG = 1/2 [C^-1 - G^-1 - w carry_back(M) - v b b^T], symmetric: dS = tr(dS/dG dG)."""
        p = self.problem
        back = carry_back(p, self.mismatch)
        loss = self.pull @ self.pull.T
        return np.asarray(0.5 * (self.inverse_c - self.inverse - p.w * back - p.v * loss))

    def hessian_product(self, direction: Array) -> Array:
        """The derivative of the gradient along symmetric ``direction``, (..., d, d)."""
        p = self.problem
        moved = p.w * carry(p, direction)
        moved_inverse = self.inverse_c @ moved @ self.inverse_c
        term = moved_inverse @ self.kernel @ self.inverse_c
        moved_mismatch = (
            self.inverse_c @ direction @ self.inverse_c - term - transpose(term) + moved_inverse
        )
        bent = self.response @ direction @ self.pull
        loss = bent @ self.pull.T
        return np.asarray(
            0.5
            * (
                self.inverse @ direction @ self.inverse
                - moved_inverse
                - p.w * carry_back(p, moved_mismatch)
                + p.v**2 * (loss + transpose(loss))
            )
        )

    def slope(self, frame: Array) -> Array:
        """The gradient with respect to Z in G -> L (1 + Z) L^T with the frame L, in coordinates."""
        return pack(frame.T @ self.gradient @ frame)

    def curvature(self, frame: Array, vector: Array) -> Array:
        """The Hessian with respect to Z times vectors of coordinates, (..., n)."""
        direction = frame @ unpack(vector) @ frame.T
        return pack(frame.T @ self.hessian_product(direction) @ frame)


def expand(problem: LinearProblem, kernel: Array) -> Expansion:
    """S around G, (d, d). Raises LinAlgError if G or C is singular."""
    inverse = np.linalg.inv(kernel)
    inverse_c = np.linalg.inv(covariance(problem, kernel))
    resolvent = np.linalg.inv(noisy_readout(problem, kernel))
    return Expansion(
        problem=problem,
        kernel=kernel,
        inverse=0.5 * (inverse + inverse.T),
        inverse_c=0.5 * (inverse_c + inverse_c.T),
        mismatch=inverse_c @ kernel @ inverse_c - inverse_c,
        pull=problem.readout.T @ (resolvent @ problem.labels),
        response=problem.readout.T @ resolvent @ problem.readout,
    )


def gradient(problem: LinearProblem, kernel: Array) -> Array:
    """dS/dG, symmetric (d, d)."""
    return expand(problem, kernel).gradient


def hessian(problem: LinearProblem, kernel: Array, frame: Array | None = None) -> Array:
    """The Hessian in coordinates, (n, n); with respect to Z if a frame L is given."""
    local = expand(problem, kernel)
    identity = np.eye(packed_size(problem.dimension))
    if frame is not None:
        return local.curvature(frame, identity)
    return pack(local.hessian_product(unpack(identity)))


def whitened_norm(problem: LinearProblem, kernel: Array) -> float:
    """Frobenius norm of L^T (dS/dG) L with G = L L^T; 0 at a stationary point."""
    frame = np.linalg.cholesky(kernel)
    return float(np.linalg.norm(frame.T @ gradient(problem, kernel) @ frame))


def lowest_curvature(problem: LinearProblem, kernel: Array) -> tuple[float, Array]:
    """Lowest eigenvalue of the whitened Hessian, and its direction as a change of G, (d, d).

    Raises SolverError if it is not found, which happens for more than 64 directions only.
    """
    frame, size = np.linalg.cholesky(kernel), packed_size(problem.dimension)
    if size <= LARGEST_FORMED:
        whole = hessian(problem, kernel, frame)
        values, vectors = linalg.eigh(whole, subset_by_index=(0, 0), driver="evr")
        return float(values[0]), frame @ unpack(vectors[:, 0]) @ frame.T
    curvature = partial(expand(problem, kernel).curvature, frame)
    operator = LinearOperator((size, size), matvec=curvature, dtype=np.float64)
    try:
        values, vectors = eigsh(operator, k=1, which="SA", v0=np.ones(size))
    except ArpackNoConvergence as error:
        raise SolverError(
            f"task: no lowest curvature of the action found in {problem.dimension} reachable "
            "directions; use fewer steps or patterns"
        ) from error
    return float(values[0]), frame @ unpack(vectors[:, 0]) @ frame.T


def stationary_point(
    problem: LinearProblem, kernel: Array, curvature: float | None = None
) -> StationaryPoint:
    """A kernel G, (d, d), as a stationary point with its gradient and curvature.

    curvature: the lowest one, if it is known.
    """
    h = full_matrix(problem, kernel)
    local = expand(problem, kernel)
    return StationaryPoint(
        kernel=kernel,
        h=h,
        phi=h,
        q=full_matrix(problem, local.inverse_c - local.inverse),
        action=action(problem, kernel),
        gradient_norm=whitened_norm(problem, kernel),
        lowest_curvature=lowest_curvature(problem, kernel)[0] if curvature is None else curvature,
    )
