"""A compiled step of the underdamped dynamics on a CPU; ``kinetic.step`` defines the step.

It moves chain by chain with few passes over the weights. One pass does kick, drift, friction and noise.
A network of figure 5 stays in a core's cache for the whole step. A network of N = 2048 is read from
memory less often than by PyTorch.

In a linear RNN, backpropagation needs only one sequence of vectors. With e = y - f on S,
y_k = (W^T)^k v and delta_p^t = dE/dh_p^t,

    delta_p^t = -(1/kappa) sum_(t' >= t) e_p^(t'+1) y_(t'-t)
    dE/dW = sum_k y_k z_k^T,    z_k = -(1/kappa) sum_(p, t >= 1) e_p^(t+k+1) h_p^(t-1)
    dE/dU = sum_k y_k c_k^T,    c_k = -(1/kappa) sum_(p, t) e_p^(t+k+1) x_p^t

The same passes compute h^k and y_k, and the gradient has rank T - 1 instead of (T - 1) P.

Numba compiles all functions but ``stepper`` at their first call, which takes seconds, and keeps them on
disk. Arrays: W (matrix, unit, unit), U (unit, feature), v (unit,), inputs (time, pattern, feature),
h and phi(h) (time, pattern, unit).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from weightsharing.model.activations import ActivationName
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.random import by_thread

# Moves a batch of chains by one step, in place: (states, deviates, posterior of this step). Deviates are
# standard normal, (chain, weights), or None for a step without noise.
Stepper = Callable[[Tensor, Tensor | None, Posterior], None]

Reals = NDArray[np.floating]

CODES: dict[ActivationName, int] = {"linear": 0, "erf": 1, "tanh": 2, "relu": 3}
LINEAR, ERF, TANH, _ = CODES.values()


def stepper(posterior: Posterior, settings: KineticSettings) -> Stepper:
    """``kinetic.step`` of all chains, in place, on a CPU.

    states: (chain, 2 x weights). deviates: standard normal, (chain, weights); None without friction. The
    posterior of a step differs from ``posterior`` only in its targets.
    """
    architecture, width = posterior.architecture, settings.width
    prior, real = architecture.prior, posterior.inputs.numpy().dtype.type
    h, kept = settings.step_size, math.exp(-settings.damping)
    variances = np.array([prior.w / width, prior.u, prior.v])
    inputs = posterior.inputs.contiguous().numpy()
    shared, code = architecture.weight_matrices == 1, CODES[architecture.activation]
    scales = (
        variances.astype(real),
        np.sqrt((1.0 - kept**2) * variances).astype(real),
        np.array([-h, h, 0.5 * h, kept], real),
    )

    def advance(memory: Tensor, deviates: Tensor | None, target: Posterior) -> None:
        shape = (len(memory), *inputs.shape[:2])
        states = memory.numpy()
        noise = (
            states if deviates is None else deviates.numpy()
        )  # the step does not read it if None
        targets, supervised = (
            values.expand(shape).contiguous().numpy()
            for values in (target.targets, target.supervised)
        )

        def move_chains(chains: slice) -> None:
            step(
                states[chains], noise[chains], deviates is not None, width, shared, code,
                real(posterior.kappa), inputs, targets[chains], supervised[chains], *scales,
            )  # fmt: skip

        by_thread(move_chains, memory)

    return advance


def _compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """The function, compiled by Numba, and kept on disk if a folder is writable."""
    # Vector instructions need reordered sums. Infinity and NaN must stay as they are.
    options: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}, "nogil": True}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the source's nor the user's folder is writable
        return numba.njit(**options)(function)


@_compiled
def activate(code: int, pre: Reals, post: Reals) -> None:
    """post <- phi(pre), both (pattern, unit)."""
    for pattern in range(pre.shape[0]):
        for unit in range(pre.shape[1]):
            h = pre[pattern, unit]
            if code == ERF:
                post[pattern, unit] = math.erf(0.5 * math.sqrt(math.pi) * h)
            elif code == TANH:
                post[pattern, unit] = math.tanh(h)
            else:
                post[pattern, unit] = max(h, 0.0)


@_compiled
def times_slope(code: int, pre: Reals, post: Reals, delta: Reals) -> None:
    """delta <- delta x phi'(pre), all (pattern, unit)."""
    for pattern in range(pre.shape[0]):
        for unit in range(pre.shape[1]):
            if code == ERF:
                delta[pattern, unit] *= math.exp(-0.25 * math.pi * pre[pattern, unit] ** 2)
            elif code == TANH:
                delta[pattern, unit] *= 1.0 - post[pattern, unit] ** 2
            elif pre[pattern, unit] <= 0.0:
                delta[pattern, unit] = 0.0


