"""The data of the actions S(G) and S(F, q), reduced to the reachable directions (THEORY 3, 9).

A direction of h or phi(h) that the inputs cannot reach is 0 in every draw: if x^0 = 0, then h^0 = 0 and
C has no inverse. Kernels are therefore written in bases of the reachable directions, which remove the
others exactly. Let B be a basis for h and V one for phi(h), with left inverses B^+ and V^+. Then

    linear:     H = B G B^T with orthonormal B = V,     K = u B^T x x^T B
    nonlinear:  h = B g, phi(h) = V psi, Phi = V F V^T,   K = u B^+ x x^T B^+T

If every direction is reachable, all bases are the identity.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.architecture import LARGEST_INTEGRAL, Architecture
from weightsharing.model.axes import Array, kernel_axes, time_major
from weightsharing.model.symmetry import label_direction, order_parameter, task_reflection
from weightsharing.model.task import Task
from weightsharing.theory.symmetric import pack, packed_size, unpack

ActivationFunction = Callable[[Array], Array]
AnyProblem = TypeVar("AnyProblem", bound="Problem")


# Singular values of a linear covariance below this are zero, relative to the largest or to 1.
UNREACHABLE = 1e-10
# Eigenvalues of correlation matrices below the first are zero, above the second they are not.
# In between, float64 cannot tell a dependence from a near dependence.
DEPENDENT, INDEPENDENT = 1e-12, 1e-8
# Entries of a kernel below this, relative to its largest, are 0 up to the errors of the solvers.
ROUNDING = 1e-6
NO_INPUT = "task inputs: all zero, so every activity is zero and there is no kernel"


@dataclass(frozen=True)
class Problem:
    """The data that both actions share.

    basis V: (T P, k), rows t P + p; inverse V^+: (k, T P). mask: (T P, T P), 1 where C keeps the
    recurrent term. labels y: (supervised, D) of D readouts, at the indices ``supervised`` of t P + p;
    only y y^T and D enter. w, v, kappa: as in THEORY 1 and 2. patterns, steps: P and T. direction: of
    ``label_direction``, (P,) or (P, D); it defines the order parameter. reflection R: (T P, T P), with
    which W -> -W maps H to R H R^T; None if that is no symmetry (THEORY 4).
    """

    basis: Array
    inverse: Array
    input_kernel: Array
    mask: Array
    supervised: NDArray[np.intp]
    labels: Array
    w: float
    v: float
    kappa: float
    patterns: int
    steps: int
    direction: Array
    reflection: Array | None

    @cached_property
    def readout(self) -> Array:
        """E, the supervised rows of V, (supervised, k)."""
        return np.asarray(self.basis[self.supervised])


@dataclass(frozen=True)
class LinearProblem(Problem):
    """The data of S(G) in the reachable directions, of number d = k.

    input_kernel K: (d, d). shifted A = shift B: (T P, d).
    """

    shifted: Array

    @property
    def dimension(self) -> int:
        """Number d of reachable directions."""
        return int(self.basis.shape[1])


@dataclass(frozen=True)
class NonlinearProblem(Problem):
    """The data of S(F, q).

    lift B: (T P, d); lower B^+: (d, T P). input_kernel K: (d, d). jacobian: the derivative of C with
    respect to F, in coordinates. activation: phi, elementwise.
    """

    lift: Array
    lower: Array
    jacobian: Array
    activation: ActivationFunction

    @property
    def dimension(self) -> int:
        """Number d of reachable directions of h, the dimension of the integral."""
        return int(self.lift.shape[1])


def linear_problem(task: Task, architecture: Architecture, kappa: float) -> LinearProblem:
    """S(G) of a linear network on a task (THEORY 3).

    Raises ValueError if the activation is not linear or all inputs are 0.
    """
    if architecture.activation != "linear":
        raise ValueError(
            f"activation: got {architecture.activation!r}, the linear theory needs 'linear'"
        )
    inputs, shift, common = _common(task, architecture, kappa)
    mask, size = common["mask"], len(shift)

    # The range of C: of the first step, then of the next given that one, for all steps.
    basis = _range(inputs @ inputs.T)
    for _ in range(task.steps - 1):
        carried = shift @ basis
        basis = _range(inputs @ inputs.T + mask * (carried @ carried.T))
    if basis.shape[1] == 0:
        raise ValueError(NO_INPUT)
    if basis.shape[1] == size:
        basis = np.eye(size)
    return LinearProblem(
        **common,
        basis=basis,
        inverse=basis.T,
        shifted=shift @ basis,
        input_kernel=architecture.prior.u * basis.T @ inputs @ inputs.T @ basis,
    )


def nonlinear_problem(
    task: Task,
    architecture: Architecture,
    kappa: float,
    activation: ActivationFunction | None = None,
) -> NonlinearProblem:
    """S(F, q) of a network on a task (THEORY 9).

    activation: an elementwise function; by default the architecture's.
    Raises ValueError in these cases: T P exceeds ``LARGEST_INTEGRAL``; all
    inputs are 0; patterns are so nearly dependent that float64 cannot tell; a product phi phi'
    does not fluctuate, so that the maximum over Q does not define its conjugate.
    """
    phi = architecture.phi if activation is None else activation
    size = task.steps * task.patterns
    if size > LARGEST_INTEGRAL:
        raise ValueError(
            f"task: T P = {task.steps} x {task.patterns} = {size} exceeds {LARGEST_INTEGRAL}, the "
            "largest dimension of the single-neuron integral; use the exact sampler over activities "
            "at large N"
        )
    inputs, shift, common = _common(task, architecture, kappa)
    mask: Array = common["mask"]
    prior = architecture.prior

    # Only the supports matter here, so a few thousand random points are enough.
    input_kernel = prior.u * inputs @ inputs.T

    def covariance(moments: Array) -> Array:
        return np.asarray(prior.w * mask * (shift @ moments @ shift.T) + input_kernel)

    normal = np.random.default_rng(0).standard_normal((4096, size))
    values, moments = untrained(phi, covariance, normal, np.zeros((size, size)), task.steps)
    lift, lower = _support(covariance(moments))
    basis, inverse = _support(moments)
    _refuse_constant_products(values @ inverse.T)

    shifted = shift @ basis
    directions = unpack(np.eye(packed_size(basis.shape[1])))
    moved = lower @ (mask * (shifted @ directions @ shifted.T)) @ lower.T
    grid = np.linspace(0.1, 3.0, 30)
    if not np.allclose(phi(-grid), -phi(grid), rtol=0, atol=1e-12):
        common["reflection"] = None
    return NonlinearProblem(
        **common,
        basis=basis,
        inverse=inverse,
        lift=lift,
        lower=lower,
        input_kernel=lower @ input_kernel @ lower.T,
        jacobian=prior.w * pack(moved).T,
        activation=phi,
    )


def with_signal(problem: AnyProblem, strength: float) -> AnyProblem:
    """The same problem with lambda multiplied by ``strength``, and the labels by its square root."""
    return replace(problem, labels=problem.labels * np.sqrt(strength))


def full_matrix(problem: Problem, kernel: Array) -> Array:
    """V K V^T, (T P, T P), from a kernel in the reachable directions, (k, k)."""
    return np.asarray(problem.basis @ kernel @ problem.basis.T)


def full_kernel(problem: Problem, kernel: Array) -> Array:
    """V K V^T with the axes (pattern, pattern_, time, time_)."""
    return kernel_axes(full_matrix(problem, kernel), problem.patterns, problem.steps)


def coherence(problem: Problem, kernel: Array) -> float:
    """The order parameter m of G: temporal coherence of the last two steps along the labels."""
    return float(order_parameter(full_kernel(problem, kernel), problem.direction))


def branch_reflection(problem: Problem, h: Array) -> Array:
    """R or 1, (T P, T P), which brings kernels K to the branch m >= 0 as R K R^T, given H (THEORY 4).

    Where m vanishes up to rounding, the first entry of H that R reverses and that does not decides: of
    two mirror images, both give the same one.
    """
    identity = np.eye(len(h))
    if problem.reflection is None:
        return identity
    m = order_parameter(kernel_axes(h, problem.patterns, problem.steps), problem.direction)
    reversed_part = 0.5 * (h - problem.reflection @ h @ problem.reflection.T)
    values = np.concatenate([[m], reversed_part.ravel()])
    decisive = values[np.abs(values) > ROUNDING * np.abs(h).max()]
    return problem.reflection if decisive.size and decisive[0] < 0.0 else identity


def noisy_readout(problem: Problem, kernel: Array) -> Array:
    """kappa + v E K E^T, (supervised, supervised): the covariance of the labels, times N."""
    supervised = problem.readout @ kernel @ problem.readout.T
    return np.asarray(problem.kappa * np.eye(len(problem.labels)) + problem.v * supervised)


def outputs_of(problem: Problem, flat: Array) -> Array:
    """Outputs of index t P + p, (T P, D), as (pattern, output_time); a readout axis behind if D > 1."""
    outputs = flat.reshape(problem.steps, problem.patterns, -1).swapaxes(0, 1)
    return np.ascontiguousarray(outputs[..., 0] if outputs.shape[2] == 1 else outputs)


def predict(problem: Problem, phi: Array) -> Array:
    """Mean output at all output times, v Phi_(.,S) (kappa + v Phi_SS)^-1 y (THEORY 3).

    phi: Phi, (T P, T P), which is H in a linear network. Returns shape (pattern, output_time), with the
    axis of readouts if there are several.
    """
    chosen = problem.supervised
    noisy = problem.kappa * np.eye(chosen.size) + problem.v * phi[np.ix_(chosen, chosen)]
    outputs = problem.v * phi.take(chosen, axis=1) @ np.linalg.solve(noisy, problem.labels)
    return outputs_of(problem, outputs)


def untrained(
    features: ActivationFunction,
    covariance: ActivationFunction,
    normal: Array,
    moments: Array,
    steps: int,
) -> tuple[Array, Array]:
    """Features of networks without data, (points, k), and their second moments, (k, k).

    The recursion t -> t + 1 over the points of N(0, 1), normal (points, d). features: of activities
    (points, d). covariance: of one step's activities, (d, d), given the moments of the step before,
    which are ``moments`` at first.
    """
    # Each pass makes one more block row of C exact; the triangular root keeps the earlier ones.
    for _ in range(steps):
        values = features(normal @ _triangular_root(covariance(moments)).T)
        moments = values.T @ values / len(values)
    return values, moments


def _triangular_root(covariance: Array) -> Array:
    """Lower triangular L with L L^T = covariance, which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    _, upper = np.linalg.qr(root.T)
    return np.asarray((upper * np.where(np.diag(upper) < 0.0, -1.0, 1.0)[:, None]).T)


