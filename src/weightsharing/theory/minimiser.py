"""Newton's method on the action of a linear network, in the metric of the kernel (THEORY 3)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy import linalg
from scipy.sparse.linalg import LinearOperator, minres

from weightsharing.model.axes import Array
from weightsharing.theory.action import Expansion, action, expand, whitened_norm
from weightsharing.theory.point import GRADIENT_TOLERANCE
from weightsharing.theory.problem import LinearProblem
from weightsharing.theory.symmetric import unpack

# Up to this size, a Hessian is formed to solve with it; a larger one is only applied to vectors.
LARGEST_SOLVED = 100
# Changes of the action below this are rounding errors of float64.
ACTION_RESOLUTION = 1e-12


def minimise(problem: LinearProblem, start: Array, max_iterations: int = 500) -> Array:
    """Local minimum of S from ``start``, (d, d), by a trust-region Newton method.

    Each step solves the trust-region problem in the whitened coordinates Z by truncated conjugate
    gradients (Steihaug 1983). The radius stays below 1, so that G stays positive definite. Converges
    quadratically. Returns the last iterate; ``action.stationary_point`` judges it.
    """
    kernel, value, radius = start, action(problem, start), 0.5
    for _ in range(max_iterations):
        frame = np.linalg.cholesky(kernel)
        local = expand(problem, kernel)
        slope = local.slope(frame)
        norm = float(np.linalg.norm(slope))
        if norm < 0.01 * GRADIENT_TOLERANCE:
            break
        product = _curvature(local, frame, slope.size)
        step = _steihaug(product, slope, radius, min(0.1, norm))
        predicted = -float(slope @ step + 0.5 * step @ product(step))
        trial = _moved(frame, step)
        trial_value = action(problem, trial)
        if predicted < ACTION_RESOLUTION * max(1.0, abs(value)):
            # The action cannot resolve the step: accept it if it shortens the gradient.
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
        local = expand(problem, kernel)
        slope = local.slope(frame)
        if np.linalg.norm(slope) < 0.1 * GRADIENT_TOLERANCE:
            return kernel
        if slope.size <= LARGEST_SOLVED:
            curvature = local.curvature(frame, np.eye(slope.size))
            step = linalg.solve(curvature, -slope, assume_a="sym", check_finite=False)
        else:
            product = partial(local.curvature, frame)
            operator = LinearOperator((slope.size,) * 2, matvec=product, dtype=np.float64)
            step, _ = minres(operator, -slope, rtol=1e-10)
        step *= min(1.0, 0.9 / float(np.linalg.norm(step)))
        kernel = _moved(frame, step)
    return kernel if whitened_norm(problem, kernel) < GRADIENT_TOLERANCE else None


def _moved(frame: Array, step: Array) -> Array:
    """L (1 + Z) L^T, symmetric to the last bit."""
    kernel = frame @ (np.eye(len(frame)) + unpack(step)) @ frame.T
    return np.asarray(0.5 * (kernel + kernel.T))


def _curvature(local: Expansion, frame: Array, size: int) -> Callable[[Array], Array]:
    """Multiplication by the whitened Hessian, which is formed once if it is small."""
    if size > LARGEST_SOLVED:
        return partial(local.curvature, frame)
    matrix = local.curvature(frame, np.eye(size))
    return lambda vector: np.asarray(matrix @ vector)


def _steihaug(
    product: Callable[[Array], Array], slope: Array, radius: float, tolerance: float
) -> Array:
    """Truncated conjugate gradients for min slope.z + z.Hz/2 with |z| <= radius."""
    z = np.zeros_like(slope)
    residual, direction = -slope, -slope
    for _ in range(2 * slope.size + 10):
        bent = product(direction)
        curvature = float(direction @ bent)
        square = float(residual @ residual)
        length = square / curvature if curvature > 0.0 else np.inf
        if length == np.inf or np.linalg.norm(z + length * direction) >= radius:
            # The minimum along this direction is outside: stop at the boundary.
            a, b, c = direction @ direction, 2.0 * z @ direction, z @ z - radius**2
            return np.asarray(z + (-b + np.sqrt(b * b - 4.0 * a * c)) / (2.0 * a) * direction)
        z = z + length * direction
        residual = residual - length * bent
        if np.linalg.norm(residual) <= tolerance * np.linalg.norm(slope):
            break
        direction = residual + float(residual @ residual) / square * direction
    return z
