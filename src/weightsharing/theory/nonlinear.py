"""Kernel theory of nonlinear networks: the saddle point in kernel and conjugate kernel (THEORY 3).

    S(Phi, Q) = 1/2 y_S^T (kappa + v Phi_SS)^-1 y_S + 1/2 tr(Q Phi)
                - ln INT dh N(h; 0, C) exp(1/2 phi(h)^T Q phi(h)),   C = w mask(shift(Phi)) + u x x^T

It is maximal over Q, in which it is concave, and minimal over Phi. ``mask`` keeps everything in an RNN
and the blocks t = t' in a DNN; it acts on the recurrent term of C only. At the stationary point

    Phi = <phi phi^T>,   H = <h h^T>   under   P(h) proportional to N(h; 0, C) exp(1/2 phi^T Q phi),
    Q = v a a^T on S + w carry_back(C^-1 (H - C) C^-1),   a = (kappa + v Phi_SS)^-1 y_S .

The integral over one neuron, of dimension T P at most, is taken by randomised quasi-Monte Carlo:
scrambled Sobol points, a Gaussian proposal whose covariance is H, importance weights. With points and
proposal fixed, S is a smooth function of (Phi, Q) whose derivatives are moments over the same points,
so that Newton's method converges to rounding error; what the points leave is measured by repeating
the solution with independent scramblings.

Kernels are confined to what can be reached: h = B g and phi(h) = V psi, with B and V bases of the
supports of h and of phi(h). In the code kernel F and conjugate q are those of psi, Phi = V F V^T, and

    S(F, q) = 1/2 y^T R y + 1/2 tr(q F) - ln INT dg N(g; 0, C) exp(1/2 psi^T q psi),
    R = (kappa + v E F E^T)^-1,   C = w B^+ mask(A F A^T) B^+T + K,

with A = shift V, E the supervised rows of V and K = u B^+ x x^T B^+T. If nothing is unreachable both
bases are the identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from weightsharing.model.axes import Array, kernel_axes
from weightsharing.model.symmetry import order_parameter
from weightsharing.theory.integral import Local, deviates, expand, prior_moments, sample
from weightsharing.theory.neuron import NonlinearProblem, covariance, full_kernel, with_signal
from weightsharing.theory.packed import unpack
from weightsharing.theory.saddle import (
    GRADIENT_TOLERANCE,
    adapted_proposal,
    minimise,
    newton,
    reduced_hessian,
)

# Below this effective fraction of the points neither values nor standard errors are to be trusted.
LOWEST_FRACTION = 0.1
# Points of the searches; the solution found is then refined with the points asked for.
SEARCH_POINTS = 2**13
# Angles per time step of the coherent starts.
TURNS = tuple(np.pi * np.arange(4) / 4.0)
# Two kernels closer than this, relative to their norm, are one solution of a search, and once refined
# one stationary point. The searches have a quadrature error of up to 1 %, which soft directions set.
SAME_IN_SEARCH, SAME_POINT = 1e-2, 2e-3


@dataclass(frozen=True)
class Quadrature:
    """How the single-neuron integral is taken.

    points: Sobol points, a power of 2. scramblings: independent randomisations, each solved on its
    own, at least 2. seed: root seed of all of them.
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


@dataclass(frozen=True)
class Solution:
    """A stationary point of S, the mean over independent scramblings.

    phi, h, q: Phi, H and Q, (T P, T P) with index t P + p. Q is 0 in the directions that phi cannot
    reach. action: S. *_error: standard errors from the scramblings. residuals: largest whitened
    norms of dS/dPhi and dS/dQ of any scrambling. fraction: smallest effective fraction of the
    points. lowest_curvature: lowest eigenvalue of the whitened Hessian of max_Q S over Phi, of the
    first scrambling; positive at a minimum.
    """

    phi: Array
    h: Array
    q: Array
    action: float
    phi_error: Array
    h_error: Array
    action_error: float
    residuals: tuple[float, float]
    fraction: float
    lowest_curvature: float
    scramblings: int

    @property
    def converged(self) -> bool:
        """Whether both gradients vanish in every scrambling and enough points carry weight."""
        return max(self.residuals) < GRADIENT_TOLERANCE and self.fraction > LOWEST_FRACTION

    @property
    def is_minimum(self) -> bool:
        """Whether max_Q S is minimal in Phi."""
        return self.lowest_curvature > 0.0


