"""The phase transition of the linear RNN: closed forms, ordered branch, Landau curve (THEORY 5).

There is one input at t = 0 and one target at t = T; lambda = sum_p y_p^2. The disordered branch, without
temporal coherence, has a closed form and is the DNN's solution at every lambda. The ordered branch of
the RNN is traced with its order parameter m = H^(T-1,T-2) as the parameter, through folds as well: at
fixed m, dS/dH = 0 is solved for the other entries of H and for lambda.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from weightsharing.errors import SolverError
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.model.axes import Array
from weightsharing.model.tasks import EndpointTask
from weightsharing.theory.action import action, gradient, hessian, lowest_curvature
from weightsharing.theory.problem import LinearProblem, linear_problem
from weightsharing.theory.scan import FEWEST_STEPS, NO_TRANSITION
from weightsharing.theory.symmetric import pack, unpack

# The coordinate of m = H^(T-1,T-2) among the packed entries of H: the second to last.
ORDER_PARAMETER = -2
# Newton's method for a minimum stops when a step would lower S by less than half of this.
NEWTON_DECREMENT = 1e-20
# Newton's method at fixed m stops when the kernel changes by less than this, relative to its norm.
NEWTON_TOLERANCE = 1e-12


def endpoint_signal(growth: float, steps: int, prior: Prior, kappa: float) -> float:
    """lambda of the disordered branch at growth r, (kappa + v c)^2 (r - 1) / (v c), c = u w^(T-1) r^T."""
    endpoint = prior.v * prior.u * prior.w ** (steps - 1) * growth**steps
    return (kappa + endpoint) ** 2 * (growth - 1.0) / endpoint


def diagonal_growth(signal: float, steps: int, prior: Prior, kappa: float) -> float:
    """The growth r >= 1 of the disordered branch at lambda = ``signal``.

    Solves ``endpoint_signal`` = lambda. Where kappa exceeds v c, lambda(r) need not be monotonic;
    the result is the smallest root, which continues r = 1 at lambda = 0. Raises ValueError if
    lambda < 0.
    """
    if signal < 0:
        raise ValueError(f"lambda: got {signal}, must be >= 0")
    if signal == 0:
        return 1.0

    def excess(growth: float) -> float:
        return endpoint_signal(growth, steps, prior, kappa) - signal

    lower, upper = 1.0, 1.0 + 1e-4
    while excess(upper) < 0:
        lower, upper = upper, 1.0 + 1.05 * (upper - 1.0) + 1e-4
    return float(optimize.brentq(excess, lower, upper, xtol=1e-15, rtol=8.9e-16))


def diagonal_kernel(growth: float, steps: int, prior: Prior) -> Array:
    """H^(tt) = u w^t r^(t+1), the kernel of the disordered branch along the labels, shape (time,)."""
    time = np.arange(steps)
    return np.asarray(prior.u * prior.w**time * growth ** (time + 1.0))


def critical_growth(steps: int) -> float:
    """r_c = (T - 1) / (T - 2), where the disordered branch of the RNN loses stability.

    Raises ValueError for T < 3, where there is no transition.
    """
    if steps < FEWEST_STEPS:
        raise ValueError(f"steps: got {steps}; {NO_TRANSITION}")
    return (steps - 1) / (steps - 2)


def critical_signal(steps: int, prior: Prior, kappa: float) -> float:
    """lambda_c = (kappa + v c)^2 (r_c - 1) / (v c) with c = u w^(T-1) r_c^T."""
    return endpoint_signal(critical_growth(steps), steps, prior, kappa)


def endpoint_problem(signal: float, architecture: Architecture, kappa: float) -> LinearProblem:
    """S(H) for one pattern with label sqrt(lambda)."""
    task = EndpointTask(labels=(float(np.sqrt(signal)),)).make(architecture.steps)
    return linear_problem(task, architecture, kappa)


@dataclass(frozen=True)
class Branch:
    """The ordered branch, parametrised by m; arrays (point,), kernel (point, time, time_).

    order_parameter: m > 0. signal: lambda. action: S. curvature: lowest curvature of S.
    """

    order_parameter: Array
    signal: Array
    action: Array
    curvature: Array
    kernel: Array

    @property
    def stable(self) -> NDArray[np.bool_]:
        """Where the branch is a minimum of S: positive curvature, or equivalently d lambda/dm > 0."""
        return self.curvature > 0


def ordered_branch(
    architecture: Architecture, kappa: float, largest_signal: float, smallest: float = 1e-3
) -> Branch:
    """The branch with m > 0, from m = ``smallest`` x H^(T-1,T-1) at lambda_c up to ``largest_signal``.

    m grows geometrically, by steps of at most 3 %. Raises SolverError if Newton's method fails.
    """
    steps, prior = architecture.steps, architecture.prior
    critical = critical_signal(steps, prior, kappa)
    diagonal = np.diag(diagonal_kernel(critical_growth(steps), steps, prior))
    scale = float(diagonal[-1, -1])
    # At lambda_c the branch departs along the direction of vanishing curvature.
    _, soft = lowest_curvature(endpoint_problem(critical, architecture, kappa), diagonal)
    soft /= soft[-1, -2]

    m = smallest * scale
    kernel, signal = _stationary_at(architecture, kappa, m, diagonal + m * soft, critical)
    points = [(0.0, critical, diagonal), (m, signal, kernel)]
    while signal <= largest_signal:
        (m_before, signal_before, before), (m, signal, kernel) = points[-2:]
        m_next = min(1.03 * m, m + 0.02 * scale)
        ahead = (m_next - m) / (m - m_before)
        guess = kernel + ahead * (kernel - before), signal + ahead * (signal - signal_before)
        kernel, signal = _stationary_at(architecture, kappa, m_next, *guess)
        points.append((m_next, signal, kernel))
    order_parameters, signals, kernels = zip(*points[1:], strict=True)
    problems = [endpoint_problem(signal, architecture, kappa) for signal in signals]
    return Branch(
        order_parameter=np.array(order_parameters),
        signal=np.array(signals),
        action=np.array(list(map(action, problems, kernels))),
        curvature=np.array([c for c, _ in map(lowest_curvature, problems, kernels)]),
        kernel=np.stack(kernels),
    )


def critical_exponent(branch: Branch, critical: float, largest: float = 0.02) -> float:
    """Slope of ln m against ln((lambda - lambda_c) / lambda_c) for m -> 0.

    The slope and the first correction, ln m = beta ln e + const + const e, are fitted by least
    squares to the points with 0 < e < ``largest``. Raises ValueError at a first-order transition,
    where the branch starts below lambda_c.
    """
    distance = branch.signal / critical - 1.0
    # Closer than 1e-6 to the transition, rounding errors dominate lambda - lambda_c.
    chosen = (distance > 1e-6) & (distance < largest)
    if distance[0] < 0 or np.count_nonzero(chosen) < 5:
        raise ValueError("critical exponent: the branch does not leave lambda_c upwards")
    log_distance = np.log(distance[chosen])
    design = np.stack([log_distance, np.ones_like(log_distance), distance[chosen]], axis=1)
    fit, *_ = np.linalg.lstsq(design, np.log(branch.order_parameter[chosen]), rcond=None)
    return float(fit[0])


def coexistence_signal(branch: Branch, architecture: Architecture, kappa: float) -> float | None:
    """The lambda at which the stable ordered branch and the disordered one have equal action.

    None for a second-order transition, where the two meet at lambda_c.
    """
    disordered = [disordered_action(signal, architecture, kappa) for signal in branch.signal]
    stable = np.flatnonzero(branch.stable)
    gain = (np.array(disordered) - branch.action)[stable]
    crossing = np.flatnonzero((gain[:-1] < 0) & (gain[1:] >= 0))
    if crossing.size == 0:
        return None
    k = stable[crossing[0]]
    low, high = gain[crossing[0]], gain[crossing[0] + 1]
    fraction = -low / (high - low)
    return float(branch.signal[k] + fraction * (branch.signal[k + 1] - branch.signal[k]))


def disordered_action(signal: float, architecture: Architecture, kappa: float) -> float:
    """S of the disordered branch at lambda = ``signal``."""
    growth = diagonal_growth(signal, architecture.steps, architecture.prior, kappa)
    kernel = np.diag(diagonal_kernel(growth, architecture.steps, architecture.prior))
    return action(endpoint_problem(signal, architecture, kappa), kernel)


@dataclass(frozen=True)
class LandauCurve:
    """F(m) = min S at fixed H^(T-1,T-2) = m, for m >= 0; F(-m) = F(m).

    order_parameter: m, (point,), starting at 0. action: F, (point,). kernel: the minimiser,
    (point, time, time_). log_determinant: ln det of the Hessian of S at fixed m,
    (point,): the Gaussian width of the fluctuations around the minimiser.
    """

    order_parameter: Array
    action: Array
    kernel: Array
    log_determinant: Array


def landau_curve(problem: LinearProblem, order_parameters: Sequence[float] | Array) -> LandauCurve:
    """F(m) on increasing m >= 0, the first of them 0, by Newton's method continued in m, both ways.

    problem: an ``endpoint_problem``. Raises SolverError if Newton's method fails and
    ValueError if the grid does not start at 0.
    """
    grid = np.asarray(order_parameters, dtype=np.float64)
    if grid[0] != 0.0 or np.any(np.diff(grid) <= 0):
        raise ValueError("order parameters: must start at 0 and increase")
    signal = float((problem.labels**2).sum())
    prior = Prior(w=problem.w, u=float(problem.input_kernel[0, 0]), v=problem.v)
    growth = diagonal_growth(signal, problem.steps, prior, problem.kappa)
    kernel = np.diag(diagonal_kernel(growth, problem.steps, prior))

    def sweep(start: Array, values: Array) -> list[Array]:
        kernels = [start]
        for m in values:
            kernels.append(_constrained_minimum(problem, _rescaled(kernels[-1], float(m))))
        return kernels[1:]

    # Sweep up and down: where two minima compete at fixed m, each sweep stays in one for a while.
    upwards = sweep(kernel, grid)
    downwards = sweep(upwards[-1], grid[::-1])[::-1]
    pairs = zip(upwards, downwards, strict=True)
    kernels = [min(pair, key=lambda kernel: action(problem, kernel)) for pair in pairs]
    widths = [_log_determinant(problem, kernel) for kernel in kernels]
    values = [action(problem, kernel) for kernel in kernels]
    return LandauCurve(grid, np.array(values), np.stack(kernels), np.array(widths))


def _hessian_at_fixed_m(problem: LinearProblem, kernel: Array) -> Array:
    """The Hessian of S in all coordinates except m."""
    return np.delete(np.delete(hessian(problem, kernel), ORDER_PARAMETER, 0), ORDER_PARAMETER, 1)


def _log_determinant(problem: LinearProblem, kernel: Array) -> float:
    """ln det of the Hessian at fixed m, positive definite at a minimum."""
    factor = np.linalg.cholesky(_hessian_at_fixed_m(problem, kernel))
    return float(2.0 * np.log(np.diag(factor)).sum())


def _rescaled(kernel: Array, m: float) -> Array:
    """A positive definite kernel near ``kernel`` with H^(T-1,T-2) = m."""
    if m == 0.0:
        # The mean of a kernel and its image under W -> -W.
        parity = (-1.0) ** np.arange(len(kernel))
        return np.asarray(0.5 * (kernel + kernel * np.outer(parity, parity)))
    moved = kernel.copy()
    old = float(kernel[-1, -2])
    if old > 0.0:
        # To scale the last two steps keeps the kernel positive definite.
        moved[-2:] *= np.sqrt(m / old)
        moved[:, -2:] *= np.sqrt(m / old)
    else:
        # So does a positive semidefinite matrix that is added. To set the entry alone does not, where
        # steps at distance 2 are correlated.
        moved[-2:, -2:] += m - old
    moved[-1, -2] = moved[-2, -1] = m
    return moved


def _constrained_minimum(problem: LinearProblem, start: Array, max_iterations: int = 100) -> Array:
    """Minimum of S at fixed m by Newton's method with a halving line search."""
    kernel, value = start, action(problem, start)
    for _ in range(max_iterations):
        slope = np.delete(pack(gradient(problem, kernel)), ORDER_PARAMETER)
        values, vectors = linalg.eigh(_hessian_at_fixed_m(problem, kernel))
        # With the modulus of a negative curvature, Newton's step points downhill.
        move = -vectors @ ((vectors.T @ slope) / np.maximum(np.abs(values), 1e-8))
        change = _at_fixed_m(move)
        if -float(move @ slope) < NEWTON_DECREMENT:
            if values[0] > 0:
                return kernel
            # Leave the saddle along its lowest direction, to the side of positive correlations.
            change = _at_fixed_m(vectors[:, 0])
            change *= np.copysign(0.1 * np.linalg.norm(kernel), change.sum())
        fraction = 1.0
        while (trial := action(problem, kernel + fraction * change)) > value + 1e-13 * abs(value):
            fraction *= 0.5
            if fraction < 1e-10:
                raise SolverError("Landau curve: no descent; use a finer grid of order parameters")
        kernel, value = kernel + fraction * change, trial
    raise SolverError("Landau curve: Newton's method did not converge; use a finer grid")


