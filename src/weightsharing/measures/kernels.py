"""Measures of a kernel H or Phi: temporal coherence, alignment and relative error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightsharing.measures.estimate import Estimate, average, estimate
from weightsharing.model.axes import Array, kernel_matrix, time_major
from weightsharing.model.task import Task


def temporal_coherence(kernel: NDArray[np.floating]) -> tuple[Array, Array]:
    """Sum of the off-diagonal and of the diagonal elements of H_00^(tt'), each of shape (...).

    Their ratio is the temporal coherence: 0 if the steps are uncorrelated, T - 1 if all are the same.
    kernel: (..., pattern, pattern_, time, time_).
    """
    first = np.asarray(kernel[..., 0, 0, :, :], dtype=np.float64)
    diagonal = np.trace(first, axis1=-2, axis2=-1)
    return first.sum(axis=(-2, -1)) - diagonal, diagonal


def alignment(kernel: NDArray[np.floating], reference: Array) -> Array:
    """Centered kernel alignment (Kornblith et al. 2019) of kernels with a reference, (...).

    CKA(K, L) = <K', L'> / (|K'| |L'|) with K' = J K J, where J = 1 - 1/(T P) projects orthogonally to the
    constant vector. 1 if K' and L' are proportional. kernel: (..., pattern, pattern_, time, time_).
    """
    patterns, steps = reference.shape[0], reference.shape[-1]
    centre = np.eye(patterns * steps) - 1.0 / (patterns * steps)

    def centred(values: NDArray[np.floating]) -> Array:
        flat = np.moveaxis(np.asarray(values, dtype=np.float64), -2, -4)
        flat = np.moveaxis(flat, -1, -2)
        return np.asarray(
            centre @ flat.reshape(*values.shape[:-4], len(centre), len(centre)) @ centre
        )

    first, second = centred(kernel), centred(reference)
    norm = np.linalg.norm(first, axis=(-2, -1)) * np.linalg.norm(second)
    return np.asarray((first * second).sum(axis=(-2, -1)) / norm)


def target_alignment(kernel: Array, task: Task) -> float:
    """<K, Y> / (|K| |Y|) with Y = y y^T over all patterns and output times (Cristianini et al. 2001).

    1 if the kernel holds the targets' direction only: then a readout that fits some outputs fits all.
    y is 0 where there is no target. With several readouts Y is a sum over them. kernel: (pattern,
    pattern_, time, time_).
    """
    matrix, labels = kernel_matrix(kernel), time_major(_targets(task))
    along = float((labels * (matrix @ labels)).sum())
    return along / float(np.linalg.norm(matrix) * np.linalg.norm(labels.T @ labels))


def _targets(task: Task) -> Array:
    """All targets, (pattern, output_time, readout); 0 where there is none."""
    return np.nan_to_num(task.targets).reshape(task.patterns, task.steps, -1)


def estimate_target_alignment(draws: NDArray[np.floating], task: Task) -> Estimate:
    """``target_alignment`` of the mean of draws (chain, draw, ...), its errors by linearisation."""
    values = np.asarray(draws, dtype=np.float64)
    mean = values.mean(axis=(0, 1))
    value, size = target_alignment(mean, task), np.linalg.norm(mean)
    labels = _targets(task)
    along = np.einsum("ptd,...pqts,qsd->...", labels, values - mean, labels, optimize=True)
    length = np.linalg.norm(np.einsum("ptd,pte->de", labels, labels))
    onto = np.einsum("pqts,...pqts->...", mean, values - mean, optimize=True)
    return estimate(value + along / (size * length) - value * onto / size**2)


def estimate_scale(draws: NDArray[np.floating], reference: Array) -> Estimate:
    """<K, L> / <L, L> of draws (chain, draw, ...) with a reference L: 1 if their means agree.

    It sees a small error that all entries share.
    """
    scale = np.einsum("...pqts,pqts->...", np.asarray(draws, dtype=np.float64), reference)
    return estimate(scale / (reference**2).sum())


def relative_error(kernel: Array, reference: Array) -> float:
    """Frobenius norm of the difference, relative to that of the reference."""
    return float(np.linalg.norm(kernel - reference) / np.linalg.norm(reference))


@dataclass(frozen=True)
class RelativeError:
    """Relative Frobenius error of a mean of draws.

    value, standard_error. noise: the contribution of sampling noise, the root of the summed squared
    standard errors; a value no larger than it is compatible with 0.
    """

    value: float
    standard_error: float
    noise: float


def estimate_relative_error(
    draws: NDArray[np.floating], reference: Array, standard_error: Array
) -> RelativeError:
    """``relative_error`` of the mean of draws (chain, draw, ...), its error bar by linearisation.

    standard_error: of each entry of that mean.
    """
    values = np.asarray(draws, dtype=np.float64).reshape(*draws.shape[:2], -1)
    size = float(np.linalg.norm(reference))
    difference = values.mean(axis=(0, 1)) - reference.reshape(-1)
    along = values @ (difference / np.linalg.norm(difference))
    return RelativeError(
        value=float(np.linalg.norm(difference)) / size,
        standard_error=float(average(along).standard_error) / size,
        noise=float(np.linalg.norm(standard_error)) / size,
    )
