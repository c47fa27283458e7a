"""Mean outputs without the noise of the readout (THEORY 8)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.axes import Array, time_major
from weightsharing.model.task import Task


def conditional_outputs(
    activation_kernel: NDArray[np.floating], task: Task, readout: float, kappa: float
) -> Array:
    """E[f | Phi] = v Phi_(.S) (kappa + v Phi_SS)^-1 y_S of each kernel, (..., pattern, output_time, ...).

    Given Phi, outputs are Gaussian at any N, by any sampler: their mean over draws is that of f, without
    the noise of v. activation_kernel Phi: (..., pattern, pattern_, time, time_), of one draw each.
    readout v: the prior variance. It is 0 if nothing is supervised.
    """
    patterns, steps = task.patterns, task.steps
    matrix = np.moveaxis(np.asarray(activation_kernel, dtype=np.float64), (-2, -1), (-4, -2))
    matrix = matrix.reshape(*activation_kernel.shape[:-4], steps * patterns, steps * patterns)
    chosen = time_major(task.supervised)
    labels = time_major(task.labels)[chosen]
    seen = readout * matrix[..., chosen]
    noisy = seen[..., chosen, :] + kappa * np.eye(len(labels))
    weights = np.linalg.solve(noisy, np.broadcast_to(labels, (*noisy.shape[:-2], *labels.shape)))
    flat = seen @ weights
    outputs = flat.reshape(*flat.shape[:-2], steps, patterns, -1).swapaxes(-2, -3)
    return np.asarray(outputs[..., 0] if task.readouts == 1 else outputs)
