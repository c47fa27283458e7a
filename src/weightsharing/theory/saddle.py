"""Newton's method for the saddle point of S(F, q): maximal in q, stationary in F (THEORY 9)."""

from __future__ import annotations

import numpy as np
from scipy import linalg

from weightsharing.model.axes import Array
from weightsharing.theory.integral import Expansion, Sample, covariance, expand, sample
from weightsharing.theory.point import GRADIENT_TOLERANCE
from weightsharing.theory.problem import NonlinearProblem
from weightsharing.theory.symmetric import pack, packed_size, unpack, whiten

# A descent whose steps are smaller than this keeps its proposal. Each new proposal moves the solution
# by the quadrature error, which is a tenth along soft directions: a smaller bound is never reached.
SETTLED = 0.3
# The proposal is nowhere narrower than this fraction of C. For bounded phi the law has the tails of
# N(0, C); below 1/2 the variance of the weights would be infinite, which no sample shows.
NARROWEST = 0.6


def maximise(
    problem: NonlinearProblem, points: Sample, kernel: Array, conjugate: Array
) -> Expansion | None:
    """max_q S(F, q) at fixed points by damped Newton steps; None if there is no maximum.

    S is concave in q. It has no maximum if no law of the points has <psi psi^T> = F.
    """
    q = conjugate
    for _ in range(40):
        try:
            local = expand(problem, points, kernel, q, full=False)
            factor = linalg.cho_factor(-local.hessian_q)
        except (np.linalg.LinAlgError, ValueError):
            return None
        slope = pack(local.gradient_q)
        step = linalg.cho_solve(factor, slope)
        decrement = float(np.sqrt(max(slope @ step, 0.0)))
        if decrement < 1e-7:
            return local
        # The step length for self-concordant functions; log-partition functions behave like them.
        length = 1.0 if decrement < 0.25 else 1.0 / (1.0 + decrement)
        q = q + length * unpack(step)
    return None


def newton(
    problem: NonlinearProblem,
    points: Sample,
    kernel: Array,
    conjugate: Array,
    max_iterations: int = 30,
) -> Expansion | None:
    """Nearest stationary point of S in (F, q), of any index, at fixed points; None if it fails."""
    count = packed_size(len(kernel))
    previous = np.inf
    for _ in range(max_iterations):
        try:
            local = expand(problem, points, kernel, conjugate)
            residual = local.residual
        except (np.linalg.LinAlgError, ValueError):
            return None
        if not np.isfinite(residual):
            return None
        # At rounding error the residual no longer falls.
        if residual < 1e-3 * GRADIENT_TOLERANCE or (
            residual < GRADIENT_TOLERANCE and residual > 0.1 * previous
        ):
            return local
        previous = residual
        assert local.hessian is not None
        slope = np.concatenate([pack(local.gradient), pack(local.gradient_q)])
        step = linalg.solve(local.hessian, -slope, assume_a="sym", check_finite=False)
        change = unpack(step[:count])
        size = float(np.linalg.norm(whiten(np.linalg.cholesky(kernel), change)))
        length = min(1.0, 0.5 / size) if size > 0 else 1.0
        kernel = kernel + length * change
        conjugate = conjugate + length * unpack(step[count:])
    return None


def reduced_hessian(local: Expansion, frame: Array) -> Array:
    """Hessian of max_q S with respect to Z in F -> L (1 + Z) L^T, frame L, in coordinates."""
    assert local.hessian is not None
    count = len(local.hessian_q)
    mixed = local.hessian[:count, count:]
    reduced = local.hessian[:count, :count] + mixed @ linalg.cho_solve(
        linalg.cho_factor(-local.hessian_q), mixed.T
    )
    outer = pack(frame @ unpack(np.eye(count)) @ frame.T)
    whitened = outer @ reduced @ outer.T
    return np.asarray(0.5 * (whitened + whitened.T))


def minimise(
    problem: NonlinearProblem,
    normal: Array,
    kernel: Array,
    conjugate: Array | None = None,
    proposal: Array | None = None,
    max_iterations: int = 60,
) -> tuple[Expansion, Array] | None:
    """Local minimum of max_q S over F, and its proposal; None if the search fails.

    Newton descent: directions of negative curvature are followed downhill, and steps are shortened
    until the action falls. The proposal is H of the current iterate, until steps are within
    ``SETTLED``. normal: points of ``deviates``, (points, d). The start: kernel F, conjugate q (0 by
    default), covariance of the proposal (d, d; by default C).
    """
    conjugate = np.zeros_like(kernel) if conjugate is None else conjugate
    proposal = covariance(problem, kernel) if proposal is None else proposal
    adapted = _adapt(problem, normal, kernel, conjugate, proposal)
    if adapted is None:
        return None
    local, points, proposal = adapted
    small = False
    for _ in range(max_iterations):
        if not small:
            wanted = adapted_proposal(problem, local)
            following = _adapt(problem, normal, local.kernel, local.conjugate, wanted)
            if following is None:
                return None
            local, points, proposal = following
        local = expand(problem, points, local.kernel, local.conjugate)
        frame = np.linalg.cholesky(local.kernel)
        slope = pack(frame.T @ local.gradient @ frame)
        if small and np.linalg.norm(slope) < 1e-6:
            break
        values, vectors = np.linalg.eigh(reduced_hessian(local, frame))
        step = -vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), 1e-3))
        step *= min(1.0, 0.7 / float(np.linalg.norm(step)))
        lower = _line_search(problem, points, local, frame, step, float(slope @ step))
        if lower is None:
            break
        small = float(np.linalg.norm(step)) < SETTLED
        local = lower
    polished = newton(problem, points, local.kernel, local.conjugate)
    return None if polished is None else (polished, proposal)


def adapted_proposal(problem: NonlinearProblem, local: Expansion) -> Array:
    """H in the directions of g, (d, d), widened where it is narrower than ``NARROWEST`` C."""
    frame = np.linalg.cholesky(covariance(problem, local.kernel))
    values, vectors = np.linalg.eigh(whiten(frame, local.second_moment))
    root = (frame @ vectors) * np.sqrt(np.maximum(values, NARROWEST))
    return np.asarray(root @ root.T)


def _line_search(
    problem: NonlinearProblem,
    points: Sample,
    local: Expansion,
    frame: Array,
    step: Array,
    slope: float,
) -> Expansion | None:
    assert local.hessian is not None
    count = len(local.hessian_q)
    change = frame @ unpack(step) @ frame.T
    moved = local.hessian[count:, :count] @ pack(change) + pack(local.gradient_q)
    answer = unpack(linalg.cho_solve(linalg.cho_factor(-local.hessian_q), moved))
    for halvings in range(12):
        length = 0.5**halvings
        kernel = local.kernel + length * change
        lower = maximise(problem, points, kernel, local.conjugate + length * answer)
        # The last term is the error that the inner maximum leaves.
        if lower is not None and lower.action < local.action + 1e-4 * length * slope + 1e-12:
            return lower
    return None


def _adapt(
    problem: NonlinearProblem, normal: Array, kernel: Array, conjugate: Array, proposal: Array
) -> tuple[Expansion, Sample, Array] | None:
    """max_q S at given F, its points and their proposal, brought to H by fixed-point steps."""
    for _ in range(20):
        points = sample(problem, normal, proposal)
        local = maximise(problem, points, kernel, conjugate)
        if local is None:
            return None
        wanted = adapted_proposal(problem, local)
        if np.linalg.norm(wanted - proposal) < 0.05 * np.linalg.norm(proposal):
            return local, points, proposal
        conjugate, proposal = local.conjugate, wanted
    return None
