"""Symmetric matrices as vectors, so that Hessians in kernels are matrices."""

from __future__ import annotations

import numpy as np

from weightsharing.model.axes import Array


def pack(symmetric: Array) -> Array:
    """Symmetric (..., k, k) to coordinates (..., k (k + 1) / 2); off-diagonal entries carry sqrt 2.

    The Euclidean scalar product of coordinates is the Frobenius product of matrices.
    """
    rows, columns = np.triu_indices(symmetric.shape[-1])
    return np.asarray(symmetric[..., rows, columns] * np.where(rows == columns, 1.0, np.sqrt(2.0)))


def unpack(vector: Array) -> Array:
    """The inverse of ``pack``."""
    size = int(np.sqrt(2 * vector.shape[-1]))
    rows, columns = np.triu_indices(size)
    scaled = vector / np.where(rows == columns, 1.0, np.sqrt(2.0))
    symmetric = np.zeros((*vector.shape[:-1], size, size))
    symmetric[..., rows, columns] = scaled
    symmetric[..., columns, rows] = scaled
    return symmetric


def packed_size(size: int) -> int:
    """Number of coordinates of a symmetric matrix (size, size)."""
    return size * (size + 1) // 2


def sandwich(left: Array, right: Array) -> Array:
    """The map X -> (left X right + right X left) / 2 of symmetric matrices, in coordinates."""
    moved = left @ unpack(np.eye(packed_size(len(left)))) @ right
    return pack(0.5 * (moved + np.swapaxes(moved, -1, -2)))
