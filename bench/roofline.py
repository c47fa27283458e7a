"""What the hardware allows: ceilings measured in the same run, and the work of a step counted.

A step of SGLD has to read and write every weight, to multiply by the weights once forward and once
backward at each time, and to draw one normal deviate for each. None of the three can be done faster
than at its ceiling: the largest of the three times is the roofline (Williams, Waterman & Patterson 2009).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bench.clock import seconds
from weightsharing.model.architecture import Architecture
from weightsharing.sampling.random import fill_normal, new_streams

_BYTES = 4  # of a weight in float32


@dataclass(frozen=True)
class Ceilings:
    """Rates per second: bytes moved, floating-point operations, normal deviates drawn."""

    bytes: float
    operations: float
    deviates: float


@dataclass(frozen=True)
class Work:
    """What one step of one chain has to do at least: bytes, operations, deviates."""

    bytes: float
    operations: float
    deviates: float

    def least_seconds(self, ceilings: Ceilings) -> float:
        """The time of the slowest of the three at its ceiling."""
        return max(
            self.bytes / ceilings.bytes,
            self.operations / ceilings.operations,
            self.deviates / ceilings.deviates,
        )


def measure_ceilings(device: torch.device, size: int = 2**25, side: int = 2048) -> Ceilings:
    """Ceilings of a device in float32, by the threads that PyTorch may use.

    Bytes by a <- a + s b on vectors far larger than the caches, operations by a product of matrices,
    deviates by filling one long row for each thread. On a GPU the last is bound by memory, which kernels
    that draw where they use are not; it is not what a step waits for there.
    """
    first, second = (torch.ones(size, device=device) for _ in range(2))
    matrix = torch.ones(side, side, device=device)
    out = torch.empty_like(matrix)
    rows = torch.empty(torch.get_num_threads(), side * side, device=device)
    streams = new_streams(0, len(rows), device)
    moved = seconds(lambda: first.add_(second, alpha=1e-9), device)
    multiplied = seconds(lambda: torch.mm(matrix, matrix, out=out), device)
    drawn = seconds(lambda: fill_normal(rows, streams), device)
    return Ceilings(
        bytes=3.0 * _BYTES * size / moved,
        operations=2.0 * side**3 / multiplied,
        deviates=rows.numel() / drawn,
    )


def step_work(architecture: Architecture, width: int, patterns: int, chains: int) -> Work:
    """The least work of a step of SGLD for all chains.

    Bytes: each of the T - 1 forward and backward products reads one matrix, and the update reads and
    writes every matrix once, as the fused kernels do. Operations: forward, backward and the gradient's
    outer products. Deviates: one for each recurrent weight. U and v, smaller by a factor of N, are left
    out.
    """
    products = architecture.steps - 1
    matrix = float(width * width)
    matrices = architecture.weight_matrices
    return Work(
        bytes=chains * _BYTES * matrix * (2 * products + 2 * matrices),
        operations=chains * 2.0 * matrix * patterns * 3 * products,
        deviates=chains * matrix * matrices,
    )