def _common(
    task: Task, architecture: Architecture, kappa: float
) -> tuple[Array, Array, dict[str, Any]]:
    """The inputs (T P, feature), the matrix that shifts by one step, and fields of ``Problem``."""
    patterns, steps, features = task.inputs.shape
    if not np.any(task.inputs):
        raise ValueError(NO_INPUT)
    inputs = task.inputs.transpose(1, 0, 2).reshape(steps * patterns, features)
    time = np.repeat(np.arange(steps), patterns)
    same_time = np.equal.outer(time, time)
    supervised = np.flatnonzero(time_major(task.supervised))
    signs = task_reflection(task) if architecture.kind == "rnn" else None
    common = {
        "mask": np.ones(same_time.shape) if architecture.kind == "rnn" else same_time.astype(float),
        "supervised": supervised,
        "labels": time_major(task.labels)[supervised],
        "w": architecture.prior.w,
        "v": architecture.prior.v,
        "kappa": kappa,
        "patterns": patterns,
        "steps": steps,
        "direction": label_direction(task),
        "reflection": None if signs is None else np.diag(signs.T.ravel()),
    }
    return inputs, np.eye(steps * patterns, k=-patterns), common


def _range(symmetric: Array) -> Array:
    """Orthonormal basis of the column space of a symmetric matrix."""
    left, values, _ = np.linalg.svd(symmetric)
    return np.asarray(left[:, values > UNREACHABLE * max(1.0, values.max())])


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
    return embedding @ (scale[active, None] * basis), (basis.T / scale[active]) @ embedding.T


def _refuse_constant_products(psi: Array) -> None:
    products = pack(psi[:, :, None] * psi[:, None, :])
    scale = np.sqrt(np.mean(products**2, axis=0))
    scaled = products / np.where(scale > 0.0, scale, 1.0)
    if np.linalg.eigvalsh(np.cov(scaled.T, ddof=0).reshape(scale.size, -1))[0] < DEPENDENT:
        raise ValueError(
            "activation: a combination of the products phi phi' is the same for all activities (as "
            "at h = 0 with phi(0) different from 0, or relu of opposite inputs); not supported"
        )
