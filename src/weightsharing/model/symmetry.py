"""The sign symmetry W -> -W, the order parameter, and the branch m > 0 (THEORY 4)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.activations import ACTIVATIONS
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array
from weightsharing.model.task import Task


def has_one_parity(task: Task) -> bool:
    """Whether all inputs come at times of one parity, and all supervised times are of one parity.

    W -> -W then maps h^t to (-1)^t h^t (up to a sign of U), and the readout keeps its law (up to a sign
    of v), if the activation is odd.
    """
    input_times = np.flatnonzero(np.any(task.inputs != 0.0, axis=(0, 2)))
    output_times = np.flatnonzero(task.supervised.any(axis=0))
    return all(len(set(times % 2)) <= 1 for times in (input_times, output_times))


def is_sign_symmetric(task: Task, architecture: Architecture) -> bool:
    """Whether W -> -W is a symmetry of the posterior under which m changes sign (THEORY 4).

    It is for RNNs with an odd activation on tasks of one parity. A DNN can change the sign of each of its
    matrices by itself, and does not order.
    """
    odd = ACTIVATIONS[architecture.activation].odd
    return odd and architecture.kind == "rnn" and has_one_parity(task)


def label_direction(task: Task) -> Array:
    """Unit vector over patterns along the labels of the last supervised time, shape (pattern,).

    It is uniform if there are no labels or all vanish. The order parameter is the kernel along it.
    """
    times = np.flatnonzero(task.supervised.any(axis=0))
    labels = np.zeros(task.patterns)
    if times.size:
        column = task.targets[:, times[-1]]
        labels = np.where(task.supervised[:, times[-1]], column, 0.0)
    norm = np.linalg.norm(labels)
    return labels / norm if norm > 0 else np.full(task.patterns, task.patterns**-0.5)


def order_parameter(kernel: NDArray[np.floating], direction: Array) -> Array:
    """m = sum_pp' e_p H^(T-1,T-2)_pp' e_p', temporal coherence along the labels (THEORY 5).

    kernel: (..., pattern, pattern_, time, time_), direction e: (pattern,). Returns shape (...). With
    one pattern m is H^(T-1,T-2) itself.
    """
    return np.asarray(
        np.einsum("p,...pq,q->...", direction, kernel[..., -1, -2], direction), dtype=np.float64
    )


def branch(kernel: NDArray[np.floating], direction: Array) -> Array:
    """The sign of the order parameter of each kernel, +1 or -1; +1 where it vanishes."""
    return np.where(order_parameter(kernel, direction) < 0, -1.0, 1.0)


def reflect_kernel(kernel: NDArray[np.floating], sign: Array) -> NDArray[np.floating]:
    """H^(tt') -> (-1)^(t-t') H^(tt') wherever ``sign`` is negative: the kernel of -W.

    kernel: (..., pattern, pattern_, time, time_), sign: (...).
    """
    parity = (-1.0) ** np.arange(kernel.shape[-1])
    image = kernel * np.multiply.outer(parity, parity)
    return np.where(sign[..., None, None, None, None] < 0, image, kernel)


def reflect_outputs(outputs: NDArray[np.floating], sign: Array, task: Task) -> NDArray[np.floating]:
    """f^t -> (-1)^(t-t_S) f^t wherever ``sign`` is negative, (..., pattern, output_time).

    Supervised outputs, at times of the parity of t_S, stay as they are: v changes its sign where needed.
    """
    supervised = np.flatnonzero(task.supervised.any(axis=0))
    parity = (-1.0) ** (np.arange(task.steps) - (supervised[-1] if supervised.size else 0))
    return np.where(sign[..., None, None] < 0, outputs * parity, outputs)


def mix_outputs(
    outputs: NDArray[np.floating], task: Task, architecture: Architecture
) -> NDArray[np.floating]:
    """Outputs averaged over both branches, (..., pattern, output_time): the mean of the posterior.

    If W -> -W is a symmetry, both branches are equally probable. Outputs at times of the other parity
    than the supervised ones then average to 0.
    """
    if not is_sign_symmetric(task, architecture):
        return outputs
    image = reflect_outputs(outputs, np.full(outputs.shape[:-2], -1.0), task)
    return 0.5 * (outputs + image)


def to_positive_branch(kernel: NDArray[np.floating], direction: Array) -> NDArray[np.floating]:
    """The kernel or its image under W -> -W, whichever has a positive order parameter.

    With the sign symmetry both are equally probable: the result is a draw of the posterior restricted to
    m > 0.
    """
    return reflect_kernel(kernel, branch(kernel, direction))
