"""The roofline of a step: its counted work at the measured ceilings of the hardware.

A step of SGLD reads and writes every weight and draws one normal deviate for each. It multiplies by
the weights once forward and once backward at each time. Each kind of work has a highest rate. The
roofline is the largest of the three times at these rates (Williams, Waterman & Patterson 2009).
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
    """The least work of one step: bytes moved, floating-point operations, normal deviates drawn."""

    bytes: float
    operations: float
    deviates: float

    def least_seconds(self, ceilings: Ceilings) -> float:
        """The roofline: the longest of the three times, each at its ceiling."""
        return max(
            self.bytes / ceilings.bytes,
            self.operations / ceilings.operations,
            self.deviates / ceilings.deviates,
        )


def measure_ceilings(device: torch.device, size: int = 2**25, side: int = 2048) -> Ceilings:
    """Ceilings of a device in float32, with the threads of PyTorch.

    Bytes: a <- a + s b on vectors far larger than the caches. Operations: a product of matrices.
    Deviates: one long row for each thread. On a GPU, memory limits this rate of deviates. Fused steps
    draw in registers and do not have this limit.
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
    writes every matrix once, as the fused steps do. Operations: forward, backward and the gradient's
    outer products. Deviates: one for each recurrent weight. U and v are left out: they are smaller
    by a factor of N.
    """
    products = architecture.steps - 1
    matrix = float(width * width)
    matrices = architecture.weight_matrices
    return Work(
        bytes=chains * _BYTES * matrix * (2 * products + 2 * matrices),
        operations=chains * 2.0 * matrix * patterns * 3 * products,
        deviates=chains * matrix * matrices,
    )