def solve(
    problem: NonlinearProblem, quadrature: Quadrature = QUADRATURE, start: Array | None = None
) -> Solution:
    """The local minimum of max_Q S reached by descent from ``start`` (THEORY 3).

    start: Phi, (T P, T P), a matrix of second moments of some law of phi; by default the prior
    kernel. The descent uses ``SEARCH_POINTS`` points and every scrambling of ``quadrature`` is
    then solved from it at one fixed proposal. Raises ValueError if ``start`` has the wrong shape,
    is no such matrix or the descent fails; judge the result by ``Solution.converged``.
    """
    normal = _search_deviates(problem, quadrature)
    kernel = prior_moments(problem, normal) if start is None else _start(problem, start)
    found = _descend(problem, normal, kernel)
    if found is None:
        raise ValueError(
            "start: no descent from here; Phi must be the second moments of a law of the activations"
        )
    return _refine(problem, quadrature, found[0])


def stationary_points(
    problem: NonlinearProblem, quadrature: Quadrature = QUADRATURE
) -> list[Solution]:
    """Every stationary point found, by increasing action, converged ones first (THEORY 3).

    Starts: the prior kernel, temporally coherent and turning kernels, continuation of the labels from
    0, which also follows what has turned into a saddle, and both sides of the saddles found. Where
    W -> -W is a symmetry each point stands for itself and its image and is given with H^(T-1,T-2)
    >= 0 along the labels (THEORY 4).
    """
    normal = _search_deviates(problem, quadrature)
    starts = [prior_moments(problem, normal)]
    starts += [_coherent(problem, normal, 0.5, angle) for angle in TURNS]
    found = [_descend(problem, normal, kernel) for kernel in starts]
    found.append(_continued(problem, normal))
    points = _distinct(problem, found)
    for local, proposal in points:
        frame = np.linalg.cholesky(local.kernel)
        values, vectors = np.linalg.eigh(reduced_hessian(local, frame))
        if values[0] < 0:
            change = frame @ unpack(vectors[:, 0]) @ frame.T
            for sign in (0.1, -0.1):
                shifted = local.kernel + sign * change
                found.append(minimise(problem, normal, shifted, local.conjugate, proposal))
    solutions = [_refine(problem, quadrature, local) for local, _ in _distinct(problem, found)]
    apart: list[Solution] = []
    for solution in sorted(solutions, key=lambda one: (not one.converged, one.action)):
        if all(
            np.linalg.norm(solution.phi - other.phi) > SAME_POINT * np.linalg.norm(other.phi)
            for other in apart
        ):
            apart.append(solution)
    return apart


def coherent_start(
    problem: NonlinearProblem, correlation: float = 0.5, angle: float = 0.0, seed: int = 0
) -> Array:
    """A start Phi with temporal correlations on the prior's diagonal, (T P, T P).

    The correlations of h are ``correlation``^|t - t'| cos(angle (t - t')), those of activities that
    turn by ``angle`` at each step; Phi is that of Gaussian h.
    """
    normal = deviates(problem.dimension, SEARCH_POINTS, np.random.default_rng(seed))
    return full_kernel(problem, _coherent(problem, normal, correlation, angle))


def predict(problem: NonlinearProblem, phi: Array) -> Array:
    """Mean output at all output times, f = v Phi_(.,S) (kappa + v Phi_SS)^-1 y (THEORY 3).

    phi: Phi, (T P, T P). Returns shape (pattern, output_time).
    """
    chosen = problem.supervised
    noisy = problem.kappa * np.eye(chosen.size) + problem.v * phi[np.ix_(chosen, chosen)]
    outputs = problem.v * phi[:, chosen] @ np.linalg.solve(noisy, problem.labels)
    return np.asarray(outputs.reshape(problem.steps, problem.patterns).T)


def _search_deviates(problem: NonlinearProblem, quadrature: Quadrature) -> Array:
    generator = np.random.default_rng([quadrature.seed, 1])
    return deviates(problem.dimension, SEARCH_POINTS, generator)


def _start(problem: NonlinearProblem, start: Array) -> Array:
    if start.shape != problem.mask.shape:
        raise ValueError(f"start: shape {start.shape}, want {problem.mask.shape}")
    kernel = problem.lower_phi @ start @ problem.lower_phi.T
    if np.linalg.eigvalsh(kernel)[0] <= 0.0:
        raise ValueError("start: not positive definite in the directions that phi can reach")
    return np.asarray(0.5 * (kernel + kernel.T))


def _coherent(problem: NonlinearProblem, normal: Array, correlation: float, angle: float) -> Array:
    c = covariance(problem, prior_moments(problem, normal))
    scale = np.sqrt(np.diag(problem.lift @ c @ problem.lift.T))
    time = np.repeat(np.arange(problem.steps), problem.patterns)
    pattern = np.tile(np.arange(problem.patterns), problem.steps)
    apart = np.abs(np.subtract.outer(time, time))
    turning = correlation**apart * np.cos(angle * apart) * np.equal.outer(pattern, pattern)
    coherent = turning * np.outer(scale, scale)
    # A Gaussian law that C allows: with a part of the prior its support is the right one.
    mixed = 0.9 * problem.lower @ coherent @ problem.lower.T + 0.1 * c
    psi = sample(problem, normal, mixed).psi
    return np.asarray(psi.T @ psi / len(psi))


