"""Search for all stationary points: starts, continuation in the labels, symmetry (THEORY 3, 4, 9).

Minima are searched from the prior kernel, from temporally coherent and turning kernels, and from both
sides of the saddles found. Newton's method continues the prior kernel as the labels grow, also where
it turns from a minimum into a saddle. Where W -> -W is a symmetry, each point stands for itself and
its image, and is given with m >= 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import stats

from weightsharing.model.axes import Array
from weightsharing.theory import integral, minimiser, saddle
from weightsharing.theory.action import lowest_curvature, prior_kernel, stationary_point
from weightsharing.theory.patterns import reduction, whole_point
from weightsharing.theory.point import StationaryPoint, by_action, distinct
from weightsharing.theory.problem import (
    LinearProblem,
    NonlinearProblem,
    Problem,
    branch_reflection,
    full_matrix,
    with_signal,
)
from weightsharing.theory.symmetric import unpack

# Kernels of the linear theory closer than this, relative to their norm, are one stationary point.
SAME_POINT = 1e-6
# The same for the searches of the nonlinear theory and for its solutions with all points. The
# searches have a quadrature error of up to 1 % along soft directions.
SAME_IN_SEARCH, SAME_SOLUTION = 1e-2, 2e-3
# Correlations and angles per time step of the coherent starts. Of 56 tasks like those of figure 5,
# correlation 0.5 alone misses the lowest minimum of two, these of none (THEORY 3).
CORRELATIONS, TURNS = (0.5, 0.8, 0.99), tuple(np.pi * np.arange(9) / 8.0)
# The same for searches whose descents take longer: of the nonlinear theory, and of the linear theory
# with more reachable directions than this.
MOST_WITH_ALL_STARTS = 32
FEW_CORRELATIONS, FEW_TURNS = (0.5, 0.95), tuple(np.pi * np.arange(4) / 4.0)
# Points of the nonlinear searches. Their solutions are then refined with all points.
SEARCH_POINTS = 2**13


@dataclass(frozen=True)
class Quadrature:
    """Settings of the single-neuron integral.

    points: Sobol points, a power of 2. scramblings: independent randomisations, each solved
    separately, at least 2. seed: root seed of all of them.
    """

    points: int = 2**16
    scramblings: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if self.points < 256 or self.points & (self.points - 1):
            raise ValueError(f"points: got {self.points}, want a power of 2, at least 256")
        if self.scramblings < 2:
            raise ValueError(
                f"scramblings: got {self.scramblings}, want at least 2: they give the errors"
            )


QUADRATURE = Quadrature()


def stationary_points(
    problem: LinearProblem | NonlinearProblem,
    *,
    random_starts: int = 4,
    seed: int = 0,
    quadrature: Quadrature = QUADRATURE,
) -> list[StationaryPoint]:
    """Every stationary point found, by increasing action, converged ones first.

    The first is the theory. random_starts, seed: further starts of the linear theory. quadrature: of
    the nonlinear theory. The linear search leaves out patterns without labels (``patterns``).
    """
    if isinstance(problem, NonlinearProblem):
        return _search_nonlinear(problem, quadrature)
    reduced = reduction(problem)
    if reduced is None:
        return search_linear(problem, random_starts, seed)
    points = search_linear(reduced.few, random_starts, seed)
    return by_action(whole_point(reduced, point) for point in points)


def _coherent(problem: Problem, scale: Array, correlation: float, angle: float) -> Array:
    """A kernel (T P, T P) of standard deviations ``scale`` whose activities turn with time.

    Its correlations are ``correlation``^|t - t'| cos(angle (t - t')): the activities turn by
    ``angle`` at each step. A conjugate pair of outliers of W makes them do so.
    """
    time = np.repeat(np.arange(problem.steps), problem.patterns)
    pattern = np.tile(np.arange(problem.patterns), problem.steps)
    lag = np.abs(np.subtract.outer(time, time))
    turning = correlation**lag * np.cos(angle * lag) * np.equal.outer(pattern, pattern)
    return np.asarray(turning * np.outer(scale, scale))


# --- linear networks --------------------------------------------------------------------------


def search_linear(problem: LinearProblem, random_starts: int, seed: int) -> list[StationaryPoint]:
    """``stationary_points`` of a linear network with all patterns that the problem has.

    Starts besides the common ones: continuation from stronger labels, and random kernels.
    """
    generator = np.random.default_rng(seed)
    branch = disordered_branch(problem)
    kernels = [] if branch is None else [branch]
    kernels.append(branch_from_above(problem))
    starts = [prior_kernel(problem)]
    all_starts = problem.dimension <= MOST_WITH_ALL_STARTS
    correlations, turns = (CORRELATIONS, TURNS) if all_starts else (FEW_CORRELATIONS, FEW_TURNS)
    starts += [coherent_start(problem, *turning) for turning in product(correlations, turns)]
    starts += [random_start(problem, generator) for _ in range(random_starts)]
    kernels += [minimiser.minimise(problem, start) for start in starts]
    points = _judged(problem, kernels)
    beside: list[Array] = []
    for point in points:
        if not point.is_minimum:
            _, direction = lowest_curvature(problem, point.kernel)
            sides = [point.kernel + sign * direction for sign in (0.1, -0.1)]
            beside += [minimiser.minimise(problem, side) for side in sides]
    points += _judged(problem, beside)
    return by_action(distinct(points, lambda point: point.kernel, SAME_POINT))


def disordered_branch(problem: LinearProblem, increments: int = 16) -> Array | None:
    """The stationary point that continues the prior kernel as the labels grow from 0 to y, (d, d).

    Beyond the transition it is the saddle without temporal coherence. None if the branch ends in a
    fold.
    """
    kernel = prior_kernel(problem)
    for strength in np.linspace(0.0, 1.0, increments + 1)[1:] ** 2:
        following = minimiser.newton(with_signal(problem, float(strength)), kernel)
        if following is None:
            return None
        kernel = following
    return kernel


def branch_from_above(problem: LinearProblem, strongest: float = 4.0, increments: int = 8) -> Array:
    """The minimum reached when the labels shrink from ``sqrt(strongest)`` y to y, (d, d).

    Where two phases coexist, this is the ordered one.
    """
    kernel = coherent_start(problem)
    for strength in np.geomspace(strongest, 1.0, increments + 1):
        kernel = minimiser.minimise(with_signal(problem, float(strength)), kernel)
    return kernel


def coherent_start(problem: LinearProblem, correlation: float = 0.5, angle: float = 0.0) -> Array:
    """A start G with the prior's diagonal and the correlations of turning activities, (d, d)."""
    prior = prior_kernel(problem)
    scale = np.sqrt(np.diag(full_matrix(problem, prior)))
    coherent = _coherent(problem, scale, correlation, angle)
    return np.asarray(problem.inverse @ coherent @ problem.basis + 1e-3 * prior)


