"""The sign symmetry W -> -W, the order parameter, and the branch m > 0 (THEORY 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.activations import ACTIVATIONS
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array
from weightsharing.model.task import Task

# Scalar products of inputs and targets below this, relative to their sizes, are 0 up to rounding.
VANISHING = 1e-12


def reflection(task: Task, architecture: Architecture) -> Array | None:
    """Signs D_p^t with which W -> -W maps the posterior to itself, (pattern, time); None without them.

    h_p^t -> D_p^t h_p^t, and so H_pp'^(tt') -> D_p^t D_p'^t' H_pp'^(tt') and f_p^t -> D_p^(t-1) f_p^t.
    The signs are D_p^t = s_p (-1)^t. They exist for an RNN with an odd activation if

        s_p (-1)^t = s_p' (-1)^t'  wherever x_p^t . x_p'^t' differs from 0 (U can follow), and
        s_p (-1)^(t-1) = 1         wherever a target y_p^t differs from 0.

    A target of 0 stays 0 under f -> -f. The order parameter must change its sign as well. A DNN can
    change the sign of each of its matrices by itself, and does not order (THEORY 4).
    """
    if architecture.kind != "rnn" or not ACTIVATIONS[architecture.activation].odd:
        return None
    return task_reflection(task)


def task_reflection(task: Task) -> Array | None:
    """``reflection`` of an RNN with an odd activation."""
    signs = _signs(task)
    if signs is None:
        return None
    alternating = (-1.0) ** np.arange(task.steps)
    return np.asarray(np.multiply.outer(signs[: task.patterns], alternating))


def output_reflection(task: Task, architecture: Architecture) -> Array | None:
    """Signs with which W -> -W maps outputs, of the shape of the targets; None without the symmetry.

    f_p^t -> D_p^(t-1) f_p^t times the sign of its readout, so that labelled outputs stay.
    """
    kernel_signs, signs = reflection(task, architecture), _signs(task)
    if kernel_signs is None or signs is None:
        return None
    found = kernel_signs[..., None] * signs[task.patterns :]
    return np.asarray(found.reshape(task.targets.shape))


def _signs(task: Task) -> Array | None:
    """s_p of each pattern and the sign of each readout, (P + D,); None if there are none."""
    patterns, steps = task.patterns, task.steps
    alternating = (-1.0) ** np.arange(steps)
    rows = task.inputs.reshape(patterns * steps, -1)
    norms = np.linalg.norm(rows, axis=1)
    products = np.abs(rows @ rows.T) > VANISHING * np.outer(norms, norms)
    labels = np.abs(task.labels)
    labelled = labels > VANISHING * labels.max(initial=0.0)
    # Nodes from P on stand for readouts. An edge says whether two signs are equal (1) or opposite (-1).
    nodes = patterns + task.readouts
    equal, opposite = (np.zeros((nodes, nodes), dtype=bool) for _ in range(2))
    of_pairs = products.reshape(patterns, steps, patterns, steps)
    for edges, sign in ((equal, 1.0), (opposite, -1.0)):
        chosen = np.multiply.outer(alternating, alternating) == sign
        edges[:patterns, :patterns] = (of_pairs & chosen[None, :, None, :]).any(axis=(1, 3))
        of_labels = labelled[:, alternating == sign].any(axis=1)
        edges[:patterns, patterns:], edges[patterns:, :patterns] = of_labels, of_labels.T
    if np.any(equal & opposite):
        return None
    coupling = equal.astype(float) - opposite
    signs = np.zeros(nodes)
    for node in (*range(patterns, nodes), *range(patterns)):
        if signs[node] == 0.0:
            signs[node] = 1.0
            reached = [node]
            while reached:
                here = reached.pop()
                new = (signs == 0.0) & (coupling[here] != 0.0)
                signs[new] = signs[here] * coupling[here, new]
                reached += np.flatnonzero(new).tolist()
    if np.any(coupling * np.outer(signs, signs) < 0.0):
        return None
    # m is a sum over pairs of patterns; it changes its sign if the two signs of each pair are equal.
    direction = label_direction(task).reshape(patterns, -1)
    pairs = direction @ direction.T
    if np.any(np.abs(pairs[np.outer(signs[:patterns], signs[:patterns]) < 0.0]) > VANISHING):
        return None
    return signs


def is_sign_symmetric(task: Task, architecture: Architecture) -> bool:
    """Whether W -> -W is a symmetry of the posterior under which m changes sign (``reflection``)."""
    return reflection(task, architecture) is not None


def label_direction(task: Task) -> Array:
    """Labels of the last time that has any, divided by their norm: e_p, or e_pd with several readouts.

    Labels of 0, up to rounding, do not count. It is uniform without labels. The order parameter is the
    kernel along it.
    """
    labels = task.labels
    labels = np.where(np.abs(labels) > VANISHING * np.abs(labels).max(initial=0.0), labels, 0.0)
    times = np.flatnonzero(labels.any(axis=(0, 2)))
    if not times.size:
        return np.full(task.patterns, task.patterns**-0.5)
    last = labels[:, times[-1]] / np.linalg.norm(labels[:, times[-1]])
    return np.asarray(last[:, 0] if task.readouts == 1 else last)


def along(matrix: NDArray[np.floating], direction: Array) -> Array:
    """sum_d e_d^T M e_d of matrices (..., pattern, pattern_); direction e: of ``label_direction``."""
    columns = direction.reshape(len(direction), -1)
    return np.asarray(np.einsum("pd,...pq,qd->...", columns, matrix, columns), dtype=np.float64)


def order_parameter(kernel: NDArray[np.floating], direction: Array) -> Array:
    """m = sum_pp'd e_pd H^(T-1,T-2)_pp' e_p'd, temporal coherence along the labels (THEORY 5).

    kernel: (..., pattern, pattern_, time, time_), direction e: of ``label_direction``. Returns shape
    (...). With one pattern and one readout m is H^(T-1,T-2) itself.
    """
    return along(kernel[..., -1, -2], direction)


def branch(kernel: NDArray[np.floating], direction: Array) -> Array:
    """The sign of the order parameter of each kernel, +1 or -1; +1 where it vanishes."""
    return np.where(order_parameter(kernel, direction) < 0, -1.0, 1.0)


def reflect_kernel(
    kernel: NDArray[np.floating], sign: Array, signs: Array | None
) -> NDArray[np.floating]:
    """H_pp'^(tt') -> D_p^t D_p'^t' H_pp'^(tt') wherever ``sign`` is negative: the kernel of -W.

    kernel: (..., pattern, pattern_, time, time_). sign: (...). signs: D of ``reflection``; without them
    kernels stay.
    """
    if signs is None:
        return kernel
    image = kernel * np.einsum("pt,qs->pqts", signs, signs)
    return np.where(sign[..., None, None, None, None] < 0, image, kernel)


def reflect_outputs(
    outputs: NDArray[np.floating], sign: Array, signs: Array | None
) -> NDArray[np.floating]:
    """f_p^t -> D_p^(t-1) f_p^t wherever ``sign`` is negative, (..., pattern, output_time, ...).

    Supervised outputs stay, unless their target is 0. signs: of ``output_reflection``; without them
    outputs stay.
    """
    if signs is None:
        return outputs
    turned = sign.reshape(*sign.shape, *[1] * signs.ndim) < 0
    return np.where(turned, outputs * signs, outputs)


def mix_outputs(
    outputs: NDArray[np.floating], task: Task, architecture: Architecture
) -> NDArray[np.floating]:
    """Outputs averaged over both branches, (..., pattern, output_time): the mean of the posterior.

    If W -> -W is a symmetry, both branches are equally probable. Outputs that it reverses average to 0.
    """
    signs = output_reflection(task, architecture)
    return outputs if signs is None else 0.5 * (outputs + outputs * signs)
