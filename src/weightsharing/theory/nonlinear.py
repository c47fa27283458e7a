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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, special
from scipy.stats import qmc

from weightsharing.records import (
    LARGEST_INTEGRAL,
    Architecture,
    Array,
    Task,
    kernel_axes,
    time_major,
)
from weightsharing.symmetry import has_one_parity, label_direction, order_parameter

ActivationFunction = Callable[[Array], Array]

ACTIVATIONS: dict[str, ActivationFunction] = {
    "linear": lambda h: h,
    "erf": lambda h: np.asarray(special.erf(0.5 * np.sqrt(np.pi) * h)),
    "tanh": lambda h: np.asarray(np.tanh(h)),
    "relu": lambda h: np.asarray(np.maximum(h, 0.0)),
}

# A stationary point counts as converged below this norm of the gradients (whitened, S of order 1).
GRADIENT_TOLERANCE = 1e-9
# Below this effective fraction of the points neither values nor standard errors are to be trusted.
LOWEST_FRACTION = 0.1
# Eigenvalues of correlation matrices below the first are zero, above the second they are not.
# Between the two float64 cannot tell a dependence from a near dependence.
DEPENDENT, INDEPENDENT = 1e-12, 1e-8
# Points of the searches; the solution found is then refined with the points asked for.
SEARCH_POINTS = 2**13
# Steps of a descent below which its proposal stays. With each new proposal the solution moves by the
# quadrature error, which along soft directions is a tenth, so that a smaller bound is never reached.
SETTLED = 0.3
# Points that are turned into features at a time: bounds the memory of the covariances.
CHUNK = 4096
# Angles per time step of the coherent starts.
TURNS = tuple(np.pi * np.arange(4) / 4.0)
# Two kernels closer than this, relative to their norm, are one solution of a search, and once refined
# one stationary point. The searches have a quadrature error of up to 1 %, which soft directions set.
SAME_IN_SEARCH, SAME_POINT = 1e-2, 2e-3
# The proposal is nowhere narrower than this fraction of C. With bounded phi the law has the tails of
# N(0, C), and below 1/2 the variance of the weights would be infinite, which no sample shows.
NARROWEST = 0.6


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
class NonlinearProblem:
    """The data of S(F, q) (module docstring).

    lift B: (T P, d) and lower B^+: (d, T P), of h. lift_phi V: (T P, m) and lower_phi V^+: (m, T P).
    mask: (T P, T P), 1 where C keeps the recurrent term. input_kernel K: (d, d). labels y:
    (supervised,), at the indices ``supervised`` of t P + p. jacobian: derivative of C by F in packed
    coordinates. activation: phi. odd: whether phi(-h) = -phi(h). patterns, steps: P and T.
    direction, sign_symmetric: THEORY 4.
    """

    lift: Array
    lower: Array
    lift_phi: Array
    lower_phi: Array
    mask: Array
    input_kernel: Array
    supervised: NDArray[np.intp]
    labels: Array
    jacobian: Array
    w: float
    v: float
    kappa: float
    patterns: int
    steps: int
    activation: ActivationFunction
    odd: bool
    direction: Array
    sign_symmetric: bool

    @property
    def dimension(self) -> int:
        """Number d of reachable directions of h, the dimension of the integral."""
        return int(self.lift.shape[1])

    @property
    def readout(self) -> Array:
        """E, the supervised rows of V, (supervised, m)."""
        return np.asarray(self.lift_phi[self.supervised])


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


# --- the problem ------------------------------------------------------------------------------


