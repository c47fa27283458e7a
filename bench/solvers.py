"""Time of a solution of the theory.

The linear theory is timed against T P, beside gradient descent on the same action. The nonlinear
theory is that of figure 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from weightsharing.model.architecture import Architecture
from weightsharing.model.tasks import EndpointTask, SinusoidTask
from weightsharing.theory import search
from weightsharing.theory.action import action, gradient
from weightsharing.theory.minimiser import minimise
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import LinearProblem, linear_problem, nonlinear_problem
from weightsharing.theory.search import coherent_start, stationary_points

Value = TypeVar("Value")

STEPS, KAPPA, SIGNAL = 8, 0.1, 4.0
# Figure 2: T, kappa, and a quadrature whose standard error of S is below 1e-4.
NONLINEAR_STEPS, NONLINEAR_KAPPA = 10, 0.5
NONLINEAR_QUADRATURE = search.Quadrature(points=2**15, scramblings=4)
# Gradient descent stops at this norm of the gradient, or after this many seconds.
DESCENT_TOLERANCE = 1e-6
LONGEST_DESCENT = 60.0


def measure(patterns: int) -> dict[str, float]:
    """Times of solutions for figure 3's RNN with T = 8 and this number of patterns.

    The signal strength does not depend on the number of patterns. Seconds for one minimum, for all
    stationary points, and for one minimum by gradient descent; then the norm of the whitened gradient
    at the end of the descent.
    """
    label = (SIGNAL / patterns) ** 0.5
    task = EndpointTask(labels=(label,) * patterns).make(STEPS)
    problem = linear_problem(task, Architecture(kind="rnn", steps=STEPS), KAPPA)
    start = coherent_start(problem)
    minimum, _ = _timed(lambda: minimise(problem, start))
    all_points, _ = _timed(lambda: stationary_points(problem))
    descent, norm = _timed(lambda: descend(problem, start))
    return {
        "minimum_seconds": minimum,
        "all_points_seconds": all_points,
        "descent_seconds": descent,
        "descent_norm": norm,
    }


def measure_nonlinear() -> tuple[float, StationaryPoint]:
    """Seconds of the nonlinear theory of figure 2, from the prior kernel, and its solution."""
    architecture = Architecture(kind="rnn", activation="erf", steps=NONLINEAR_STEPS)
    task = SinusoidTask().make(NONLINEAR_STEPS)

    def solve() -> StationaryPoint:
        problem = nonlinear_problem(task, architecture, NONLINEAR_KAPPA)
        return search.descend(problem, NONLINEAR_QUADRATURE)

    return _timed(solve)


def _timed(function: Callable[[], Value]) -> tuple[float, Value]:
    """Seconds of one call, and its value."""
    started = time.perf_counter()
    value = function()
    return time.perf_counter() - started, value


def descend(problem: LinearProblem, start: np.ndarray) -> float:
    """Final norm of the gradient of S, by gradient descent in the metric of G with backtracking.

    G -> L (1 - eta Z) L^T with G = L L^T and Z the whitened gradient. These are the steps of
    ``minimise`` without the Hessian.
    """
    kernel, value, rate = start, action(problem, start), 1.0
    started = time.perf_counter()
    norm = np.inf
    while time.perf_counter() - started < LONGEST_DESCENT:
        frame = np.linalg.cholesky(kernel)
        slope = frame.T @ gradient(problem, kernel) @ frame
        norm = float(np.linalg.norm(slope))
        if norm < DESCENT_TOLERANCE:
            break
        while True:
            trial = frame @ (np.eye(len(slope)) - rate * slope) @ frame.T
            trial_value = action(problem, 0.5 * (trial + trial.T))
            if trial_value < value or rate < 1e-12:
                break
            rate *= 0.5
        if rate < 1e-12:
            break
        kernel, value, rate = 0.5 * (trial + trial.T), trial_value, 1.5 * rate
    return norm