@_compiled
def add_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M vectors_p, both (p, unit), for a matrix (row, unit)."""
    for row in range(matrix.shape[0]):
        for p in range(len(vectors)):
            total = matrix[row, 0] * vectors[p, 0]
            for column in range(1, matrix.shape[1]):
                total += matrix[row, column] * vectors[p, column]
            sums[p, row] += total


@_compiled
def add_transposed_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M^T vectors_p, both (p, unit), for a matrix (unit, row)."""
    for row in range(matrix.shape[0]):
        for p in range(len(vectors)):
            factor = vectors[p, row]
            for column in range(matrix.shape[1]):
                sums[p, column] += factor * matrix[row, column]


@_compiled
def errors(post: Reals, readout: Reals, targets: Reals, supervised: Reals, error: Reals) -> None:
    """error <- y - f on S, 0 elsewhere, (time, pattern)."""
    error[:] = 0.0
    for time in range(len(post)):
        for pattern in range(post.shape[1]):
            if supervised[time, pattern] != 0.0:
                total = readout[0] * post[time, pattern, 0]
                for unit in range(1, readout.size):
                    total += readout[unit] * post[time, pattern, unit]
                error[time, pattern] = targets[time, pattern] - total / readout.size


@_compiled
def forward(code: int, matrices: Reals, pre: Reals, post: Reals) -> None:
    """post^t <- phi(h^t) at all times; ``pre`` holds U x^t before and h^t after."""
    for time in range(len(pre)):
        if time > 0:
            add_products(matrices[min(time, len(matrices)) - 1], post[time - 1], pre[time])
        if code != LINEAR:
            activate(code, pre[time], post[time])


@_compiled
def backward(
    code: int, matrices: Reals, readout: Reals, pre: Reals, post: Reals, error: Reals, kappa: float,
    delta: Reals,
) -> None:  # fmt: skip
    """delta <- dE/dh, (time, pattern, unit)."""
    for time in range(len(pre) - 1, -1, -1):
        for pattern in range(pre.shape[1]):
            factor = -error[time, pattern] / kappa
            for unit in range(readout.size):
                delta[time, pattern, unit] = factor * readout[unit]
        if time + 1 < len(pre):
            matrix = matrices[min(time + 1, len(matrices)) - 1]
            add_transposed_products(matrix, delta[time + 1], delta[time])
        if code != LINEAR:
            times_slope(code, pre[time], post[time], delta[time])


@_compiled
def both_ways(matrix: Reals, pre: Reals, sequence: Reals) -> None:
    """h^t = W h^(t-1) + U x^t, and y_t = W^T y_(t-1) in the same passes over W.

    pre: U x^t before and h^t after. sequence: (time, unit), y_0 = v before and all y_t after.
    """
    sequence[1:] = 0.0
    units = len(matrix)
    for time in range(1, len(pre)):
        for row in range(units):
            for p in range(pre.shape[1]):
                total = matrix[row, 0] * pre[time - 1, p, 0]
                for column in range(1, units):
                    total += matrix[row, column] * pre[time - 1, p, column]
                pre[time, p, row] += total
            factor = sequence[time - 1, row]
            for column in range(units):
                sequence[time, column] += factor * matrix[row, column]


@_compiled
def correlate(error: Reals, values: Reals, kappa: float, sums: Reals) -> None:
    """sums_k <- -(1/kappa) sum_(p, t) e_p^(t+k) values_p^t, (time k, component).

    error: (time, pattern). values: (time, pattern, component).
    """
    sums[:] = 0.0
    for lag in range(len(sums)):
        for time in range(len(sums) - lag):
            for pattern in range(values.shape[1]):
                factor = -error[time + lag, pattern] / kappa
                if factor != 0.0:
                    for component in range(values.shape[2]):
                        sums[lag, component] += factor * values[time, pattern, component]


