"""The fused steps in Triton. Only ``fused`` imports this module, and only when a step is made.

One pass moves all matrices A of a batch of chains: it reads and writes each entry once. It adds the
gradient of the loss as a sum of outer products, and draws the noise in registers. All numbers are
float32. Sums are plain multiply-adds, which never use TF32.

With quarter = ceil(rows / 4), a program moves one tile of the first ``quarter`` rows, and the three tiles
at distances of ``quarter`` rows below it. These four entries share a counter of Philox, which yields four
deviates. Threads therefore exchange nothing, and deviates do not depend on the size of a tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Triton would recompile if one of these is 1 or a multiple of 16, which gains nothing here.
PLAIN = ("matrices", "first_matrix", "rank")


@triton.jit
def unit_vector(bits):
    """Cosine and sine of a uniform angle, from a block of 32 random bits.

    Two bits choose the quadrant. Thirty bits give the angle x from its middle, |x| < pi/4, where Taylor's
    series to x^9 are exact in float32. The library's functions need much more code to reduce the angle.
    """
    quadrant = bits >> 30
    x = ((bits & 0x3FFFFFFF).to(tl.float32) * 9.313225746154785e-10 - 0.5) * 1.5707963267948966
    y = x * x
    sine = x * (1.0 + y * (-1 / 6 + y * (1 / 120 + y * (-1 / 5040 + y * (1 / 362880)))))
    cosine = 1.0 + y * (-1 / 2 + y * (1 / 24 + y * (-1 / 720 + y * (1 / 40320))))
    odd = (quadrant & 1) == 1
    first, second = tl.where(odd, sine, cosine), tl.where(odd, cosine, sine)
    first = tl.where((quadrant == 1) | (quadrant == 2), -first, first)
    return first, tl.where(quadrant >= 2, -second, second)


@triton.jit
def box_muller(first, second):
    """Two standard normal deviates from two blocks of 32 random bits (Box and Muller 1958).

    The uniform of the radius is (i + 1/2) / 2^32, never 0: tails reach 6.7 standard deviations.
    """
    uniform = (first.to(tl.float32) + 0.5) * 2.3283064365386963e-10
    # Near 1 the logarithm may be rounded to a positive number.
    radius = tl.sqrt(tl.maximum(-2.0 * tl.log(uniform), 0.0))
    cosine, sine = unit_vector(second)
    return radius * cosine, radius * sine


@triton.jit
def deviates(key, row, column, columns, matrix, step):
    """The four blocks of deviates of the entries (row + k quarter, column), k = 0..3.

    Counter of Philox: row x columns + column, matrix, both halves of the step.
    """
    position = (row.to(tl.uint32)[:, None] * columns + column[None, :]).to(tl.uint32)
    early, late = (step & 0xFFFFFFFF).to(tl.uint32), ((step >> 32) & 0xFFFFFFFF).to(tl.uint32)
    a, b, c, d = tl.philox(key, position, matrix.to(tl.uint32), early, late)
    first, second = box_muller(a, b)
    third, fourth = box_muller(c, d)
    return first, second, third, fourth


@triton.jit
def outer_products(
    left, right, row, column, rows, columns, left_stride, right_stride, rank,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """sum_r left[r, row] right[r, column]."""
    total = tl.zeros((ROWS, COLUMNS), dtype=tl.float32)
    for index in range(rank):
        at_row = tl.load(left + index * left_stride + row, mask=row < rows, other=0.0)
        at_column = tl.load(right + index * right_stride + column, mask=column < columns, other=0.0)
        total += at_row[:, None] * at_column[None, :]
    return total


@triton.jit
def langevin_tile(
    block, left, right, row, column, rows, columns, left_stride, right_stride, rank,
    keep, pull, spread, noise, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A <- keep A + pull left^T right + spread noise, on one tile."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = block + row.to(tl.int64)[:, None] * columns + column[None, :]
    gradient = outer_products(
        left, right, row, column, rows, columns, left_stride, right_stride, rank, ROWS, COLUMNS
    )
    value = tl.load(place, mask=inside, other=0.0)
    tl.store(place, keep * value + pull * gradient + spread * noise, mask=inside)


@triton.jit(do_not_specialize=PLAIN)
def langevin(
    blocks, left, right, keys, clock, matrices, first_matrix, rows, columns, rank,
    chain_stride, left_chain, left_matrix, left_stride, right_chain, right_matrix, right_stride,
    keep, pull, spread, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A step of SGLD of all matrices of all chains: A <- keep A + pull left^T right + spread xi."""
    chain = (tl.program_id(2) // matrices).to(tl.int64)
    matrix = (tl.program_id(2) % matrices).to(tl.int64)
    quarter = (rows + 3) // 4
    local = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    z0, z1, z2, z3 = deviates(
        tl.load(keys + chain), local, column, columns, first_matrix + matrix, tl.load(clock)
    )
    # Rows beyond the quarter belong to another program; the mask excludes them here.
    row = tl.where(local < quarter, local, rows)
    block = blocks + chain * chain_stride + matrix * rows * columns
    left += chain * left_chain + matrix * left_matrix
    right += chain * right_chain + matrix * right_matrix
    for part in tl.static_range(4):
        if part == 0:
            noise = z0
        elif part == 1:
            noise = z1
        elif part == 2:
            noise = z2
        else:
            noise = z3
        langevin_tile(
            block, left, right, row + part * quarter, column, rows, columns, left_stride,
            right_stride, rank, keep, pull, spread, noise, ROWS, COLUMNS,
        )  # fmt: skip


@triton.jit
def kinetic_tile(
    block, velocity, left, right, row, column, rows, columns, left_stride, right_stride, rank,
    pull, step_size, kept, spread, noise,
    REFRESHED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """V <- V - h A + pull left^T right, then A O A if refreshed, else A, on one tile."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = row.to(tl.int64)[:, None] * columns + column[None, :]
    gradient = outer_products(
        left, right, row, column, rows, columns, left_stride, right_stride, rank, ROWS, COLUMNS
    )
    value = tl.load(block + place, mask=inside, other=0.0)
    moving = tl.load(velocity + place, mask=inside, other=0.0)
    moving += pull * gradient - step_size * value
    if REFRESHED:
        value += 0.5 * step_size * moving
        moving = kept * moving + spread * noise
        value += 0.5 * step_size * moving
    else:
        value += step_size * moving
    tl.store(block + place, value, mask=inside)
    tl.store(velocity + place, moving, mask=inside)


@triton.jit(do_not_specialize=PLAIN)
def kinetic(
    blocks, velocities, left, right, keys, clock, matrices, first_matrix, rows, columns, rank,
    chain_stride, left_chain, left_matrix, left_stride, right_chain, right_matrix, right_stride,
    pull, step_size, kept, spread,
    REFRESHED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A step of underdamped dynamics of all matrices A and velocities V of all chains."""
    chain = (tl.program_id(2) // matrices).to(tl.int64)
    matrix = (tl.program_id(2) % matrices).to(tl.int64)
    quarter = (rows + 3) // 4
    local = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    if REFRESHED:
        z0, z1, z2, z3 = deviates(
            tl.load(keys + chain), local, column, columns, first_matrix + matrix, tl.load(clock)
        )
    else:
        z0, z1, z2, z3 = 0.0, 0.0, 0.0, 0.0
    row = tl.where(local < quarter, local, rows)
    block = blocks + chain * chain_stride + matrix * rows * columns
    velocity = velocities + chain * chain_stride + matrix * rows * columns
    left += chain * left_chain + matrix * left_matrix
    right += chain * right_chain + matrix * right_matrix
    for part in tl.static_range(4):
        if part == 0:
            noise = z0
        elif part == 1:
            noise = z1
        elif part == 2:
            noise = z2
        else:
            noise = z3
        kinetic_tile(
            block, velocity, left, right, row + part * quarter, column, rows, columns,
            left_stride, right_stride, rank, pull, step_size, kept, spread, noise,
            REFRESHED, ROWS, COLUMNS,
        )  # fmt: skip
