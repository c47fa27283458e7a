"""The fused step in Triton. Only ``steps.move`` imports this module, when it is called.

One pass moves all matrices A of a batch of chains. It reads and writes each once, adds the gradient of
the loss as a sum of outer products, and draws the noise where it is used. All is float32. Sums are plain
multiply-adds, which keeps TF32 out.

A program has a tile of ``quarter`` x columns, quarter = ceil(rows / 4), and the three tiles below it at
distances of ``quarter`` rows. These four entries share a counter of Philox, which gives four deviates.
Threads exchange nothing, and the deviate of an entry does not depend on the size of a tile.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Triton compiles again for an argument that is 1 or a multiple of 16. For these that gains nothing.
PLAIN = ("matrices", "first_matrix", "rank")


@triton.jit
def unit_vector(bits):
    """Cosine and sine of a uniform angle, from a block of 32 random bits.

    Two bits choose the quadrant. Thirty choose the angle x within pi/4 of its middle, where Taylor series
    to x^9 are exact in float32. The library's functions reduce the angle first, in much more code.
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
    # The logarithm near 1 may round to above 0.
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
def move_tile(
    block, velocity, left, right, row, column, rows, columns, left_stride, right_stride, rank,
    pull, step_size, kept, spread, noise,
    KINETIC: tl.constexpr, NOISY: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """``step`` on one tile."""
    inside = (row < rows)[:, None] & (column < columns)[None, :]
    place = row.to(tl.int64)[:, None] * columns + column[None, :]
    gradient = outer_products(
        left, right, row, column, rows, columns, left_stride, right_stride, rank, ROWS, COLUMNS
    )
    value = tl.load(block + place, mask=inside, other=0.0)
    if KINETIC:
        moving = tl.load(velocity + place, mask=inside, other=0.0)
        moving += pull * gradient - step_size * value
        if NOISY:
            value += 0.5 * step_size * moving
            moving = kept * moving + spread * noise
            value += 0.5 * step_size * moving
        else:
            value += step_size * moving
        tl.store(velocity + place, moving, mask=inside)
    else:
        value = kept * value + pull * gradient + spread * noise
    tl.store(block + place, value, mask=inside)


@triton.jit(do_not_specialize=PLAIN)
def step(
    blocks, velocities, left, right, keys, clock, matrices, first_matrix, rows, columns, rank,
    chain_stride, left_chain, left_matrix, left_stride, right_chain, right_matrix, right_stride,
    pull, step_size, kept, spread,
    KINETIC: tl.constexpr, NOISY: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """A step of all matrices A, and of their velocities V if KINETIC, of all chains.

    SGLD: A <- kept A + pull left^T right + spread xi. Underdamped dynamics: V <- V - h A +
    pull left^T right, then drift, friction and noise, drift (A O A) if NOISY, else drift (A).
    """
    chain = (tl.program_id(2) // matrices).to(tl.int64)
    matrix = (tl.program_id(2) % matrices).to(tl.int64)
    quarter = (rows + 3) // 4
    local = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    if NOISY:
        z0, z1, z2, z3 = deviates(
            tl.load(keys + chain), local, column, columns, first_matrix + matrix, tl.load(clock)
        )
    else:
        z0, z1, z2, z3 = 0.0, 0.0, 0.0, 0.0
    # Rows beyond the quarter belong to the next program: out of bounds here.
    row = tl.where(local < quarter, local, rows)
    first = chain * chain_stride + matrix * rows * columns
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
        move_tile(
            blocks + first, velocities + first, left, right, row + part * quarter, column,
            rows, columns, left_stride, right_stride, rank, pull, step_size, kept, spread, noise,
            KINETIC, NOISY, ROWS, COLUMNS,
        )  # fmt: skip
