"""Steps of underdamped dynamics on a CPU, compiled by Numba; ``kinetic.step`` defines them.

Chain by chain, with few passes over the weights: one does kick, drift, friction and noise. A network of
figure 5 stays in a core's cache for the whole step. One of N = 2048 is read from memory less often.

Numba compiles at the first call, which takes seconds, and caches the result on disk. Arrays:
W (matrix, unit, unit), U (unit, feature), v (unit,), inputs (time, pattern, feature), h and phi(h)
(time, pattern, unit).
"""

from __future__ import annotations

import logging
import math
import traceback
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import numba
import numpy as np
import torch
from numba.core.errors import NumbaError, NumbaExperimentalFeatureWarning
from numpy.typing import NDArray
from torch import Tensor

from weightsharing.errors import ConfigError
from weightsharing.model.activations import ACTIVATIONS, ActivationName
from weightsharing.sampling.backends import reference
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks, Dynamics
from weightsharing.sampling.random import Streams, by_thread

log = logging.getLogger(__name__)

Reals = NDArray[np.floating]
Pointers = tuple[Callable[[float], float], Callable[[float], float]]

# The activations that ``phi`` and ``slope`` know, by the number that compiled code takes. Others are
# called through pointers, one number at a time.
CODES: dict[ActivationName, int] = {"linear": 0, "erf": 1, "tanh": 2, "relu": 3}
LINEAR, ERF, TANH, RELU = CODES.values()
OTHER = len(CODES)


def supports(posterior: Posterior, dynamics: Dynamics) -> bool:
    """Whether there is a compiled step for these dynamics and this activation."""
    name = posterior.architecture.activation
    known = name in CODES or ACTIVATIONS[name].scalar is not None
    return known and dynamics.move is kinetic.move and not numba.config.DISABLE_JIT  # type: ignore[attr-defined]


def pointers(activation: ActivationName) -> tuple[Any, Any]:
    """phi and phi' of an activation, which compiled code calls if it does not know the activation.

    Raises ConfigError if Numba cannot compile them, or if they are not those of the activation.
    """
    known = ACTIVATIONS[activation]
    if known.scalar is None:
        return _pointer(_never_called), _pointer(_never_called)
    try:
        first, second = map(_pointer, known.scalar)
    except NumbaError as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"activation: Numba cannot compile scalar of {activation!r}: {reason}; without scalar, "
            "PyTorch makes the steps"
        ) from error
    at = torch.tensor([-3.1, -0.7, 0.2, 1.9], dtype=torch.float64)
    for function, pointer in ((known.phi, first), (known.slope, second)):
        found = torch.tensor([pointer.ctypes(float(h)) for h in at], dtype=torch.float64)
        if not torch.allclose(found, function(at), rtol=1e-9, atol=1e-9):
            raise ConfigError(
                f"activation: scalar of {activation!r} differs from phi and slope: {found.tolist()} at "
                f"{at.tolist()}, want {function(at).tolist()}"
            )
    return first, second


@cache
def _pointer(function: Callable[[float], float]) -> Any:  # noqa: ANN401
    """A compiled function of one number; functions of ``math`` are compiled code already."""
    known = function if isinstance(function, BuiltinFunctionType) else numba.njit(function)
    return numba.cfunc("float64(float64)")(lambda h: known(h))


def _never_called(h: float) -> float:
    return h


