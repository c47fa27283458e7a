"""The time of a solution: of the linear theory against T P, beside gradient descent on the same action,
and of the nonlinear theory of figure 2.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from weightsharing.model.architecture import Architecture
from weightsharing.model.tasks import EndpointTask, SinusoidTask
from weightsharing.theory import search
from weightsharing.theory.action import action, gradient
from weightsharing.theory.minimiser import minimise
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import LinearProblem, linear_problem, nonlinear_problem
from weightsharing.theory.search import coherent_start, stationary_points

STEPS, KAPPA, SIGNAL = 8, 0.1, 4.0
# Figure 2: T, kappa, and a quadrature whose standard error of S is below 1e-4.
NONLINEAR_STEPS, NONLINEAR_KAPPA = 10, 0.5
NONLINEAR_QUADRATURE = search.Quadrature(points=2**15, scramblings=4)
# Gradient descent stops here, or when it has taken this long.
DESCENT_TOLERANCE = 1e-6
LONGEST_DESCENT = 60.0


@dataclass(frozen=True)
class SolveTime:
    """Seconds for one minimum, for all stationary points, and for one minimum by gradient descent.

    descent_norm: norm of the whitened gradient that the descent ended at.
    """

    minimum: float
    all_points: float
    descent: float
    descent_norm: float


def measure(patterns: int) -> SolveTime:
    """Figure 3's RNN with T = 8 and this number of patterns, at the same signal strength."""
    label = (SIGNAL / patterns) ** 0.5
    task = EndpointTask(labels=(label,) * patterns).make(STEPS)
    problem = linear_problem(task, Architecture(kind="rnn", steps=STEPS), KAPPA)
    start = coherent_start(problem)
    started = time.perf_counter()
    minimise(problem, start)
    minimum = time.perf_counter() - started
    started = time.perf_counter()
    stationary_points(problem)
    everything = time.perf_counter() - started
    started = time.perf_counter()
    norm = descend(problem, start)
    return SolveTime(minimum, everything, time.perf_counter() - started, norm)


def measure_nonlinear() -> tuple[float, StationaryPoint]:
    """Seconds of the nonlinear theory of figure 2, from the prior kernel, and its solution."""
    architecture = Architecture(kind="rnn", activation="erf", steps=NONLINEAR_STEPS)
    task = SinusoidTask().make(NONLINEAR_STEPS)
    started = time.perf_counter()
    problem = nonlinear_problem(task, architecture, NONLINEAR_KAPPA)
    solution = search.descend(problem, NONLINEAR_QUADRATURE)
    return time.perf_counter() - started, solution


def descend(problem: LinearProblem, start: np.ndarray) -> float:
    """Gradient descent on S in the metric of G with backtracking; the final norm of the gradient.

    G -> L (1 - eta Z) L^T with G = L L^T and Z the whitened gradient: the steps of ``minimise`` without
    the Hessian.
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
