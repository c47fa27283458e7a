"""Compiled functions of a step, and of the standard normal deviates that it draws.

All are in one file: Numba's cache on disk does not see that a function of another file has changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.activations import ActivationName
from weightsharing.sampling.backends.compiled.jit import compiled

Reals = NDArray[np.floating]
Word = np.uint32
Words = NDArray[np.uint32]
Pointers = tuple[Callable[[float], float], Callable[[float], float]]

# The activations that ``phi`` and ``slope`` know, by the number that compiled code takes. Others are
# called through pointers, one number at a time.
CODES: dict[ActivationName, int] = {"linear": 0, "erf": 1, "tanh": 2, "relu": 3}
LINEAR, ERF, TANH, RELU = CODES.values()
OTHER = len(CODES)

# Generators that run side by side in vector instructions, and the deviates that they draw at a time.
LANES = 256
# Deviates that are drawn ahead of their use. They stay in the innermost cache of a core.
AHEAD = 4096

u32, i32, f32, u64 = Word, np.int32, np.float32, np.uint64


@compiled
def seed(key: int, generators: Words) -> None:
    """Generators (4, lane) of the key of a chain and a step, by SplitMix64.

    Citation: Steele, Lea & Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    state = u64(key)
    for lane in range(LANES):
        for half in range(2):
            state += u64(0x9E3779B97F4A7C15)
            word = (state ^ (state >> u64(30))) * u64(0xBF58476D1CE4E5B9)
            word = (word ^ (word >> u64(27))) * u64(0x94D049BB133111EB)
            word ^= word >> u64(31)
            generators[2 * half, lane] = u32(word & u64(0xFFFFFFFF))
            generators[2 * half + 1, lane] = u32(word >> u64(32))


@compiled
def rotated(word: Word, by: int) -> Word:
    """The bits of a word of 32, rotated to the left."""
    return u32(u32(word << u32(by)) | u32(word >> u32(32 - by)))


@compiled
def next_word(a: Word, b: Word, c: Word, d: Word) -> tuple[Word, Word, Word, Word, Word]:
    """A word of the generator xoshiro128++ and its next state.

    Citation: Blackman & Vigna, "Scrambled linear pseudorandom number generators", ACM Transactions on
    Mathematical Software 2021.
    """
    word, shifted = u32(rotated(u32(a + d), 7) + a), u32(b << u32(9))
    c, d = u32(c ^ a), u32(d ^ b)
    return word, u32(a ^ d), u32(b ^ c), u32(c ^ shifted), rotated(d, 11)


@compiled
def fill_normal(generators: Words, deviates: NDArray[np.float32]) -> None:
    """Standard normal deviates for an array whose length is a multiple of 2 ``LANES``, in float32.

    Box and Muller's r (cos a, sin a), with r^2 = -2 ln u. The angle is drawn in the quadrant around 0.
    A random sign of its cosine and a random exchange of both spread it over the circle.
    """
    s0, s1, s2, s3 = generators[0], generators[1], generators[2], generators[3]
    for start in range(0, deviates.size, 2 * LANES):
        # Views: an index of a sum could be negative, which compiled code would have to test.
        ahead, behind = deviates[start : start + LANES], deviates[start + LANES : start + 2 * LANES]
        for lane in range(LANES):
            first, a, b, c, d = next_word(s0[lane], s1[lane], s2[lane], s3[lane])
            second, s0[lane], s1[lane], s2[lane], s3[lane] = next_word(a, b, c, d)
            # u in (0, 1] = m 2^e with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh((m - 1) / (m + 1)).
            u = (f32(i32(first >> u32(1))) + f32(0.5)) * f32(2.0**-31)
            bits = i32(f32(u).view(np.int32) - i32(0x3F3504F3))
            exponent = f32(bits >> i32(23))
            mantissa = i32((bits & i32(0x7FFFFF)) + i32(0x3F3504F3)).view(np.float32)
            s = (mantissa - f32(1.0)) / (mantissa + f32(1.0))
            t = s * s
            series = f32(1.0) + t * (f32(1 / 3) + t * (f32(1 / 5) + t * f32(1 / 7)))
            logarithm = f32(2.0) * s * series + exponent * f32(math.log(2.0))
            radius = np.sqrt(max(f32(-2.0) * logarithm, f32(0.0)))
            angle = f32(i32(second & u32(0x3FFFFFFF)) - i32(0x20000000)) * f32(math.pi * 2.0**-31)
            t = angle * angle
            sine = f32(1.0) - t * f32(1 / 20) * (f32(1.0) - t * f32(1 / 42))
            sine = radius * angle * (f32(1.0) - t * f32(1 / 6) * sine)
            cosine = f32(1.0) - t * f32(1 / 30) * (f32(1.0) - t * f32(1 / 56))
            cosine = f32(1.0) - t * f32(1 / 2) * (f32(1.0) - t * f32(1 / 12) * cosine)
            cosine *= radius if second & u32(0x80000000) else -radius
            exchanged = second & u32(0x40000000) != 0
            ahead[lane] = sine if exchanged else cosine
            behind[lane] = cosine if exchanged else sine


