"""Search for the stationary points of the linear theory: starts, continuation, symmetry (THEORY 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.symmetry import to_positive_branch
from weightsharing.theory.linear import (
    LinearProblem,
    StationaryPoint,
    full_kernel,
    lowest_curvature,
    minimise,
    newton,
    prior_kernel,
    stationary_point,
    with_signal,
)
from weightsharing.theory.patterns import reduction, whole_point

# Two kernels closer than this, relative to their norm, are one stationary point.
SAME_POINT = 1e-6
# Angles per time step of the coherent starts.
TURNS = tuple(np.pi * np.arange(4) / 4.0)


def disordered_branch(problem: LinearProblem, increments: int = 16) -> Array | None:
    """The stationary point that continues the prior kernel as the labels grow from 0 to y.

    Followed by Newton's method, so it is kept where it turns from a minimum into a saddle: beyond
    the transition it is the branch without temporal coherence. None if the branch ends in a fold.
    """
    kernel = prior_kernel(problem)
    for strength in np.linspace(0.0, 1.0, increments + 1)[1:] ** 2:
        following = newton(with_signal(problem, float(strength)), kernel)
        if following is None:
            return None
        kernel = following
    return kernel


def branch_from_above(problem: LinearProblem, strongest: float = 4.0, increments: int = 8) -> Array:
    """The minimum reached when the labels shrink from ``sqrt(strongest)`` y to y.

    Where two phases coexist this is the ordered one.
    """
    strengths = np.geomspace(strongest, 1.0, increments + 1)
    kernel = coherent_start(problem)
    for strength in strengths:
        kernel = minimise(with_signal(problem, float(strength)), kernel)
    return kernel


def coherent_start(problem: LinearProblem, correlation: float = 0.5, angle: float = 0.0) -> Array:
    """A start with temporal correlations on the prior's diagonal.

    They are ``correlation``^|t - t'| cos(angle (t - t')), those of activities that turn by ``angle``
    at each step, which a conjugate pair of outliers of W does.
    """
    prior = problem.basis @ prior_kernel(problem) @ problem.basis.T
    time = np.repeat(np.arange(problem.steps), problem.patterns)
    scale = np.sqrt(np.diag(prior))
    pattern = np.tile(np.arange(problem.patterns), problem.steps)
    same = np.equal.outer(pattern, pattern)
    apart = np.abs(np.subtract.outer(time, time))
    coherent = correlation**apart * np.cos(angle * apart) * same * np.outer(scale, scale)
    kernel = problem.basis.T @ coherent @ problem.basis
    return np.asarray(kernel + 1e-3 * prior_kernel(problem))


def random_start(problem: LinearProblem, generator: np.random.Generator) -> Array:
    """L (X X^T / d) L^T with L L^T the prior kernel, X Gaussian and a random overall scale."""
    dimension = problem.dimension
    factor = np.linalg.cholesky(prior_kernel(problem))
    deviates = generator.standard_normal((dimension, dimension + 2))
    wishart = deviates @ deviates.T / dimension
    return np.asarray(np.exp(generator.normal()) * factor @ wishart @ factor.T)


def stationary_points(
    problem: LinearProblem, random_starts: int = 4, seed: int = 0
) -> list[StationaryPoint]:
    """Every stationary point found, by increasing action; the first is the theory.

    Starts: the prior kernel, temporally coherent and turning kernels, continuation of the labels from 0
    and from above, both sides of the saddles found, and ``random_starts`` random kernels. Where W -> -W
    is a symmetry, each point stands for itself and its image and is given with m >= 0 (THEORY 4).
    Patterns that carry no label of their own are left out of the search (``patterns``).
    """
    reduced = reduction(problem)
    if reduced is None:
        return search(problem, random_starts, seed)
    points = search(reduced.few, random_starts, seed)
    return _sorted([whole_point(reduced, point) for point in points])


def search(problem: LinearProblem, random_starts: int, seed: int) -> list[StationaryPoint]:
    """``stationary_points`` with all patterns that the problem has."""
    generator = np.random.default_rng(seed)
    branch = disordered_branch(problem)
    found = [] if branch is None else [branch]
    found.append(branch_from_above(problem))
    starts = [prior_kernel(problem)]
    starts += [coherent_start(problem, angle=angle) for angle in TURNS]
    starts += [random_start(problem, generator) for _ in range(random_starts)]
    found += [minimise(problem, start) for start in starts]
    for point in _distinct(problem, found):
        if point.lowest_curvature < 0:
            _, direction = lowest_curvature(problem, point.kernel)
            found += [minimise(problem, point.kernel + s * direction) for s in (0.1, -0.1)]
    return _distinct(problem, found)


def _distinct(problem: LinearProblem, kernels: Sequence[Array]) -> list[StationaryPoint]:
    apart: list[Array] = []
    for kernel in (_canonical(problem, kernel) for kernel in kernels):
        if all(
            np.linalg.norm(kernel - other) > SAME_POINT * np.linalg.norm(other) for other in apart
        ):
            apart.append(kernel)
    return _sorted([stationary_point(problem, kernel) for kernel in apart])


def _sorted(points: Sequence[StationaryPoint]) -> list[StationaryPoint]:
    return sorted(points, key=lambda point: (not point.converged, point.action))


def _canonical(problem: LinearProblem, kernel: Array) -> Array:
    """The image of G on the branch m >= 0, if W -> -W is a symmetry."""
    if not problem.sign_symmetric:
        return kernel
    full = to_positive_branch(full_kernel(problem, kernel), problem.direction)
    return problem.basis.T @ kernel_matrix(np.asarray(full)) @ problem.basis
