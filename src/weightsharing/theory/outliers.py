"""Eigenvalues of the recurrent weights outside the disc of radius sqrt(w) (THEORY 7)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightsharing.records import Array, kernel_matrix


def weight_eigenvalues(kernel: Array) -> NDArray[np.complex128]:
    """Eigenvalues that the activities give to W in a linear RNN, by decreasing modulus.

    Given the activities, W is a low-rank matrix that maps each h^t to h^(t+1) plus prior noise on the
    orthogonal complement. The noise fills the disc of radius sqrt(w); the low-rank part has the
    eigenvalues of M = H_(0..T-2, 0..T-2)^-1 H_(0..T-2, 1..T-1), shape ((T - 1) P,), of which those
    beyond the disc are outliers. Holds for input at t = 0 only. In a DNN all are 0.

    kernel: H with the axes (pattern, pattern_, time, time_).
    """
    patterns = kernel.shape[0]
    matrix = kernel_matrix(kernel)
    before, after = matrix[:-patterns, :-patterns], matrix[:-patterns, patterns:]
    # Where inputs span fewer directions than there are patterns, H is singular and M acts on its range.
    values = np.linalg.eigvals(np.linalg.pinv(before, rcond=1e-10, hermitian=True) @ after)
    return np.asarray(values[np.argsort(-np.abs(values))], dtype=np.complex128)
