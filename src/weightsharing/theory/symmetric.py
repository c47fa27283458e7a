"""Symmetric matrices as vectors, so that Hessians with respect to kernels are matrices.

The coordinates of a symmetric matrix X are its entries X_ij with i <= j, row by row. Off-diagonal
entries carry a factor sqrt 2, so that x . y = tr(X Y).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from weightsharing.model.axes import Array


@lru_cache(maxsize=32)
def coordinates(size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Row, column and factor (1 or sqrt 2) of every coordinate of a matrix (size, size)."""
    rows, columns = np.triu_indices(size)
    return rows, columns, np.where(rows == columns, 1.0, np.sqrt(2.0))


def packed_size(size: int) -> int:
    """Number of coordinates of a symmetric matrix (size, size)."""
    return size * (size + 1) // 2


def pack(symmetric: Array) -> Array:
    """Coordinates (..., k (k + 1) / 2) of symmetric matrices (..., k, k)."""
    rows, columns, factor = coordinates(symmetric.shape[-1])
    return np.asarray(symmetric[..., rows, columns] * factor)


def unpack(vector: Array) -> Array:
    """Symmetric matrices (..., k, k) from their coordinates; the inverse of ``pack``."""
    size = int(np.sqrt(2 * vector.shape[-1]))
    rows, columns, factor = coordinates(size)
    scaled = vector / factor
    symmetric = np.zeros((*vector.shape[:-1], size, size))
    symmetric[..., rows, columns] = scaled
    symmetric[..., columns, rows] = scaled
    return symmetric


def transpose(matrices: Array) -> Array:
    """The transposes of stacked matrices (..., k, k)."""
    return np.swapaxes(matrices, -1, -2)


def sandwich(left: Array, right: Array) -> Array:
    """The map X -> (left X right + right X left) / 2 of symmetric matrices, in coordinates."""
    moved = left @ unpack(np.eye(packed_size(len(left)))) @ right
    return pack(0.5 * (moved + transpose(moved)))


def whiten(frame: Array, symmetric: Array) -> Array:
    """L^-1 X L^-T with the lower triangular frame L, for symmetric X (k, k)."""
    half = linalg.solve_triangular(frame, symmetric, lower=True)
    return np.asarray(linalg.solve_triangular(frame, half.T, lower=True))
