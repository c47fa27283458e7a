"""Fewer patterns: the reduced problem against the whole one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import KAPPA, endpoint, given_task

from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array
from weightsharing.model.task import Task
from weightsharing.theory import patterns, search
from weightsharing.theory.action import lowest_curvature
from weightsharing.theory.problem import linear_problem


def orthonormal_task(labels: Array, steps: int, times: tuple[int, ...]) -> Task:
    """Orthonormal inputs at t = 0, labels (time, pattern) at the given output times."""
    count = labels.shape[1]
    inputs = np.zeros((count, steps, count))
    inputs[:, 0] = np.eye(count)
    targets = np.full((count, steps), np.nan)
    targets[:, np.array(times) - 1] = labels.T
    return given_task(inputs, targets)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
@pytest.mark.parametrize("signal", [0.3, 2.0])
def test_same_stationary_points_as_with_all_patterns(kind: Kind, signal: float) -> None:
    """Below and above the transition, for labels with one and with two independent directions."""
    labels = np.sqrt(signal) * np.array([[0.7, -0.5, 0.5, 0.1]])
    two = np.sqrt(signal) * np.array([[0.7, -0.5, 0.5, 0.1], [0.2, 0.9, 0.3, -0.4]])
    for values, steps, times in ((labels, 5, (5,)), (two, 4, (2, 4))):
        task = orthonormal_task(values, steps, times)
        problem = linear_problem(task, Architecture(kind=kind, steps=steps), KAPPA)
        reduced = patterns.reduction(problem)
        assert reduced is not None
        assert reduced.few.patterns == len(values)
        whole = search.search_linear(problem, 2, seed=0)
        few = search.stationary_points(problem, random_starts=2)
        assert len(few) == len(whole)
        for one, other in zip(few, whole, strict=True):
            assert one.converged
            np.testing.assert_allclose(one.kernel, other.kernel, rtol=0, atol=1e-6)
            assert one.action == pytest.approx(other.action, abs=1e-10)
            # The soft direction may be any: labelled, mixed, or among unlabelled patterns.
            assert one.lowest_curvature == pytest.approx(other.lowest_curvature, abs=1e-6)


def test_probe_sees_perturbations_among_unlabelled_patterns() -> None:
    """Each kind of perturbation has the Hessian's lowest value somewhere in the probe's patterns.

    For arbitrary kernels of the invariant form, where nothing is stationary and the softest direction
    need not be along the labels.
    """
    generator = np.random.default_rng(5)
    for _ in range(6):
        problem = endpoint("rnn", 3, [1.1, 0.4, -0.6, 0.2, 0.5])
        reduced = patterns.reduction(problem)
        assert reduced is not None
        kernel = search.random_start(reduced.few, generator)
        whole = patterns.extend(reduced, kernel, problem, reduced.directions[:, :1])
        probe = patterns.extend(reduced, kernel, reduced.probe, np.eye(3, 1))
        expected = lowest_curvature(problem, whole)[0]
        assert lowest_curvature(reduced.probe, probe)[0] == pytest.approx(expected, abs=1e-9)


def test_no_reduction_without_the_symmetry() -> None:
    labels = np.array([[0.7, -0.5, 0.5, 0.1]])
    task = orthonormal_task(labels, 4, (4,))
    network = Architecture(kind="rnn", steps=4)

    def reduced(changed: Task) -> patterns.Reduction | None:
        return patterns.reduction(linear_problem(changed, network, KAPPA))

    assert reduced(task) is not None
    inputs = task.inputs.copy()
    inputs[0, 0, 1] = 0.3
    assert reduced(replace(task, inputs=inputs)) is None
    assert reduced(replace(task, inputs=task.inputs[:, :, :2])) is None
    supervised = task.supervised.copy()
    supervised[0, -1] = False
    assert reduced(replace(task, supervised=supervised)) is None
    assert reduced(orthonormal_task(np.diag([1.0, 2.0]), 4, (2, 4))) is None
