"""Inputs and targets of the tasks."""

from __future__ import annotations

import numpy as np

from weightsharing.records import Array, EndpointTask, Task


def make_task(spec: EndpointTask, steps: int) -> Task:
    """The task of a run: P orthonormal inputs at t = 0, label y_p at output time T (THEORY 5).

    The inputs are the unit vectors of R^P, so that x_p . x_p' = delta_pp'. Signal strength is
    lambda = sum_p y_p^2.
    """
    patterns = len(spec.labels)
    inputs = np.zeros((patterns, steps, patterns))
    inputs[:, 0] = np.eye(patterns)
    targets = np.full((patterns, steps), np.nan)
    targets[:, -1] = spec.labels
    supervised = np.zeros((patterns, steps), dtype=bool)
    supervised[:, -1] = True
    return Task(inputs, targets, supervised)


def label_kernels(task: Task) -> tuple[Array, Array]:
    """Y_00^(tt') = y_0^t y_0^t' and Y_pp'^(TT) = y_p^T y_p'^T; labels that there are not count as 0."""
    labels = np.where(task.supervised, task.targets, 0.0)
    return np.outer(labels[0], labels[0]), np.outer(labels[:, -1], labels[:, -1])