def random_start(problem: LinearProblem, generator: np.random.Generator) -> Array:
    """L (X X^T / d) L^T with L L^T the prior kernel, X Gaussian, and a random overall scale."""
    dimension = problem.dimension
    factor = np.linalg.cholesky(prior_kernel(problem))
    normal = generator.standard_normal((dimension, dimension + 2))
    wishart = normal @ normal.T / dimension
    return np.asarray(np.exp(generator.normal()) * factor @ wishart @ factor.T)


def _judged(problem: LinearProblem, kernels: Iterable[Array]) -> list[StationaryPoint]:
    """The distinct kernels on the branch m >= 0 as stationary points."""
    branch = [_positive_branch(problem, kernel) for kernel in kernels]
    kept = distinct(branch, lambda kernel: kernel, SAME_POINT)
    return by_action(stationary_point(problem, kernel) for kernel in kept)


def _positive_branch(problem: LinearProblem, kernel: Array) -> Array:
    """G or its image under W -> -W, if that is a symmetry and the image has m >= 0."""
    if problem.reflection is None:
        return kernel
    h = full_matrix(problem, kernel)
    turn = branch_reflection(problem, h)
    return np.asarray(problem.inverse @ (turn @ h @ turn.T) @ problem.basis)


# --- nonlinear networks -----------------------------------------------------------------------


def descend(
    problem: NonlinearProblem, quadrature: Quadrature = QUADRATURE, start: Array | None = None
) -> StationaryPoint:
    """The local minimum of max_Q S reached by descent from ``start`` (THEORY 9).

    start: Phi, (T P, T P), the second moments of some law of phi; by default the prior kernel. The
    descent uses ``SEARCH_POINTS`` points; from its end, every scrambling of ``quadrature`` is solved
    at one fixed proposal. Raises ValueError if ``start`` has the wrong shape, is no matrix of second
    moments, or the descent fails. ``StationaryPoint.converged`` judges the result.
    """
    normal = _search_deviates(problem, quadrature)
    if start is None:
        kernel = integral.prior_moments(problem, normal)
    elif start.shape != problem.mask.shape:
        raise ValueError(f"start: shape {start.shape}, want {problem.mask.shape}")
    else:
        kernel = problem.inverse @ (0.5 * (start + start.T)) @ problem.inverse.T
        if np.linalg.eigvalsh(kernel)[0] <= 0.0:
            raise ValueError("start: not positive definite in the directions that phi can reach")
    reached = saddle.minimise(problem, normal, kernel)
    if reached is None:
        raise ValueError(
            "start: no descent from here; Phi must be the second moments of a law of the activations"
        )
    return _refine(problem, quadrature, reached[0])


