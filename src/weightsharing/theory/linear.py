"""Kernel theory of linear networks: the action S(H) and its stationary points (THEORY 3).

    S(H) = 1/2 y^T (kappa + v H_SS)^-1 y + 1/2 [tr(C^-1 H) - ln det(C^-1 H) - dim]
    C(H) = w mask(shift(H)) + u x x^T

``mask`` keeps everything in an RNN and the blocks t = t' in a DNN, whose layers have independent
weights. It acts on C only: the kernel of a DNN supervised at several times does have blocks t != t',
which its shared readout induces.

The kernel is confined to the directions that the inputs can reach: if x^0 = 0 then h^0 = 0 and C
has no inverse. With a basis B of the reachable directions, H = B G B^T,

    S(G) = 1/2 y^T R y + 1/2 [tr(C^-1 G) - ln det(C^-1 G) - dim],   R = (kappa + v E G E^T)^-1,
    C = w B^T mask(A G A^T) B + K,

holds in every case, with A = shift B, K = u B^T x x^T B and E the supervised rows of B. The minimum
is searched in the metric that G itself defines: with G = L L^T a step is G -> L (1 + Z) L^T, which
is positive definite for |Z| < 1, and the Hessian of S with respect to Z is close to the identity
wherever the labels do not act.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, eigsh, minres

from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array, kernel_axes, time_major
from weightsharing.model.symmetry import is_sign_symmetric, label_direction, order_parameter
from weightsharing.model.tasks import Task

# A stationary point counts as converged below this norm of the gradient (whitened, S of order 1).
GRADIENT_TOLERANCE = 1e-9
# Hessians up to these sizes are formed in full, to solve with or to diagonalise; larger ones are only
# applied.
DENSE_SOLVE = 100
DENSE_DIAGONALISE = 600
# Below this change of the action float64 cannot tell descent from ascent.
ACTION_RESOLUTION = 1e-12


@dataclass(frozen=True)
class LinearProblem:
    """The data of S(G) in the reachable directions, of number d.

    basis B: (T P, d), rows t P + p. shifted A = shift B: (T P, d). mask: (T P, T P), 1 where C keeps
    the recurrent term. input_kernel K: (d, d). readout E: (supervised, d). labels y: (supervised,).
    w, v, kappa: as in THEORY 1 and 2. patterns, steps: P and T. direction: the unit vector over
    patterns that defines the order parameter. sign_symmetric: THEORY 4.
    """

    basis: Array
    shifted: Array
    mask: Array
    input_kernel: Array
    readout: Array
    labels: Array
    w: float
    v: float
    kappa: float
    patterns: int
    steps: int
    direction: Array
    sign_symmetric: bool

    @property
    def dimension(self) -> int:
        """Number d of reachable directions."""
        return int(self.basis.shape[1])


@dataclass(frozen=True)
class StationaryPoint:
    """A solution of dS/dH = 0.

    kernel: G in the reachable directions, (d, d). action: S. gradient_norm: Frobenius norm of the
    whitened gradient. lowest_curvature: lowest eigenvalue of the whitened Hessian, positive at a
    minimum.
    """

    kernel: Array
    action: float
    gradient_norm: float
    lowest_curvature: float

    @property
    def converged(self) -> bool:
        """Whether the gradient vanishes to ``GRADIENT_TOLERANCE``."""
        return self.gradient_norm < GRADIENT_TOLERANCE


def linear_problem(task: Task, architecture: Architecture, kappa: float) -> LinearProblem:
    """S(G) of a linear network on a task (THEORY 3), reduced to the reachable directions.

    Raises ValueError if the activation is not linear or no input differs from 0.
    """
    if architecture.activation != "linear":
        raise ValueError(
            f"activation: got {architecture.activation!r}, the linear theory needs 'linear'"
        )
    patterns, steps, features = task.inputs.shape
    prior = architecture.prior
    inputs = task.inputs.transpose(1, 0, 2).reshape(steps * patterns, features)
    time = np.repeat(np.arange(steps), patterns)
    same_time = np.equal.outer(time, time)
    mask = np.ones(same_time.shape) if architecture.kind == "rnn" else same_time.astype(np.float64)

    # The range of C: of one step, then of the next given that one, until it grows no more.
    shift = np.eye(steps * patterns, k=-patterns)
    basis = _range(inputs @ inputs.T)
    for _ in range(steps - 1):
        carried = shift @ basis
        basis = _range(inputs @ inputs.T + mask * (carried @ carried.T))
    if basis.shape[1] == 0:
        raise ValueError("task inputs: all zero, so every activity is zero and there is no kernel")
    if basis.shape[1] == steps * patterns:
        basis = np.eye(steps * patterns)

    supervised = np.flatnonzero(time_major(task.supervised))
    return LinearProblem(
        basis=basis,
        shifted=shift @ basis,
        mask=mask,
        input_kernel=prior.u * basis.T @ inputs @ inputs.T @ basis,
        readout=basis[supervised],
        labels=time_major(task.targets)[supervised],
        w=prior.w,
        v=prior.v,
        kappa=kappa,
        patterns=patterns,
        steps=steps,
        direction=label_direction(task),
        sign_symmetric=is_sign_symmetric(task, architecture),
    )


def full_kernel(problem: LinearProblem, kernel: Array) -> Array:
    """H = B G B^T with the axes (pattern, pattern_, time, time_)."""
    matrix = problem.basis @ kernel @ problem.basis.T
    return kernel_axes(matrix, problem.patterns, problem.steps)


def coherence(problem: LinearProblem, kernel: Array) -> float:
    """The order parameter m of G: temporal coherence of the last two steps along the labels."""
    return float(order_parameter(full_kernel(problem, kernel), problem.direction))


def covariance(problem: LinearProblem, kernel: Array) -> Array:
    """C = w B^T mask(A G A^T) B + K, the prior covariance of a neuron given the kernel (THEORY 3)."""
    return problem.w * carry(problem, kernel) + problem.input_kernel


def prior_kernel(problem: LinearProblem) -> Array:
    """The kernel without data: the fixed point G = C(G), reached in T steps."""
    kernel = problem.input_kernel
    for _ in range(problem.steps):
        kernel = covariance(problem, kernel)
    return kernel


def action(problem: LinearProblem, kernel: Array) -> float:
    """S(G); infinite where G is not positive definite."""
    try:
        factor = np.linalg.cholesky(kernel)
        factor_c = np.linalg.cholesky(covariance(problem, kernel))
    except np.linalg.LinAlgError:
        return np.inf
    whitened = linalg.solve_triangular(factor_c, factor, lower=True)
    log_determinant = 2.0 * (np.log(np.diag(factor)).sum() - np.log(np.diag(factor_c)).sum())
    loss = problem.labels @ np.linalg.solve(_noisy_readout(problem, kernel), problem.labels)
    return float(0.5 * loss + 0.5 * ((whitened**2).sum() - log_determinant - problem.dimension))


@dataclass(frozen=True)
class Local:
    """What gradient and Hessian at one G share."""

    problem: LinearProblem
    inverse: Array  # G^-1
    inverse_c: Array  # C^-1
    mismatch: Array  # M = C^-1 (G - C) C^-1
    pull: Array  # b = E^T R y
    response: Array  # E^T R E
    kernel: Array

    def gradient(self) -> Array:
        """dS/dG, symmetric (d, d)."""
        p = self.problem
        back = carry_back(p, self.mismatch)
        loss = np.outer(self.pull, self.pull)
        return np.asarray(0.5 * (self.inverse_c - self.inverse - p.w * back - p.v * loss))

    def hessian_product(self, direction: Array) -> Array:
        """Derivative of the gradient along ``direction``, shape (..., d, d), symmetric."""
        p = self.problem
        moved = p.w * carry(p, direction)
        moved_inverse = self.inverse_c @ moved @ self.inverse_c
        term = moved_inverse @ self.kernel @ self.inverse_c
        moved_mismatch = (
            self.inverse_c @ direction @ self.inverse_c - term - _transpose(term) + moved_inverse
        )
        bent = self.response @ direction @ self.pull
        loss = bent[..., :, None] * self.pull
        return np.asarray(
            0.5
            * (
                self.inverse @ direction @ self.inverse
                - moved_inverse
                - p.w * carry_back(p, moved_mismatch)
                + p.v**2 * (loss + _transpose(loss))
            )
        )


def gradient(problem: LinearProblem, kernel: Array) -> Array:
    """dS/dG, symmetric (d, d): dS = tr(gradient dG)."""
    return local_expansion(problem, kernel).gradient()


def hessian_product(problem: LinearProblem, kernel: Array, direction: Array) -> Array:
    """The derivative of ``gradient`` along symmetric ``direction``, shape (..., d, d)."""
    return local_expansion(problem, kernel).hessian_product(direction)


def coordinates(problem: LinearProblem) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row and column indices (i <= j) of the independent entries of G."""
    rows, columns, _ = _coordinates(problem.dimension)
    return rows, columns