def _descend(problem: NonlinearProblem, normal: Array, kernel: Array) -> tuple[Local, Array] | None:
    return minimise(problem, normal, kernel, np.zeros_like(kernel), covariance(problem, kernel))


def _continued(
    problem: NonlinearProblem, normal: Array, increments: int = 8
) -> tuple[Local, Array] | None:
    """The stationary point that continues the prior kernel as the labels grow from 0 to y."""
    kernel = prior_moments(problem, normal)
    conjugate, proposal = np.zeros_like(kernel), covariance(problem, kernel)
    local = None
    for strength in np.linspace(0.0, 1.0, increments + 1)[1:] ** 2:
        points = sample(problem, normal, proposal)
        local = newton(with_signal(problem, float(strength)), points, kernel, conjugate)
        if local is None:
            return None
        kernel, conjugate, proposal = (
            local.kernel,
            local.conjugate,
            adapted_proposal(problem, local),
        )
    points = sample(problem, normal, proposal)
    local = newton(problem, points, kernel, conjugate)
    return None if local is None else (local, proposal)


def _distinct(
    problem: NonlinearProblem, found: Sequence[tuple[Local, Array] | None]
) -> list[tuple[Local, Array]]:
    apart: list[tuple[Local, Array]] = []
    for point in found:
        if point is None:
            continue
        kernel = _canonical(problem, point[0])
        others = [_canonical(problem, other) for other, _ in apart]
        if all(
            np.linalg.norm(kernel - other) > SAME_IN_SEARCH * np.linalg.norm(other)
            for other in others
        ):
            apart.append(point)
    return apart


def _canonical(problem: NonlinearProblem, local: Local) -> Array:
    """Phi, or its image under W -> -W if that is a symmetry and the image has m >= 0."""
    h = problem.lift @ local.second_moment @ problem.lift.T
    return full_kernel(problem, local.kernel) * _branch_signs(problem, h)


def _branch_signs(problem: NonlinearProblem, h: Array) -> Array:
    """What (T P, T P) kernels are multiplied by to bring H to the branch m >= 0 (THEORY 4)."""
    full = kernel_axes(h, problem.patterns, problem.steps)
    if not problem.sign_symmetric or order_parameter(full, problem.direction) >= 0:
        return np.ones_like(h)
    parity = (-1.0) ** np.repeat(np.arange(problem.steps), problem.patterns)
    return np.asarray(np.multiply.outer(parity, parity))


def _refine(problem: NonlinearProblem, quadrature: Quadrature, coarse: Local) -> Solution:
    """Solve with every scrambling at one proposal, each from the first solution, and average."""
    proposal = adapted_proposal(problem, coarse)
    seeds = np.random.SeedSequence([quadrature.seed, 2]).spawn(quadrature.scramblings)
    found: list[Local] = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        normal = deviates(problem.dimension, quadrature.points, generator)
        points = sample(problem, normal, proposal)
        start = found[0] if found else coarse
        local = newton(problem, points, start.kernel, start.conjugate)
        # What did not converge is kept, so that its residual is reported.
        found.append(local or expand(problem, points, start.kernel, start.conjugate))
    frame = np.linalg.cholesky(found[0].kernel)
    raw: dict[str, list[Array]] = {
        "phi": [full_kernel(problem, local.kernel) for local in found],
        "h": [problem.lift @ local.second_moment @ problem.lift.T for local in found],
        "q": [problem.lower_phi.T @ local.conjugate @ problem.lower_phi for local in found],
    }
    signs = _branch_signs(problem, np.array(raw["h"]).mean(axis=0))
    mean = {name: signs * np.array(values).mean(axis=0) for name, values in raw.items()}
    actions = np.array([local.action for local in found])
    return Solution(
        phi=mean["phi"],
        h=mean["h"],
        q=mean["q"],
        action=float(actions.mean()),
        phi_error=_standard_error(np.array(raw["phi"])),
        h_error=_standard_error(np.array(raw["h"])),
        action_error=float(_standard_error(actions)),
        residuals=(
            max(local.residuals[0] for local in found),
            max(local.residuals[1] for local in found),
        ),
        fraction=min(local.fraction for local in found),
        lowest_curvature=float(np.linalg.eigvalsh(reduced_hessian(found[0], frame))[0]),
        scramblings=len(found),
    )


def _standard_error(values: Array) -> Array:
    return np.asarray(values.std(axis=0, ddof=1) / np.sqrt(len(values)))
