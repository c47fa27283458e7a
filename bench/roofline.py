"""Limits of the hardware: ceilings measured in the same run, and the work of a step counted.

A step of SGLD reads and writes every weight, multiplies by the weights once forward and once backward at
each time, and draws one normal deviate for each. The largest of the three times, each at its ceiling, is
the roofline (Williams, Waterman & Patterson 2009): no step is faster.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.clock import seconds
from weightsharing.model.architecture import Architecture
from weightsharing.sampling.backends.compiled import step as compiled
from weightsharing.sampling.random import by_thread, fill_normal, new_streams

_BYTES = 4  # of a weight in float32


class Work(NamedTuple):
    """Bytes moved, floating-point operations and normal deviates: of a step, or in a second."""

    bytes: float
    operations: float
    deviates: float

    def least_seconds(self, ceilings: Work) -> float:
        """The time of the slowest of the three at its ceiling."""
        return max(amount / rate for amount, rate in zip(self, ceilings, strict=True))


def measure_ceilings(device: torch.device, size: int = 2**25, side: int = 2048) -> Work:
    """Rates per second of a device in float32, with PyTorch's number of threads.

    Bytes by a <- a + s b on vectors far larger than the caches, operations by a product of matrices,
    deviates by filling one long row for each thread, or on a CPU short ones, as compiled steps do. On a
    GPU memory limits the last rate. Fused steps are not bound by it: they draw deviates in registers.
    """
    first, second = (torch.ones(size, device=device) for _ in range(2))
    matrix = torch.ones(side, side, device=device)
    out = torch.empty_like(matrix)
    rows = torch.empty(torch.get_num_threads(), side * side, device=device)
    moved = seconds(lambda: first.add_(second, alpha=1e-9), device)
    multiplied = seconds(lambda: torch.mm(matrix, matrix, out=out), device)
    drawn = seconds(deviates_into(rows), device)
    return Work(3.0 * _BYTES * size / moved, 2.0 * side**3 / multiplied, rows.numel() / drawn)


def deviates_into(rows: Tensor) -> Callable[[], None]:
    """A function that draws as many standard normal deviates as ``rows`` has, (thread, number)."""
    if rows.device.type != "cpu":
        streams = new_streams(0, len(rows), rows.device)
        return lambda: fill_normal(rows, streams)

    def fill(threads: slice) -> None:
        generators, deviates = (
            np.ones((4, compiled.LANES), np.uint32),
            np.empty(compiled.AHEAD, np.float32),
        )
        for _ in range(rows[threads].numel() // compiled.AHEAD):
            compiled.fill_normal(generators, deviates)

    return lambda: by_thread(fill, rows)


def step_work(architecture: Architecture, width: int, patterns: int, chains: int) -> Work:
    """The least work of a step of SGLD for all chains.

    Bytes: each of the T - 1 forward and backward products reads one matrix, and the update reads and
    writes every matrix once, as the fused steps do. Operations: forward, backward and the gradient's
    outer products. Deviates: one for each recurrent weight. U and v, smaller by a factor of N, are left
    out.
    """
    products, matrices = architecture.steps - 1, architecture.weight_matrices
    matrix = float(width * width)
    return Work(
        bytes=chains * _BYTES * matrix * (2 * products + 2 * matrices),
        operations=chains * 2.0 * matrix * patterns * 3 * products,
        deviates=chains * matrix * matrices,
    )
