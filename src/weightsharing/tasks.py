"""Inputs and targets of the tasks."""

from __future__ import annotations

import math

import numpy as np

from weightsharing.records import Array, EndpointTask, SequenceTask, SinusoidTask, Task


def make_task(spec: EndpointTask | SinusoidTask | SequenceTask, steps: int) -> Task:
    """The task of a run with T = ``steps``. Raises TypeError for a family: its members have them."""
    if isinstance(spec, EndpointTask):
        return endpoint_task(spec.labels, steps)
    if isinstance(spec, SinusoidTask):
        return sinusoid_task(steps, spec.supervised, spec.period)
    raise TypeError("a family of tasks is made member by member")


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


def sinusoid_task(
    steps: int, supervised: tuple[int, ...] | None = None, period: float | None = None
) -> Task:
    """x^t = delta_(t,0) and y^t = cos(2 pi t / period), t = 1..T, trained on at ``supervised`` times.

    The targets are the outputs of ``rotation_teacher``. period: T if None.
    """
    inputs = np.zeros((1, steps, 1))
    inputs[0, 0] = 1.0
    time = np.arange(1, steps + 1)
    chosen = np.ones(steps, dtype=bool) if supervised is None else np.isin(time, supervised)
    targets = np.cos(2.0 * np.pi * time / (steps if period is None else period))
    return Task(inputs, targets[None], chosen[None])


def rotation_teacher(period: float) -> tuple[Array, Array, Array]:
    """W*, U* and v* of the linear RNN whose output is cos(2 pi t / period) (THEORY 10).

    W* rotates a plane by 2 pi / period at each step, so its eigenvalues are exp(+-2 pi i / period).
    Shapes (2, 2), (2, 1) and (2,); its outputs are v* . h^(t-1), without a factor.
    """
    angle = 2.0 * np.pi / period
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    readout = np.array([1.0, 0.0])
    return rotation, rotation[:, :1].copy(), readout


def random_sets(steps: int, count: int, seed: int) -> tuple[tuple[int, ...], ...]:
    """For each n = 1..T up to ``count`` different sets of n output times, drawn at random."""
    generator = np.random.default_rng(seed)
    found: list[tuple[int, ...]] = []
    for size in range(1, steps + 1):
        sets: dict[tuple[int, ...], None] = {}
        while len(sets) < min(count, math.comb(steps, size)):
            drawn = generator.choice(steps, size, replace=False) + 1
            sets[tuple(sorted(int(time) for time in drawn))] = None
        found += sets
    return tuple(found)


def even_sets(steps: int) -> tuple[tuple[int, ...], ...]:
    """For each n = 1..T the output times round(k T / n), k = 1..n."""
    return tuple(
        tuple(math.floor(index * steps / size + 0.5) for index in range(1, size + 1))
        for size in range(1, steps + 1)
    )


def label_kernels(task: Task) -> tuple[Array, Array]:
    """Y_00^(tt') = y_0^t y_0^t' and Y_pp'^(TT) = y_p^T y_p'^T; labels that there are not count as 0."""
    labels = np.where(task.supervised, task.targets, 0.0)
    return np.outer(labels[0], labels[0]), np.outer(labels[:, -1], labels[:, -1])