def _search_nonlinear(problem: NonlinearProblem, quadrature: Quadrature) -> list[StationaryPoint]:
    normal = _search_deviates(problem, quadrature)
    starts = [integral.prior_moments(problem, normal)]
    turnings = product(FEW_CORRELATIONS, FEW_TURNS)
    starts += [_coherent_moments(problem, normal, *turning) for turning in turnings]
    reached = [saddle.minimise(problem, normal, kernel) for kernel in starts]
    reached.append(_continued(problem, normal))
    for local, proposal in _different(problem, reached):
        frame = np.linalg.cholesky(local.kernel)
        values, vectors = np.linalg.eigh(saddle.reduced_hessian(local, frame))
        if values[0] < 0:
            change = frame @ unpack(vectors[:, 0]) @ frame.T
            for sign in (0.1, -0.1):
                side = local.kernel + sign * change
                reached.append(saddle.minimise(problem, normal, side, local.conjugate, proposal))
    points = [_refine(problem, quadrature, local) for local, _ in _different(problem, reached)]
    return distinct(by_action(points), lambda point: point.phi, SAME_SOLUTION)


def _search_deviates(problem: NonlinearProblem, quadrature: Quadrature) -> Array:
    generator = np.random.default_rng([quadrature.seed, 1])
    return integral.deviates(problem.dimension, SEARCH_POINTS, generator)


def _coherent_moments(
    problem: NonlinearProblem, normal: Array, correlation: float, angle: float
) -> Array:
    """F of Gaussian h with the prior's diagonal and the correlations of turning activities."""
    c = integral.covariance(problem, integral.prior_moments(problem, normal))
    scale = np.sqrt(np.diag(problem.lift @ c @ problem.lift.T))
    coherent = _coherent(problem, scale, correlation, angle)
    # A part of the prior gives the law the support that C allows.
    mixed = 0.9 * problem.lower @ coherent @ problem.lower.T + 0.1 * c
    psi = integral.sample(problem, normal, mixed).psi
    return np.asarray(psi.T @ psi / len(psi))


def _continued(
    problem: NonlinearProblem, normal: Array, increments: int = 8
) -> tuple[integral.Expansion, Array] | None:
    """The stationary point that continues the prior kernel, and its proposal."""
    kernel = integral.prior_moments(problem, normal)
    conjugate, proposal = np.zeros_like(kernel), integral.covariance(problem, kernel)
    reached = None
    # The last step repeats the full labels with the proposal that belongs to them.
    for strength in [*np.linspace(0.0, 1.0, increments + 1)[1:] ** 2, 1.0]:
        points = integral.sample(problem, normal, proposal)
        local = saddle.newton(with_signal(problem, float(strength)), points, kernel, conjugate)
        if local is None:
            return None
        reached = local, proposal
        kernel, conjugate = local.kernel, local.conjugate
        proposal = saddle.adapted_proposal(problem, local)
    return reached


def _different(
    problem: NonlinearProblem, reached: Iterable[tuple[integral.Expansion, Array] | None]
) -> list[tuple[integral.Expansion, Array]]:
    """The solutions of the searches that did not fail, each once."""

    def phi(solution: tuple[integral.Expansion, Array]) -> Array:
        h = problem.lift @ solution[0].second_moment @ problem.lift.T
        turn = branch_reflection(problem, h)
        return np.asarray(turn @ full_matrix(problem, solution[0].kernel) @ turn.T)

    return distinct((one for one in reached if one is not None), phi, SAME_IN_SEARCH)


def _refine(
    problem: NonlinearProblem, quadrature: Quadrature, coarse: integral.Expansion
) -> StationaryPoint:
    """Solve every scrambling at one proposal, each from the first solution, and average."""
    proposal = saddle.adapted_proposal(problem, coarse)
    seeds = np.random.SeedSequence([quadrature.seed, 2]).spawn(quadrature.scramblings)
    solved: list[integral.Expansion] = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        normal = integral.deviates(problem.dimension, quadrature.points, generator)
        points = integral.sample(problem, normal, proposal)
        start = solved[0] if solved else coarse
        local = saddle.newton(problem, points, start.kernel, start.conjugate)
        # Keep a start that did not converge, so that its residual is reported.
        solved.append(local or integral.expand(problem, points, start.kernel, start.conjugate))
    phi = np.array([full_matrix(problem, local.kernel) for local in solved])
    h = np.array([problem.lift @ local.second_moment @ problem.lift.T for local in solved])
    q = np.array([problem.inverse.T @ local.conjugate @ problem.inverse for local in solved])
    actions = np.array([local.action for local in solved])
    turn = branch_reflection(problem, h.mean(axis=0))
    mean = turn @ phi.mean(axis=0) @ turn.T
    curvatures = saddle.reduced_hessian(solved[0], np.linalg.cholesky(solved[0].kernel))
    return StationaryPoint(
        kernel=problem.inverse @ mean @ problem.inverse.T,
        h=turn @ h.mean(axis=0) @ turn.T,
        phi=mean,
        q=turn @ q.mean(axis=0) @ turn.T,
        action=float(actions.mean()),
        gradient_norm=max(local.residual for local in solved),
        lowest_curvature=float(np.linalg.eigvalsh(curvatures)[0]),
        h_error=stats.sem(h),
        phi_error=stats.sem(phi),
        action_error=float(stats.sem(actions)),
        fraction=min(local.fraction for local in solved),
    )