@compiled
def phi(code: int, functions: Pointers, h: float) -> float:
    """The activation at h, unless it is linear."""
    if code == ERF:
        return math.erf(0.5 * math.sqrt(math.pi) * h)
    if code == TANH:
        return math.tanh(h)
    if code == RELU:
        return max(h, 0.0)
    return functions[0](h)


@compiled
def slope(code: int, functions: Pointers, h: float, phi_h: float) -> float:
    """The slope of ``phi`` at h, given phi(h), unless it is linear."""
    if code == ERF:
        return math.exp(-0.25 * math.pi * h**2)
    if code == TANH:
        return 1.0 - phi_h**2
    if code == RELU:
        return 0.0 if h <= 0.0 else 1.0
    return functions[1](h)


@compiled
def add_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M vectors_p, with sums (p, row) and vectors (p, column)."""
    count, fours = len(vectors), len(vectors) - len(vectors) % 4
    rows, pairs = len(matrix), len(matrix) - len(matrix) % 2
    # Two rows times four vectors: each number that is read serves several products.
    for row in range(0, pairs, 2):
        upper, lower = matrix[row], matrix[row + 1]
        for p in range(0, fours, 4):
            a, b, c, d = vectors[p], vectors[p + 1], vectors[p + 2], vectors[p + 3]
            a0, b0, c0, d0 = upper[0] * a[0], upper[0] * b[0], upper[0] * c[0], upper[0] * d[0]
            a1, b1, c1, d1 = lower[0] * a[0], lower[0] * b[0], lower[0] * c[0], lower[0] * d[0]
            for column in range(1, upper.size):
                a0 += upper[column] * a[column]
                b0 += upper[column] * b[column]
                c0 += upper[column] * c[column]
                d0 += upper[column] * d[column]
                a1 += lower[column] * a[column]
                b1 += lower[column] * b[column]
                c1 += lower[column] * c[column]
                d1 += lower[column] * d[column]
            above, below = sums[p : p + 4, row], sums[p : p + 4, row + 1]
            above[0] += a0
            above[1] += b0
            above[2] += c0
            above[3] += d0
            below[0] += a1
            below[1] += b1
            below[2] += c1
            below[3] += d1
    for row in range(rows):
        line = matrix[row]
        for p in range(fours if row < pairs else 0, count):
            vector = vectors[p]
            total = line[0] * vector[0]
            for column in range(1, line.size):
                total += line[column] * vector[column]
            sums[p, row] += total


@compiled
def add_transposed_products(matrix: Reals, vectors: Reals, sums: Reals) -> None:
    """sums_p <- sums_p + M^T vectors_p, both (p, column), for a matrix (row, column)."""
    fours = len(matrix) - len(matrix) % 4
    for row in range(0, fours, 4):
        # Four rows at a time: sums are read and written once for all of them.
        a, b, c, d = matrix[row], matrix[row + 1], matrix[row + 2], matrix[row + 3]
        for p in range(len(vectors)):
            total, v = sums[p], vectors[p, row : row + 4]
            v0, v1, v2, v3 = v[0], v[1], v[2], v[3]
            for column in range(total.size):
                total[column] += v0 * a[column] + v1 * b[column] + v2 * c[column] + v3 * d[column]
    for row in range(fours, len(matrix)):
        line = matrix[row]
        for p in range(len(vectors)):
            total, factor = sums[p], vectors[p, row]
            for column in range(line.size):
                total[column] += factor * line[column]


@compiled
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


@compiled
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


@compiled
def forward(code: int, functions: Pointers, matrices: Reals, pre: Reals, post: Reals) -> None:
    """h^t and phi(h^t) at all times; ``pre`` holds U x before and h after."""
    for time in range(len(pre)):
        if time > 0:
            add_products(matrices[min(time, len(matrices)) - 1], post[time - 1], pre[time])
        if code != LINEAR:
            for pattern in range(pre.shape[1]):
                for unit in range(pre.shape[2]):
                    post[time, pattern, unit] = phi(code, functions, pre[time, pattern, unit])


@compiled
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


@compiled
def move(
    weights: Reals, velocities: Reals, is_kept: bool, generators: Words, left: Reals, right: Reals,
    has_noise: bool, variance: float, spread: float, times: Reals,
) -> None:  # fmt: skip
    """Kick, drift and, if ``has_noise``, friction and noise of a block of weights.

    The gradient of the loss is left^T right, left (rank, row) and right (rank, column). weights: (row x
    column,). velocities: the same, or one row of memory if not ``is_kept``: they then begin at 0.
    generators: of the deviates. variance: of the prior. spread: standard deviation of the noise. times:
    -h, h, the drift before noise, the drift after it, and exp(-damping).
    """
    rank, columns = right.shape
    block, velocity = weights.reshape(-1, columns), velocities.reshape(-1, columns)
    back, ahead, before, after, kept = times
    scale = back * variance
    rows_ahead = max(1, AHEAD // columns)
    deviates = np.empty(-(-rows_ahead * columns // (2 * LANES)) * 2 * LANES, f32)
    for row in range(len(block)):
        if has_noise and row % rows_ahead == 0:
            fill_normal(generators, deviates)
        place, moving = block[row], velocity[row if is_kept else 0]
        if is_kept:
            for column in range(columns):
                moving[column] += back * place[column]
        else:
            for column in range(columns):
                moving[column] = back * place[column]
        # Four at a time: the sum stays in registers instead of taking four passes over the row.
        for index in range(0, rank - 3, 4):
            a, b = scale * left[index, row], scale * left[index + 1, row]
            c, d = scale * left[index + 2, row], scale * left[index + 3, row]
            for column in range(columns):
                moving[column] += (
                    a * right[index, column]
                    + b * right[index + 1, column]
                    + c * right[index + 2, column]
                    + d * right[index + 3, column]
                )
        for index in range(rank - rank % 4, rank):
            a = scale * left[index, row]
            for column in range(columns):
                moving[column] += a * right[index, column]
        if has_noise:
            noise = deviates[row % rows_ahead * columns :]
            for column in range(columns):
                middle = place[column] + before * moving[column]
                moving[column] = kept * moving[column] + spread * noise[column]
                place[column] = middle + after * moving[column]
        else:
            for column in range(columns):
                place[column] += ahead * moving[column]


@compiled
def step(
    memory: Reals, has_velocities: bool, keys: NDArray[np.uint64], has_noise: bool, width: int,
    shared: bool, code: int, functions: Pointers, integrated: bool, kappa: float, inputs: Reals,
    targets: Reals, supervised: Reals, variances: Reals, spreads: Reals, times: Reals,
) -> None:  # fmt: skip
    """One step of a batch of chains, in place.

    memory: (chain, size), the weights W, U, v and any velocities. keys: of the deviates, (chain,), read
    only if ``has_noise``. shared: whether all times have one matrix. code: of ``CODES``, or ``OTHER``.
    functions: of ``pointers``. integrated: whether the readout is integrated out. targets and supervised:
    (chain, time, pattern). variances: of the prior, w/N, u and v. spreads: standard deviations of the
    noise of each block. times: of ``move``. All reals have the precision of ``memory``. Arrays: W
    (matrix, unit, unit), U (unit, feature), v (unit,), inputs (time, pattern, feature), h and phi(h)
    (time, pattern, unit).
    """
    steps, patterns, features = inputs.shape
    numbers = memory.shape[1] // (2 if has_velocities else 1)
    count, size = 1 if shared else steps - 1, width * width
    first, second = count * size, count * size + width * features
    pre = np.empty((steps, patterns, width), memory.dtype)
    post = pre if code == LINEAR else np.empty_like(pre)
    delta = np.empty_like(pre)
    error = np.zeros((steps, patterns), memory.dtype)
    generators = np.empty((4, LANES), u32)
    scratch = np.empty(max(width, features), memory.dtype)
    for chain in range(memory.shape[0]):
        weights, velocities = memory[chain, :numbers], memory[chain, numbers:]
        matrices, readout = weights[:first].reshape(count, width, width), weights[second:]
        if has_noise:
            seed(keys[chain], generators)
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
            moving = velocities[start:end] if has_velocities else scratch[:width]
            move(weights[start:end], moving, has_velocities, generators,
                 delta[index + 1 : until].reshape(-1, width),
                 post[index : until - 1].reshape(-1, width),
                 has_noise, variances[0], spreads[0], times)  # fmt: skip
        moving = velocities[first:second] if has_velocities else scratch[:features]
        move(weights[first:second], moving, has_velocities, generators,
             delta.reshape(-1, width), inputs.reshape(-1, features),
             has_noise, variances[1], spreads[1], times)  # fmt: skip
        # With the readout integrated out, the error is 0 and v moves by the prior alone.
        moving = velocities[second:] if has_velocities else scratch[:width]
        move(readout, moving, has_velocities, generators,
             (-error / kappa).reshape(-1, 1), post.reshape(-1, width),
             has_noise, variances[2], spreads[2], times)  # fmt: skip