def nonlinear_problem(
    task: Task,
    architecture: Architecture,
    kappa: float,
    activation: str | ActivationFunction | None = None,
) -> NonlinearProblem:
    """S(F, q) of a network on a task (THEORY 3), reduced to the reachable directions.

    activation: a name of ``ACTIVATIONS`` or a function of arrays, elementwise; by default the one of
    the architecture. Raises ValueError if the name is unknown, T P exceeds ``LARGEST_INTEGRAL``, no
    input differs from 0, patterns are so nearly dependent that float64 cannot tell, or a product
    phi phi' does not fluctuate, so that its conjugate is not defined by the maximum over Q.
    """
    chosen = architecture.activation if activation is None else activation
    phi = _activation(chosen)
    patterns, steps, features = task.inputs.shape
    size = steps * patterns
    if size > LARGEST_INTEGRAL:
        raise ValueError(
            f"task: T P = {steps} x {patterns} = {size} exceeds {LARGEST_INTEGRAL}, the largest "
            "dimension of the single-neuron integral; use the exact sampler over activities at large N"
        )
    if not np.any(task.inputs):
        raise ValueError("task inputs: all zero, so every activity is zero and there is no kernel")
    prior = architecture.prior
    inputs = task.inputs.transpose(1, 0, 2).reshape(size, features)
    time = np.repeat(np.arange(steps), patterns)
    same_time = np.equal.outer(time, time)
    mask = np.ones(same_time.shape) if architecture.kind == "rnn" else same_time.astype(np.float64)

    # Only the supports matter here, so any points will do.
    input_kernel = prior.u * inputs @ inputs.T
    deviates = np.random.default_rng(0).standard_normal((4096, size))
    values, covariance = _prior_values(phi, prior.w * mask, input_kernel, deviates, patterns, steps)
    lift, lower = _support(covariance)
    lift_phi, lower_phi = _support(values.T @ values / len(values))
    _refuse_constant_products(values @ lower_phi.T)

    shifted = np.eye(size, k=-patterns) @ lift_phi
    directions = unpack(np.eye(_packed(lift_phi.shape[1])))
    moved = lower @ (mask * (shifted @ directions @ shifted.T)) @ lower.T
    supervised = np.flatnonzero(time_major(task.supervised))
    grid = np.linspace(0.1, 3.0, 30)
    odd = bool(np.allclose(phi(-grid), -phi(grid), rtol=0, atol=1e-12))
    return NonlinearProblem(
        lift=lift,
        lower=lower,
        lift_phi=lift_phi,
        lower_phi=lower_phi,
        mask=mask,
        input_kernel=lower @ input_kernel @ lower.T,
        supervised=supervised,
        labels=time_major(task.targets)[supervised],
        jacobian=prior.w * pack(moved).T,
        w=prior.w,
        v=prior.v,
        kappa=kappa,
        patterns=patterns,
        steps=steps,
        activation=phi,
        odd=odd,
        direction=label_direction(task),
        sign_symmetric=odd and architecture.kind == "rnn" and has_one_parity(task),
    )


def with_signal(problem: NonlinearProblem, strength: float) -> NonlinearProblem:
    """The same problem with lambda multiplied by ``strength``, i.e. labels by its square root."""
    return replace(problem, labels=problem.labels * np.sqrt(strength))


def _activation(chosen: str | ActivationFunction) -> ActivationFunction:
    if callable(chosen):
        return chosen
    if chosen not in ACTIVATIONS:
        raise ValueError(
            f"activation: got {chosen!r}, want one of {', '.join(ACTIVATIONS)} or a function"
        )
    return ACTIVATIONS[chosen]


def _prior_values(
    activation: ActivationFunction,
    weight: Array,
    input_kernel: Array,
    deviates: Array,
    patterns: int,
    steps: int,
) -> tuple[Array, Array]:
    """Phi of every point without data, (points, T P), and C: the recursion t -> t + 1."""
    size = steps * patterns
    shift = np.eye(size, k=-patterns)
    covariance = input_kernel
    values = np.zeros_like(deviates)
    # One row of blocks of C becomes exact per pass, and a triangular root leaves the earlier ones.
    for _ in range(steps):
        values = activation(deviates @ _triangular_root(covariance).T)
        phi = values.T @ values / len(values)
        covariance = weight * (shift @ phi @ shift.T) + input_kernel
    return values, covariance


