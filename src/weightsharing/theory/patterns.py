"""Fewer patterns: the rotations that leave the linear theory invariant (THEORY 5).

With orthonormal inputs and all patterns supervised at the same times, S depends on the labels y^t_p
only through their scalar products. A rotation O of the patterns then maps solutions to solutions, and
patterns orthogonal to all labels keep the kernel of untrained networks. Let V be an orthonormal basis
of the span of the labels, k directions of P. Then

    H = V A V^T + B (1 - V V^T)

where A, with (time, direction) indices, is stationary for the k labels V^T y, and B is the prior kernel
of one pattern. The action of H is that of A.

The Hessian at H commutes with the rotations of the P - k patterns without labels. Each of its invariant
subspaces contains perturbations of the labelled directions, of these and one more pattern, or of two
more patterns. Its lowest eigenvalue is therefore that of the problem with k + 2 patterns.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from weightsharing.model.axes import Array
from weightsharing.theory.action import lowest_curvature, prior_kernel, stationary_point
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import LinearProblem

# Singular values of the labels below this, relative to the largest, are zero.
INDEPENDENT = 1e-10


@dataclass(frozen=True)
class Reduction:
    """A problem with the k patterns that labels need, and the way back to all P.

    whole: with P patterns. few: with k. probe: with min(P, k + 2); its Hessian has the lowest
    eigenvalue of the whole one. directions: orthonormal, (P, P); the first k span the labels.
    """

    whole: LinearProblem
    few: LinearProblem
    probe: LinearProblem
    directions: Array


def reduction(problem: LinearProblem) -> Reduction | None:
    """The problem with as many patterns as there are independent labels.

    None if it would have as many patterns, or if the rotations are no symmetry: inputs that are not
    orthonormal, or patterns supervised at different times.
    """
    patterns, steps = problem.patterns, problem.steps
    if problem.dimension < steps * patterns:
        return None
    inputs = problem.input_kernel.reshape(steps, patterns, steps, patterns)
    if not np.allclose(inputs, np.einsum("ts,pq->tpsq", inputs[:, 0, :, 0], np.eye(patterns))):
        return None
    times, order = np.divmod(problem.supervised, patterns)
    if order.size % patterns or np.any(order != np.resize(np.arange(patterns), order.size)):
        return None
    labels = problem.labels.reshape(-1, patterns, problem.labels.shape[1])
    each = labels.swapaxes(0, 1).reshape(patterns, -1)
    directions, values, _ = np.linalg.svd(np.column_stack([each, 0.0 * problem.direction]))
    count = max(1, int(np.sum(values > INDEPENDENT * values[0]))) if values[0] > 0 else 1
    if count >= patterns:
        return None

    def with_patterns(number: int) -> LinearProblem:
        identity = np.eye(steps * number)
        turned = np.kron(np.eye(steps), directions[:, :number])
        return replace(
            problem,
            basis=identity,
            inverse=identity,
            shifted=np.eye(steps * number, k=-number),
            mask=np.kron(problem.mask[::patterns, ::patterns], np.ones((number, number))),
            input_kernel=np.kron(inputs[:, 0, :, 0], np.eye(number)),
            supervised=(times[::patterns, None] * number + np.arange(number)).reshape(-1),
            labels=np.einsum("tpd,pa->tad", labels, directions[:, :number]).reshape(
                -1, labels.shape[2]
            ),
            patterns=number,
            direction=directions[:, :number].T @ problem.direction,
            # It maps the span of the labels to itself.
            reflection=None
            if problem.reflection is None
            else turned.T @ problem.reflection @ turned,
        )

    return Reduction(
        whole=problem,
        few=with_patterns(count),
        probe=with_patterns(min(patterns, count + 2)),
        directions=directions,
    )


def extend(reduced: Reduction, kernel: Array, to: LinearProblem, directions: Array) -> Array:
    """V A V^T + B (1 - V V^T) in the problem ``to``, (T patterns, T patterns).

    kernel A: (T k, T k). directions V: (patterns of ``to``, k).
    """
    steps, count, patterns = to.steps, reduced.few.patterns, to.patterns
    labelled = np.einsum(
        "pa,tasb,qb->tpsq", directions, kernel.reshape(steps, count, steps, count), directions
    )
    untrained = prior_kernel(to)[::patterns, ::patterns]
    rest = np.eye(patterns) - directions @ directions.T
    return np.asarray(labelled.reshape(steps * patterns, -1) + np.kron(untrained, rest))


def whole_point(reduced: Reduction, point: StationaryPoint) -> StationaryPoint:
    """The stationary point of all patterns, judged by its own gradient and curvature."""
    count = reduced.few.patterns
    kernel = extend(reduced, point.kernel, reduced.whole, reduced.directions[:, :count])
    probe = extend(reduced, point.kernel, reduced.probe, np.eye(reduced.probe.patterns, count))
    return stationary_point(reduced.whole, kernel, lowest_curvature(reduced.probe, probe)[0])
