"""The time of a solution: of the linear theory against T P, beside gradient descent on the same action,
and of the nonlinear theory of figure 2.
"""

from __future__ import annotations

import time

import numpy as np
import xarray as xr

from bench.clock import seconds_once, table
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
# Gradient descent stops at this norm of the gradient, or after this many seconds.
DESCENT_TOLERANCE = 1e-6
LONGEST_DESCENT = 60.0


def measure(patterns: list[int]) -> xr.Dataset:
    """Seconds of the linear theory at each T P, and of the nonlinear theory of figure 2."""
    linear = table(_linear, size=[STEPS * number for number in patterns])
    return linear.merge(table(_nonlinear))


def _linear(size: int) -> dict[str, float]:
    """Figure 3's RNN with T = 8 at this T P, at the same signal strength.

    descent_norm: norm of the whitened gradient that the descent ended at.
    """
    patterns = size // STEPS
    task = EndpointTask(labels=((SIGNAL / patterns) ** 0.5,) * patterns).make(STEPS)
    problem = linear_problem(task, Architecture(kind="rnn", steps=STEPS), KAPPA)
    start = coherent_start(problem)
    descent, norm = seconds_once(lambda: descend(problem, start))
    return {
        "minimum_seconds": seconds_once(lambda: minimise(problem, start))[0],
        "all_points_seconds": seconds_once(lambda: stationary_points(problem))[0],
        "descent_seconds": descent,
        "descent_norm": norm,
    }


def _nonlinear() -> dict[str, float]:
    """The nonlinear theory of figure 2, from the prior kernel."""
    architecture = Architecture(kind="rnn", activation="erf", steps=NONLINEAR_STEPS)
    task = SinusoidTask().make(NONLINEAR_STEPS)

    def solve() -> StationaryPoint:
        problem = nonlinear_problem(task, architecture, NONLINEAR_KAPPA)
        return search.descend(problem, NONLINEAR_QUADRATURE)

    taken, solution = seconds_once(solve)
    return {
        "nonlinear_seconds": taken,
        "nonlinear_action": solution.action,
        "nonlinear_action_error": solution.action_error,
        "nonlinear_phi_error": float(solution.phi_error.max()),
    }


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
            trial = 0.5 * (trial + trial.T)
            trial_value = action(problem, trial)
            if trial_value < value or rate < 1e-12:
                break
            rate *= 0.5
        if rate < 1e-12:
            break
        kernel, value, rate = trial, trial_value, 1.5 * rate
    return norm