def _at_fixed_m(move: Array) -> Array:
    """The change of H, (T, T), for a change of all its coordinates except m."""
    return unpack(np.insert(move, ORDER_PARAMETER + 1, 0.0))


def _stationary_at(
    architecture: Architecture, kappa: float, m: float, kernel: Array, signal: float
) -> tuple[Array, float]:
    """H and lambda that solve dS/dH = 0 at fixed m, by Newton's method from a guess of both."""
    for _ in range(50):
        problem = endpoint_problem(signal, architecture, kappa)
        slope = pack(gradient(problem, kernel))
        # The labels enter as 1/2 lambda e^T R e, so d(slope)/d(lambda) = -v/2 E^T R e (E^T R e)^T.
        endpoint = problem.v * kernel[-1, -1]
        by_signal = np.zeros_like(kernel)
        by_signal[-1, -1] = -0.5 * problem.v / (kappa + endpoint) ** 2
        by_kernel = np.delete(hessian(problem, kernel), ORDER_PARAMETER, 1)
        system = np.concatenate([by_kernel, pack(by_signal)[:, None]], axis=1)
        step = np.linalg.solve(system, -slope)
        kernel = kernel + _at_fixed_m(step[:-1])
        signal = signal + float(step[-1])
        if signal <= 0 or np.linalg.eigvalsh(kernel)[0] <= 0:
            break
        if np.linalg.norm(step[:-1]) < NEWTON_TOLERANCE * np.linalg.norm(kernel):
            return kernel, signal
    raise SolverError(f"ordered branch: Newton's method failed at m = {m:.4g}")
