"""Inputs and targets of the tasks."""

from __future__ import annotations

import numpy as np

from weightsharing.records import Array, EndpointTask, SinusoidTask, Task


def make_task(spec: EndpointTask | SinusoidTask, steps: int) -> Task:
    """The task of a run with T = ``steps``."""
    if isinstance(spec, SinusoidTask):
        return sinusoid_task(steps, spec.supervised)
    return endpoint_task(spec.labels, steps)


def endpoint_task(labels: tuple[float, ...], steps: int) -> Task:
    """P orthonormal inputs at t = 0, label y_p at output time T (THEORY 5).

    The inputs are the unit vectors of R^P, so that x_p . x_p' = delta_pp'. Signal strength is
    lambda = sum_p y_p^2.
    """
    patterns = len(labels)
    inputs = np.zeros((patterns, steps, patterns))
    inputs[:, 0] = np.eye(patterns)
    targets = np.full((patterns, steps), np.nan)
    targets[:, -1] = labels
    supervised = np.zeros((patterns, steps), dtype=bool)
    supervised[:, -1] = True
    return Task(inputs, targets, supervised)


def sinusoid_task(steps: int, supervised: tuple[int, ...] | None = None) -> Task:
    """x^t = delta_(t,0) and y^t = cos(2 pi t / T), t = 1..T, trained on at ``supervised`` times."""
    inputs = np.zeros((1, steps, 1))
    inputs[0, 0] = 1.0
    time = np.arange(1, steps + 1)
    chosen = np.ones(steps, dtype=bool) if supervised is None else np.isin(time, supervised)
    return Task(inputs, np.cos(2.0 * np.pi * time / steps)[None], chosen[None])


def label_kernels(task: Task) -> tuple[Array, Array]:
    """Y_00^(tt') = y_0^t y_0^t' and Y_pp'^(TT) = y_p^T y_p'^T; labels that there are not count as 0."""
    labels = np.where(task.supervised, task.targets, 0.0)
    return np.outer(labels[0], labels[0]), np.outer(labels[:, -1], labels[:, -1])
