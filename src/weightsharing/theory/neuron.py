"""One neuron of a nonlinear network: the data of its action S(F, q), reduced to what is reachable.

What the symbols mean: ``theory.nonlinear``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from weightsharing.model.architecture import LARGEST_INTEGRAL, Architecture
from weightsharing.model.axes import Array, time_major
from weightsharing.model.symmetry import has_one_parity, label_direction
from weightsharing.model.tasks import Task
from weightsharing.theory.packed import pack, packed_size, unpack

ActivationFunction = Callable[[Array], Array]

ACTIVATIONS: dict[str, ActivationFunction] = {
    "linear": lambda h: h,
    "erf": lambda h: np.asarray(special.erf(0.5 * np.sqrt(np.pi) * h)),
    "tanh": lambda h: np.asarray(np.tanh(h)),
    "relu": lambda h: np.asarray(np.maximum(h, 0.0)),
}

# Eigenvalues of correlation matrices below the first are zero, above the second they are not.
# Between the two float64 cannot tell a dependence from a near dependence.
DEPENDENT, INDEPENDENT = 1e-12, 1e-8


@dataclass(frozen=True)
class NonlinearProblem:
    """The data of S(F, q), in the notation of ``theory.nonlinear``.

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
    directions = unpack(np.eye(packed_size(lift_phi.shape[1])))
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


def covariance(problem: NonlinearProblem, kernel: Array) -> Array:
    """C(F), the prior covariance of g given the kernel (THEORY 3), (d, d)."""
    return problem.input_kernel + unpack(problem.jacobian @ pack(kernel))


def full_kernel(problem: NonlinearProblem, kernel: Array) -> Array:
    """Phi = V F V^T, (T P, T P)."""
    return np.asarray(problem.lift_phi @ kernel @ problem.lift_phi.T)


def triangular_root(covariance: Array) -> Array:
    """Lower triangular L with L L^T = covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    _, upper = np.linalg.qr(root.T)
    return np.asarray((upper * np.where(np.diag(upper) < 0.0, -1.0, 1.0)[:, None]).T)


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
        values = activation(deviates @ triangular_root(covariance).T)
        phi = values.T @ values / len(values)
        covariance = weight * (shift @ phi @ shift.T) + input_kernel
    return values, covariance


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