def _triangular_root(covariance: Array) -> Array:
    """Lower triangular L with L L^T = covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    _, upper = np.linalg.qr(root.T)
    return np.asarray((upper * np.where(np.diag(upper) < 0.0, -1.0, 1.0)[:, None]).T)


def _support(covariance: Array) -> tuple[Array, Array]:
    """Basis of the range of a covariance, (T P, k), and its left inverse, (k, T P)."""
    scale = np.sqrt(np.diag(covariance))
    active = np.flatnonzero(scale > 0.0)
    embedding = np.eye(scale.size)[:, active]
    correlation = covariance[np.ix_(active, active)] / np.outer(scale[active], scale[active])
    values, vectors = np.linalg.eigh(correlation)
    if np.any((values > DEPENDENT) & (values < INDEPENDENT)):
        raise ValueError(
            f"task inputs: an eigenvalue {values[values > DEPENDENT].min():.1e} of the correlations "
            "of the prior cannot be told from 0; remove patterns that nearly repeat others"
        )
    kept = values > DEPENDENT
    if np.all(kept):
        return embedding, embedding.T
    basis = vectors[:, kept]
    return (
        embedding @ (scale[active, None] * basis),
        (basis.T / scale[active]) @ embedding.T,
    )


def _refuse_constant_products(psi: Array) -> None:
    products = pack(psi[:, :, None] * psi[:, None, :])
    scale = np.sqrt(np.mean(products**2, axis=0))
    scaled = products / np.where(scale > 0.0, scale, 1.0)
    if np.linalg.eigvalsh(np.cov(scaled.T, ddof=0).reshape(scale.size, -1))[0] < DEPENDENT:
        raise ValueError(
            "activation: a combination of the products phi phi' is the same for all activities (as "
            "at h = 0 with phi(0) different from 0, or relu of opposite inputs); not supported"
        )


# --- packed coordinates -----------------------------------------------------------------------


def pack(symmetric: Array) -> Array:
    """Symmetric (..., k, k) to coordinates (..., k (k + 1) / 2); off-diagonal entries carry sqrt 2.

    The Euclidean scalar product of coordinates is the Frobenius product of matrices.
    """
    rows, columns = np.triu_indices(symmetric.shape[-1])
    return np.asarray(symmetric[..., rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def unpack(vector: Array) -> Array:
    """The inverse of ``pack``."""
    size = int(np.sqrt(2 * vector.shape[-1]))
    rows, columns = np.triu_indices(size)
    scaled = vector / np.where(rows == columns, 1.0, np.sqrt(2.0))
    symmetric = np.zeros((*vector.shape[:-1], size, size))
    symmetric[..., rows, columns] = scaled
    symmetric[..., columns, rows] = scaled
    return symmetric


def _packed(size: int) -> int:
    return size * (size + 1) // 2


def _sandwich(left: Array, right: Array) -> Array:
    """The map X -> (left X right + right X left) / 2 of symmetric matrices, in coordinates."""
    moved = left @ unpack(np.eye(_packed(len(left)))) @ right
    return pack(0.5 * (moved + np.swapaxes(moved, -1, -2)))


# --- the integral -----------------------------------------------------------------------------


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


def sample(problem: NonlinearProblem, normal: Array, covariance: Array) -> Sample:
    """Points of the proposal N(0, covariance): normal (points, d), covariance of g (d, d)."""
    values, vectors = np.linalg.eigh(covariance)
    if values[0] <= 0.0:
        raise np.linalg.LinAlgError("proposal covariance: not positive definite")
    # Widest directions first: the leading Sobol coordinates are the most uniform.
    frame = (vectors * np.sqrt(values))[:, ::-1]
    activity = normal @ frame.T
    psi = problem.activation(activity @ problem.lift.T) @ problem.lower_phi.T
    log_proposal = -0.5 * (normal**2).sum(axis=1) - 0.5 * np.log(values).sum()
    return Sample(activity, np.ascontiguousarray(psi), log_proposal)


def covariance(problem: NonlinearProblem, kernel: Array) -> Array:
    """C(F), the prior covariance of g given the kernel (THEORY 3), (d, d)."""
    return problem.input_kernel + unpack(problem.jacobian @ pack(kernel))


def prior_kernel(problem: NonlinearProblem, points: int = 2**16, seed: int = 0) -> Array:
    """Phi without data, (T P, T P): the recursion Phi^t -> C^(t+1) -> Phi^(t+1) (THEORY 3)."""
    normal = deviates(problem.dimension, points, np.random.default_rng(seed))
    return lift_phi(problem, _prior(problem, normal))


def _prior(problem: NonlinearProblem, normal: Array) -> Array:
    kernel = np.zeros((problem.lower_phi.shape[0],) * 2)
    for _ in range(problem.steps):
        activity = normal @ _triangular_root(covariance(problem, kernel)).T
        psi = problem.activation(activity @ problem.lift.T) @ problem.lower_phi.T
        kernel = psi.T @ psi / len(psi)
    return kernel


def lift_phi(problem: NonlinearProblem, kernel: Array) -> Array:
    """Phi = V F V^T, (T P, T P)."""
    return np.asarray(problem.lift_phi @ kernel @ problem.lift_phi.T)


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

    count = _packed(problem.lower_phi.shape[0])
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
        inner = _sandwich(inverse, inverse)
        score = 0.5 * inner @ problem.jacobian
        bent = _sandwich(inverse, inverse @ h @ inverse) - 0.5 * inner
        mixed = 0.5 * identity - 0.5 * score.T @ spread[count:, :count]
        hessian = np.block([
            [
                problem.v**2 * _sandwich(np.outer(pull, pull), response)
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
    count = _packed(size)
    width = count + _packed(dimension) if full else count
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


# --- solvers at fixed points ------------------------------------------------------------------


def maximise(
    problem: NonlinearProblem, points: Sample, kernel: Array, conjugate: Array
) -> Local | None:
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
        # The step of self-concordant functions; log-partition functions behave like them.
        length = 1.0 if decrement < 0.25 else 1.0 / (1.0 + decrement)
        q = q + length * unpack(step)
    return None


def newton(
    problem: NonlinearProblem,
    points: Sample,
    kernel: Array,
    conjugate: Array,
    max_iterations: int = 30,
) -> Local | None:
    """Nearest stationary point of S in (F, q), of any index, at fixed points; None if it fails."""
    count = _packed(len(kernel))
    previous = np.inf
    for _ in range(max_iterations):
        try:
            local = expand(problem, points, kernel, conjugate)
            residual = max(local.residuals)
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
        frame = np.linalg.cholesky(kernel)
        half = linalg.solve_triangular(frame, unpack(step[:count]), lower=True)
        size = float(np.linalg.norm(linalg.solve_triangular(frame, half.T, lower=True)))
        length = min(1.0, 0.5 / size) if size > 0 else 1.0
        kernel = kernel + length * unpack(step[:count])
        conjugate = conjugate + length * unpack(step[count:])
    return None


def reduced_hessian(local: Local, frame: Array) -> Array:
    """Hessian of max_q S in Z, F -> L (1 + Z) L^T with frame L, packed coordinates."""
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
    conjugate: Array,
    proposal: Array,
    max_iterations: int = 60,
) -> tuple[Local, Array] | None:
    """Local minimum of max_q S over F, and its proposal, by Newton descent with adapted proposal.

    Directions of negative curvature are followed downhill, steps are shortened until the action
    falls. The proposal is H of the current iterate and is kept once steps are within ``SETTLED``.
    normal: points of ``deviates``; kernel F, conjugate q and proposal covariance (d, d): the start. None
    if the search fails.
    """
    adapted = _adapt(problem, normal, kernel, conjugate, proposal)
    if adapted is None:
        return None
    local, points, proposal = adapted
    small = False
    for _ in range(max_iterations):
        if not small:
            wanted = _proposal(problem, local)
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
        found = _line_search(problem, points, local, frame, step, float(slope @ step))
        if found is None:
            break
        small = float(np.linalg.norm(step)) < SETTLED
        local = found
    polished = newton(problem, points, local.kernel, local.conjugate)
    return None if polished is None else (polished, proposal)


def _line_search(
    problem: NonlinearProblem, points: Sample, local: Local, frame: Array, step: Array, slope: float
) -> Local | None:
    assert local.hessian is not None
    count = len(local.hessian_q)
    change = frame @ unpack(step) @ frame.T
    moved = local.hessian[count:, :count] @ pack(change) + pack(local.gradient_q)
    answer = unpack(linalg.cho_solve(linalg.cho_factor(-local.hessian_q), moved))
    for halvings in range(12):
        length = 0.5**halvings
        kernel = local.kernel + length * change
        found = maximise(problem, points, kernel, local.conjugate + length * answer)
        # The second term is what the inner maximum leaves undetermined.
        if found is not None and found.action < local.action + 1e-4 * length * slope + 1e-12:
            return found
    return None


def _adapt(
    problem: NonlinearProblem, normal: Array, kernel: Array, conjugate: Array, proposal: Array
) -> tuple[Local, Sample, Array] | None:
    """max_q S at given F with the proposal brought to H."""
    for _ in range(20):
        points = sample(problem, normal, proposal)
        local = maximise(problem, points, kernel, conjugate)
        if local is None:
            return None
        wanted = _proposal(problem, local)
        if np.linalg.norm(wanted - proposal) < 0.05 * np.linalg.norm(proposal):
            return local, points, proposal
        conjugate, proposal = local.conjugate, wanted
    return None


def _proposal(problem: NonlinearProblem, local: Local) -> Array:
    """H in g, widened where it is narrower than ``NARROWEST`` C."""
    frame = np.linalg.cholesky(covariance(problem, local.kernel))
    half = linalg.solve_triangular(frame, local.second_moment, lower=True)
    values, vectors = np.linalg.eigh(linalg.solve_triangular(frame, half.T, lower=True))
    root = (frame @ vectors) * np.sqrt(np.maximum(values, NARROWEST))
    return np.asarray(root @ root.T)


# --- solutions --------------------------------------------------------------------------------


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
    kernel = _prior(problem, normal) if start is None else _start(problem, start)
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
    starts = [_prior(problem, normal)]
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
    return lift_phi(problem, _coherent(problem, normal, correlation, angle))


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
    c = covariance(problem, _prior(problem, normal))
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
    kernel = _prior(problem, normal)
    conjugate, proposal = np.zeros_like(kernel), covariance(problem, kernel)
    local = None
    for strength in np.linspace(0.0, 1.0, increments + 1)[1:] ** 2:
        points = sample(problem, normal, proposal)
        local = newton(with_signal(problem, float(strength)), points, kernel, conjugate)
        if local is None:
            return None
        kernel, conjugate, proposal = local.kernel, local.conjugate, _proposal(problem, local)
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
    return lift_phi(problem, local.kernel) * _branch_signs(problem, h)


def _branch_signs(problem: NonlinearProblem, h: Array) -> Array:
    """What (T P, T P) kernels are multiplied by to bring H to the branch m >= 0 (THEORY 4)."""
    full = kernel_axes(h, problem.patterns, problem.steps)
    if not problem.sign_symmetric or order_parameter(full, problem.direction) >= 0:
        return np.ones_like(h)
    parity = (-1.0) ** np.repeat(np.arange(problem.steps), problem.patterns)
    return np.asarray(np.multiply.outer(parity, parity))


def _refine(problem: NonlinearProblem, quadrature: Quadrature, coarse: Local) -> Solution:
    """Solve with every scrambling at one proposal, each from the first solution, and average."""
    proposal = _proposal(problem, coarse)
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
        "phi": [lift_phi(problem, local.kernel) for local in found],
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
