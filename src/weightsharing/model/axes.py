"""Names of the axes of every file, and the orders of kernel indices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

# Axis names of every file. A trailing underscore marks the second index of a kernel.
KERNEL_AXES = ("pattern", "pattern_", "time", "time_")
OUTPUT_AXES = ("pattern", "output_time")
DRAW_AXES = ("chain", "draw")

# Eigenvalues of the recurrent matrices at some draws; the last axis is real and imaginary part.
SPECTRUM_AXES = ("chain", "spectrum", "matrix", "unit", "part")


def output_axes(values: NDArray[Any]) -> tuple[str, ...]:
    """The axes of outputs or targets, (..., pattern, output_time) or, with several readouts, one more."""
    return OUTPUT_AXES if values.ndim == len(OUTPUT_AXES) else (*OUTPUT_AXES, "readout")


def time_major(values: NDArray[Any]) -> NDArray[Any]:
    """(pattern, time, ...) array with the first two axes as one, of index t P + p as in the theory."""
    return np.ascontiguousarray(values.swapaxes(0, 1)).reshape(-1, *values.shape[2:])


def kernel_axes(matrix: Array, patterns: int, steps: int) -> Array:
    """(T P, T P) matrix of index t P + p, reordered to the axes (pattern, pattern_, time, time_)."""
    return np.ascontiguousarray(
        matrix.reshape(steps, patterns, steps, patterns).transpose(1, 3, 0, 2)
    )


def kernel_matrix(kernel: Array) -> Array:
    """The inverse of ``kernel_axes``: (pattern, pattern_, time, time_) to a (T P, T P) matrix."""
    patterns, _, steps, _ = kernel.shape
    return np.ascontiguousarray(kernel.transpose(2, 0, 3, 1)).reshape(
        steps * patterns, steps * patterns
    )