@_compiled
def move(
    block: Reals, velocity: Reals, left: Reals, right: Reals, deviates: Reals, refreshed: bool,
    variance: float, spread: float, times: Reals,
) -> None:  # fmt: skip
    """Kick, drift and, if ``refreshed``, friction and noise of a block of weights (row, column).

    The gradient of the loss is left^T right, with left (rank, row) and right (rank, column). variance: of
    the prior. spread: standard deviation of the noise. times: -h, h, h / 2 and exp(-damping).
    """
    back, ahead, half, kept = times
    scale = back * variance
    rank, columns = right.shape
    for row in range(len(block)):
        for column in range(columns):
            velocity[row, column] += back * block[row, column]
        # Add four products in one pass over the row instead of four passes.
        for index in range(0, rank - 3, 4):
            a, b = scale * left[index, row], scale * left[index + 1, row]
            c, d = scale * left[index + 2, row], scale * left[index + 3, row]
            for column in range(columns):
                velocity[row, column] += (
                    a * right[index, column]
                    + b * right[index + 1, column]
                    + c * right[index + 2, column]
                    + d * right[index + 3, column]
                )
        for index in range(rank - rank % 4, rank):
            a = scale * left[index, row]
            for column in range(columns):
                velocity[row, column] += a * right[index, column]
        if refreshed:
            for column in range(columns):
                middle = block[row, column] + half * velocity[row, column]
                velocity[row, column] = (
                    kept * velocity[row, column] + spread * deviates[row, column]
                )
                block[row, column] = middle + half * velocity[row, column]
        else:
            for column in range(columns):
                block[row, column] += ahead * velocity[row, column]


@_compiled
def unpacked(numbers: Reals, count: int, width: int, features: int) -> tuple[Reals, Reals, Reals]:
    """Views of W (matrix, unit, unit), U (unit, feature) and v (1, unit) in a chain's numbers."""
    first, second = count * width * width, count * width * width + width * features
    return (
        numbers[:first].reshape(count, width, width),
        numbers[first:second].reshape(width, features),
        numbers[second:].reshape(1, width),
    )


@_compiled
def step(
    memory: Reals, noise: Reals, refreshed: bool, width: int, shared: bool, code: int, kappa: float,
    inputs: Reals, targets: Reals, supervised: Reals, variances: Reals, spreads: Reals, times: Reals,
) -> None:  # fmt: skip
    """One step of a batch of chains, in place.

    memory: (chain, 2 x weights), weights W, U, v and velocities. noise: standard normal deviates
    (chain, weights), read only if ``refreshed``. shared: whether all times have one matrix. code: of
    ``CODES``. targets and supervised: (chain, time, pattern). variances: of the prior, w/N, u and v.
    spreads: standard deviations of the noise of each block. times: -h, h, h / 2 and exp(-damping).
    All reals have the precision of ``memory``.
    """
    steps, patterns, features = inputs.shape
    size = memory.shape[1] // 2
    count = 1 if shared else steps - 1
    pre = np.empty((steps, patterns, width), memory.dtype)
    post = pre if code == LINEAR else np.empty_like(pre)
    delta = np.empty_like(pre)
    error = np.empty((steps, patterns), memory.dtype)
    sequence = np.empty((steps, width), memory.dtype)
    through = np.empty_like(sequence)
    into = np.empty((steps, features), memory.dtype)
    for chain in range(memory.shape[0]):
        w, u, v = unpacked(memory[chain, :size], count, width, features)
        w_velocity, u_velocity, v_velocity = unpacked(memory[chain, size:], count, width, features)
        w_noise, u_noise, v_noise = unpacked(noise[chain, :size], count, width, features)
        pre[:] = 0.0
        add_products(u, inputs.reshape(-1, features), pre.reshape(-1, width))
        if shared and code == LINEAR:
            sequence[0] = v[0]
            both_ways(w[0], pre, sequence)
            errors(pre, v[0], targets[chain], supervised[chain], error)
            correlate(error[1:], pre[:-1], kappa, through[:-1])
            correlate(error, inputs, kappa, into)
            move(w[0], w_velocity[0], sequence[:-1], through[:-1],
                 w_noise[0], refreshed, variances[0], spreads[0], times)  # fmt: skip
            left, right = sequence, into
        else:
            forward(code, w, pre, post)
            errors(post, v[0], targets[chain], supervised[chain], error)
            backward(code, w, v[0], pre, post, error, kappa, delta)
            for index in range(count):
                until = steps if shared else index + 2
                move(w[index], w_velocity[index], delta[index + 1 : until].reshape(-1, width),
                     post[index : until - 1].reshape(-1, width),
                     w_noise[index], refreshed, variances[0], spreads[0], times)  # fmt: skip
            left, right = delta.reshape(-1, width), inputs.reshape(-1, features)
        move(u, u_velocity, left, right, u_noise, refreshed, variances[1], spreads[1], times)
        move(v, v_velocity, (-error / kappa).reshape(-1, 1), post.reshape(-1, width),
             v_noise, refreshed, variances[2], spreads[2], times)  # fmt: skip