def advance(
    posterior: Posterior,
    dynamics: Dynamics,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """``backends.advance`` compiled. Raises ValueError if ``supports`` is false."""
    if not supports(posterior, dynamics):
        raise ValueError(
            f"no compiled step for these dynamics with activation {posterior.architecture.activation}"
        )
    architecture, real = posterior.architecture, posterior.inputs.numpy().dtype.type
    deviates_of = reference.deviates_of(blocks)
    h, kept = dynamics.step_size, math.exp(-dynamics.damping)
    inputs = posterior.inputs.contiguous().numpy()
    shared, code = architecture.weight_matrices == 1, CODES.get(architecture.activation, OTHER)
    functions = pointers(architecture.activation)
    integrated = posterior.integrated
    times = np.array([-h, h, 0.5 * h, kept], real)

    def step_of(memory: Tensor, streams: Streams, number: int) -> None:
        has_noise, target = dynamics.has_noise(number), target_at(number)
        states = memory.numpy()
        # Without noise the step takes an array of the same type and does not read it.
        deviates = deviates_of(memory, streams).numpy() if has_noise else states
        width = blocks(memory)[0].readout.shape[1]
        variances = np.array(architecture.prior.variances(width))
        spreads = np.sqrt((1.0 - kept**2) * variances)
        scales = variances.astype(real), spreads.astype(real), times
        shape = (len(memory), *inputs.shape[:2])
        targets, supervised = (
            values.expand(shape).contiguous().numpy()
            for values in (target.targets, target.supervised)
        )

        def move_chains(chains: slice) -> None:
            step(
                states[chains], deviates[chains], has_noise, width, shared, code, functions, integrated,
                real(posterior.kappa), inputs, targets[chains], supervised[chains], *scales,
            )  # fmt: skip

        with warnings.catch_warnings():
            # Numba calls pointers to functions experimental each time it compiles.
            warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
            with_sound_cache(lambda: by_thread(move_chains, memory))

    return step_of


_COMPILED: list[Any] = []


def with_sound_cache(call: Callable[[], object]) -> None:
    """Call compiled functions; if Numba's cache is damaged, empty it, say so, and call again.

    Code is loaded before it runs, so a call that fails this way has changed nothing.
    """
    try:
        call()
    except Exception as error:
        if not _is_of_cache(error):
            raise
        log.warning("compiled code on disk: damaged; compiling anew")
        for function in _COMPILED:
            function._cache.flush()
        call()


def _is_of_cache(error: BaseException) -> bool:
    """Whether Numba raised an error while it read its cache: of a file that is empty, cut or mixed up."""
    return any(
        Path(frame.filename).parts[-3:] == ("numba", "core", "caching.py")
        for frame in traceback.extract_tb(error.__traceback__)
    )


def _compiled(function: Callable[..., Any]) -> Any:  # noqa: ANN401
    """The function compiled, and cached on disk if there is a writable place."""
    # Vector instructions need sums in any order. Infinity and NaN keep their meaning.
    options: dict[str, Any] = {"fastmath": {"reassoc", "contract", "nsz"}, "nogil": True}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither beside the source nor in the user's folder
        compiled = numba.njit(**options)(function)
    _COMPILED.append(compiled)
    return compiled


@_compiled
def phi(code: int, functions: Pointers, h: float) -> float:
    """The activation at h, unless it is linear."""
    if code == ERF:
        return math.erf(0.5 * math.sqrt(math.pi) * h)
    if code == TANH:
        return math.tanh(h)
    if code == RELU:
        return max(h, 0.0)
    return functions[0](h)


@_compiled
def slope(code: int, functions: Pointers, h: float, phi_h: float) -> float:
    """The slope of ``phi`` at h, given phi(h), unless it is linear."""
    if code == ERF:
        return math.exp(-0.25 * math.pi * h**2)
    if code == TANH:
        return 1.0 - phi_h**2
    if code == RELU:
        return 0.0 if h <= 0.0 else 1.0
    return functions[1](h)


@_compiled
def add_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M vectors_p, with sums (p, row) and vectors (p, column)."""
    for row in range(matrix.shape[0]):
        for p in range(len(vectors)):
            total = matrix[row, 0] * vectors[p, 0]
            for column in range(1, matrix.shape[1]):
                total += matrix[row, column] * vectors[p, column]
            sums[p, row] += total


@_compiled
def add_transposed_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M^T vectors_p, both (p, column), for a matrix (row, column)."""
    for row in range(matrix.shape[0]):
        for p in range(len(vectors)):
            factor = vectors[p, row]
            for column in range(matrix.shape[1]):
                sums[p, column] += factor * matrix[row, column]


@_compiled
def given_readout(
    post: Reals, readout: Reals, targets: Reals, supervised: Reals, kappa: float, error: Reals,
    direct: Reals,
) -> None:  # fmt: skip
    """error <- y - f on S, 0 elsewhere, (time, pattern); direct <- dL/dphi(h) = -error v / kappa."""
    for time in range(len(post)):
        for pattern in range(post.shape[1]):
            error[time, pattern] = 0.0
            if supervised[time, pattern] != 0.0:
                total = readout[0] * post[time, pattern, 0]
                for unit in range(1, readout.size):
                    total += readout[unit] * post[time, pattern, unit]
                error[time, pattern] = targets[time, pattern] - total / readout.size
            factor = -error[time, pattern] / kappa
            for unit in range(readout.size):
                direct[time, pattern, unit] = factor * readout[unit]


@_compiled
def given_kernel(
    post: Reals, targets: Reals, supervised: Reals, kappa: float, v: float, direct: Reals
) -> None:
    """direct <- dL/dphi(h) with the readout integrated out: (v/N) (M^-1 - N a a^T) phi on S, else 0.

    M = kappa + v Phi_SS in float64; direct is NaN if M is not finite.
    """
    width = post.shape[2]
    rows, labels = post.reshape(-1, width), targets.reshape(-1)
    chosen = np.flatnonzero(supervised.reshape(-1))
    noisy = np.empty((chosen.size, chosen.size))
    finite = True
    for a in range(chosen.size):
        for b in range(a + 1):
            total = 0.0  # float64: rounding must not outweigh a small kappa
            for unit in range(width):
                total += rows[chosen[a], unit] * rows[chosen[b], unit]
            noisy[a, b] = noisy[b, a] = v * total / width
        noisy[a, a] += kappa
        finite = finite and noisy[a, a] < np.inf  # false for NaN too
    answers, into = np.zeros(chosen.size), direct.reshape(-1, width)
    into[:] = 0.0
    if not finite:
        into[:] = np.nan
        return
    inverse = np.linalg.inv(noisy)
    for a in range(chosen.size):
        for b in range(chosen.size):
            answers[a] += inverse[a, b] * labels[chosen[b]]
    for a in range(chosen.size):
        for b in range(chosen.size):
            pull = direct.dtype.type(v / width * (inverse[a, b] - width * answers[a] * answers[b]))
            for unit in range(width):
                into[chosen[a], unit] += pull * rows[chosen[b], unit]


@_compiled
def forward(code: int, functions: Pointers, matrices: Reals, pre: Reals, post: Reals) -> None:
    """h^t and phi(h^t) at all times; ``pre`` holds U x before and h after."""
    for time in range(len(pre)):
        if time > 0:
            add_products(matrices[min(time, len(matrices)) - 1], post[time - 1], pre[time])
        if code != LINEAR:
            for pattern in range(pre.shape[1]):
                for unit in range(pre.shape[2]):
                    post[time, pattern, unit] = phi(code, functions, pre[time, pattern, unit])


@_compiled
def backward(
    code: int, functions: Pointers, matrices: Reals, pre: Reals, post: Reals, delta: Reals
) -> None:
    """delta holds dL/dphi(h) at fixed later h before, and dL/dh after, (time, pattern, unit)."""
    for time in range(len(pre) - 1, -1, -1):
        if time + 1 < len(pre):
            matrix = matrices[min(time + 1, len(matrices)) - 1]
            add_transposed_products(matrix, delta[time + 1], delta[time])
        if code != LINEAR:
            for pattern in range(pre.shape[1]):
                for unit in range(pre.shape[2]):
                    h, phi_h = pre[time, pattern, unit], post[time, pattern, unit]
                    delta[time, pattern, unit] *= slope(code, functions, h, phi_h)


@_compiled
def move(
    weights: Reals, velocities: Reals, noise: Reals, left: Reals, right: Reals,
    has_noise: bool, variance: float, spread: float, times: Reals,
) -> None:  # fmt: skip
    """Kick, drift and, if ``has_noise``, friction and noise of a block of weights.

    The gradient of the loss is left^T right, left (rank, row) and right (rank, column). weights,
    velocities and standard normal deviates ``noise``: (row x column,). variance: of the prior. spread:
    standard deviation of the noise. times: -h, h, h / 2 and exp(-damping).
    """
    shape = (left.shape[1], right.shape[1])
    block, velocity, deviates = (
        weights.reshape(shape),
        velocities.reshape(shape),
        noise.reshape(shape),
    )
    back, ahead, half, kept = times
    scale = back * variance
    rank, columns = right.shape
    for row in range(len(block)):
        for column in range(columns):
            velocity[row, column] += back * block[row, column]
        # Four at a time: the sum stays in registers instead of taking four passes over the row.
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
        if has_noise:
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
def step(
    memory: Reals, noise: Reals, has_noise: bool, width: int, shared: bool, code: int,
    functions: Pointers, integrated: bool, kappa: float, inputs: Reals, targets: Reals, supervised: Reals,
    variances: Reals, spreads: Reals, times: Reals,
) -> None:  # fmt: skip
    """One step of a batch of chains, in place.

    memory: (chain, 2 x weights), weights W, U, v and velocities. noise: standard normal deviates
    (chain, weights), read only if ``has_noise``. shared: whether all times have one matrix. code: of
    ``CODES``, or ``OTHER``. functions: of ``pointers``. integrated: whether the readout is integrated
    out. targets and supervised: (chain, time, pattern). variances: of the prior, w/N, u and v. spreads:
    standard deviations of the noise of each block. times: -h, h, h / 2 and exp(-damping). All reals have
    the precision of ``memory``.
    """
    steps, patterns, features = inputs.shape
    numbers = memory.shape[1] // 2
    count, size = 1 if shared else steps - 1, width * width
    first, second = count * size, count * size + width * features
    pre = np.empty((steps, patterns, width), memory.dtype)
    post = pre if code == LINEAR else np.empty_like(pre)
    delta = np.empty_like(pre)
    error = np.zeros((steps, patterns), memory.dtype)
    for chain in range(memory.shape[0]):
        weights, velocities = memory[chain, :numbers], memory[chain, numbers:]
        deviates = noise[chain, :numbers]
        matrices, readout = weights[:first].reshape(count, width, width), weights[second:]
        pre[:] = 0.0
        add_products(
            weights[first:second].reshape(width, features), inputs.reshape(-1, features),
            pre.reshape(-1, width),
        )  # fmt: skip
        forward(code, functions, matrices, pre, post)
        if integrated:
            given_kernel(post, targets[chain], supervised[chain], kappa, variances[2], delta)
        else:
            given_readout(post, readout, targets[chain], supervised[chain], kappa, error, delta)
        backward(code, functions, matrices, pre, post, delta)
        for index in range(count):
            start, end = index * size, (index + 1) * size
            until = steps if shared else index + 2
            move(weights[start:end], velocities[start:end], deviates[start:end],
                 delta[index + 1 : until].reshape(-1, width),
                 post[index : until - 1].reshape(-1, width),
                 has_noise, variances[0], spreads[0], times)  # fmt: skip
        move(weights[first:second], velocities[first:second], deviates[first:second],
             delta.reshape(-1, width), inputs.reshape(-1, features),
             has_noise, variances[1], spreads[1], times)  # fmt: skip
        # With the readout integrated out, the error is 0 and v moves by the prior alone.
        move(readout, velocities[second:], deviates[second:], (-error / kappa).reshape(-1, 1),
             post.reshape(-1, width), has_noise, variances[2], spreads[2], times)  # fmt: skip