@lru_cache(maxsize=32)
def _coordinates(dimension: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Rows, columns and the factor 1 or sqrt 2 that each coordinate carries."""
    rows, columns = np.triu_indices(dimension)
    return rows, columns, np.where(rows == columns, 1.0, np.sqrt(2.0))


def pack(problem: LinearProblem, symmetric: Array) -> Array:
    """Symmetric (..., d, d) to coordinates (..., n); off-diagonal entries carry sqrt 2.

    The Euclidean scalar product of coordinates is the Frobenius product of matrices.
    """
    rows, columns, factor = _coordinates(problem.dimension)
    return np.asarray(symmetric[..., rows, columns] * factor)


def unpack(problem: LinearProblem, vector: Array) -> Array:
    """The inverse of ``pack``."""
    rows, columns, factor = _coordinates(problem.dimension)
    scaled = vector / factor
    symmetric = np.zeros((*vector.shape[:-1], problem.dimension, problem.dimension))
    symmetric[..., rows, columns] = scaled
    symmetric[..., columns, rows] = scaled
    return symmetric


def hessian_matrix(problem: LinearProblem, kernel: Array, frame: Array | None = None) -> Array:
    """The Hessian of S in coordinates, (n, n); of Z in G -> L (1 + Z) L^T if a frame L is given."""
    local = local_expansion(problem, kernel)
    identity = np.eye(coordinates(problem)[0].size)
    if frame is not None:
        return _whitened_product(problem, local, frame, identity)
    return pack(problem, local.hessian_product(unpack(problem, identity)))


def stationary_point(problem: LinearProblem, kernel: Array) -> StationaryPoint:
    """Action, whitened gradient norm and lowest whitened curvature of a kernel."""
    return StationaryPoint(
        kernel=kernel,
        action=action(problem, kernel),
        gradient_norm=whitened_norm(problem, kernel),
        lowest_curvature=lowest_curvature(problem, kernel)[0],
    )


def lowest_curvature(problem: LinearProblem, kernel: Array) -> tuple[float, Array]:
    """Lowest eigenvalue of the whitened Hessian, and its direction as a change of G, (d, d)."""
    frame = np.linalg.cholesky(kernel)
    size = coordinates(problem)[0].size
    if size <= DENSE_DIAGONALISE:
        values, vectors = linalg.eigh(
            hessian_matrix(problem, kernel, frame), subset_by_index=(0, 0), driver="evr"
        )
    else:
        local = local_expansion(problem, kernel)
        product = partial(_whitened_product, problem, local, frame)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        values, vectors = eigsh(operator, k=1, which="SA", v0=np.ones(size))
    return float(values[0]), frame @ unpack(problem, vectors[:, 0]) @ frame.T


def minimise(problem: LinearProblem, start: Array, max_iterations: int = 500) -> Array:
    """Local minimum of S from ``start`` by a trust-region Newton method in the metric of G.

    Each step solves the trust-region problem by truncated conjugate gradients (Steihaug 1983) in
    the whitened coordinates Z, radius below 1 so that G stays positive definite. Converges
    quadratically; returns the last iterate, to be judged by ``stationary_point``.
    """
    kernel, value, radius = start, action(problem, start), 0.5
    for _ in range(max_iterations):
        frame = np.linalg.cholesky(kernel)
        local = local_expansion(problem, kernel)
        slope = pack(problem, frame.T @ local.gradient() @ frame)
        norm = float(np.linalg.norm(slope))
        if norm < 0.01 * GRADIENT_TOLERANCE:
            break
        product = _whitened_hessian(problem, local, frame)
        step = _steihaug(product, slope, radius, min(0.1, norm))
        predicted = -float(slope @ step + 0.5 * step @ product(step))
        trial = frame @ (np.eye(problem.dimension) + unpack(problem, step)) @ frame.T
        trial = 0.5 * (trial + trial.T)
        trial_value = action(problem, trial)
        if predicted < ACTION_RESOLUTION * max(1.0, abs(value)):
            # Too close for the action to judge: the gradient decides.
            trial_norm = whitened_norm(problem, trial) if np.isfinite(trial_value) else np.inf
            if trial_norm >= norm:
                break
            kernel, value = trial, trial_value
            continue
        gain = (value - trial_value) / predicted
        if gain > 0.05:
            kernel, value = trial, trial_value
        length = float(np.linalg.norm(step))
        if gain < 0.25:
            radius = 0.25 * length
        elif gain > 0.75 and length > 0.9 * radius:
            radius = min(2.0 * radius, 0.9)
    return kernel


def newton(problem: LinearProblem, start: Array, max_iterations: int = 30) -> Array | None:
    """Nearest stationary point, of any index, by Newton's method; None if it does not converge."""
    kernel = start
    for _ in range(max_iterations):
        try:
            frame = np.linalg.cholesky(kernel)
        except np.linalg.LinAlgError:
            return None
        local = local_expansion(problem, kernel)
        slope = pack(problem, frame.T @ local.gradient() @ frame)
        if np.linalg.norm(slope) < 0.1 * GRADIENT_TOLERANCE:
            return kernel
        if slope.size <= DENSE_SOLVE:
            hessian = _whitened_product(problem, local, frame, np.eye(slope.size))
            step = linalg.solve(hessian, -slope, assume_a="sym", check_finite=False)
        else:
            product = partial(_whitened_product, problem, local, frame)
            operator = LinearOperator((slope.size,) * 2, matvec=product, dtype=np.float64)
            step, _ = minres(operator, -slope, rtol=1e-10)
        step *= min(1.0, 0.9 / float(np.linalg.norm(step)))
        kernel = frame @ (np.eye(problem.dimension) + unpack(problem, step)) @ frame.T
        kernel = 0.5 * (kernel + kernel.T)
    return kernel if whitened_norm(problem, kernel) < GRADIENT_TOLERANCE else None


def with_signal(problem: LinearProblem, strength: float) -> LinearProblem:
    """The same problem with lambda multiplied by ``strength``, i.e. labels by its square root."""
    return replace(problem, labels=problem.labels * np.sqrt(strength))


def predict(problem: LinearProblem, kernel: Array) -> Array:
    """Mean output at all output times, f = v H_(.,S) (kappa + v H_SS)^-1 y, (pattern, output_time)."""
    answer = np.linalg.solve(_noisy_readout(problem, kernel), problem.labels)
    outputs = problem.v * problem.basis @ kernel @ problem.readout.T @ answer
    return outputs.reshape(problem.steps, problem.patterns).T


def carry(problem: LinearProblem, kernel: Array) -> Array:
    """B^T mask(A G A^T) B: the kernel of one step as seen by the next, shape (..., d, d)."""
    moved = problem.mask * (problem.shifted @ kernel @ problem.shifted.T)
    return np.asarray(problem.basis.T @ moved @ problem.basis)


def carry_back(problem: LinearProblem, conjugate: Array) -> Array:
    """The adjoint of ``carry``, A^T mask(B M B^T) A."""
    moved = problem.mask * (problem.basis @ conjugate @ problem.basis.T)
    return np.asarray(problem.shifted.T @ moved @ problem.shifted)


def _noisy_readout(problem: LinearProblem, kernel: Array) -> Array:
    """Kappa + v E G E^T."""
    supervised = problem.readout @ kernel @ problem.readout.T
    return problem.kappa * np.eye(problem.labels.size) + problem.v * supervised


def local_expansion(problem: LinearProblem, kernel: Array) -> Local:
    """The matrices that derivatives of S at G are made of."""
    inverse = np.linalg.inv(kernel)
    inverse_c = np.linalg.inv(covariance(problem, kernel))
    resolvent = np.linalg.inv(_noisy_readout(problem, kernel))
    return Local(
        problem=problem,
        inverse=0.5 * (inverse + inverse.T),
        inverse_c=0.5 * (inverse_c + inverse_c.T),
        mismatch=inverse_c @ kernel @ inverse_c - inverse_c,
        pull=problem.readout.T @ (resolvent @ problem.labels),
        response=problem.readout.T @ resolvent @ problem.readout,
        kernel=kernel,
    )


def whitened_norm(problem: LinearProblem, kernel: Array) -> float:
    """Frobenius norm of L^T (dS/dG) L with G = L L^T: 0 at a stationary point, S of order 1."""
    frame = np.linalg.cholesky(kernel)
    return float(np.linalg.norm(frame.T @ gradient(problem, kernel) @ frame))


def _whitened_product(problem: LinearProblem, local: Local, frame: Array, vector: Array) -> Array:
    """The Hessian in Z, G -> L (1 + Z) L^T, times packed vectors (..., n)."""
    direction = frame @ unpack(problem, vector) @ frame.T
    return pack(problem, frame.T @ local.hessian_product(direction) @ frame)


def _whitened_hessian(
    problem: LinearProblem, local: Local, frame: Array
) -> Callable[[Array], Array]:
    """Multiplication by the Hessian in Z, which is formed once where it is small."""
    size = coordinates(problem)[0].size
    if size > DENSE_SOLVE:
        return partial(_whitened_product, problem, local, frame)
    matrix = _whitened_product(problem, local, frame, np.eye(size))
    return lambda vector: np.asarray(matrix @ vector)


def _steihaug(
    product: Callable[[Array], Array], slope: Array, radius: float, tolerance: float
) -> Array:
    """Truncated conjugate gradients for min slope.z + z.Hz/2, |z| <= radius."""
    z = np.zeros_like(slope)
    residual, direction = -slope, -slope
    for _ in range(2 * slope.size + 10):
        bent = product(direction)
        curvature = float(direction @ bent)
        square = float(residual @ residual)
        if curvature <= 0.0:
            return z + _to_boundary(z, direction, radius) * direction
        length = square / curvature
        if np.linalg.norm(z + length * direction) >= radius:
            return z + _to_boundary(z, direction, radius) * direction
        z = z + length * direction
        residual = residual - length * bent
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(slope):
            break
        direction = residual + float(residual @ residual) / square * direction
    return z


def _to_boundary(z: Array, direction: Array, radius: float) -> float:
    a, b, c = direction @ direction, 2.0 * z @ direction, z @ z - radius**2
    return float((-b + np.sqrt(b * b - 4.0 * a * c)) / (2.0 * a))


def _range(columns: Array) -> Array:
    """Orthonormal basis of the column space of a symmetric matrix."""
    left, values, _ = np.linalg.svd(columns)
    return left[:, values > 1e-10 * max(1.0, values.max(initial=0.0))]


def _transpose(matrices: Array) -> Array:
    return np.swapaxes(matrices, -1, -2)
