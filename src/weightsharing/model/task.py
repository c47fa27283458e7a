"""The arrays of a task: inputs, targets and the times that are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.axes import Array


@dataclass(frozen=True)
class Task:
    """Inputs and targets.

    inputs: x_p^t, shape (pattern, time, feature), hidden times 0..T-1.
    targets: y_p^t, shape (pattern, output_time), output times 1..T; NaN where there is none. Output
        time t reads hidden step t - 1, so column k of ``targets`` belongs to column k of ``inputs``.
    supervised: which targets are trained on, same shape as ``targets``; all that there are if not given.

    Raises ValueError if shapes do not fit or a number that is needed is not finite.
    """

    inputs: Array
    targets: Array
    supervised: NDArray[np.bool_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        inputs, targets = _numbers("inputs", self.inputs), _numbers("targets", self.targets)
        chosen = np.isfinite(targets)
        if self.supervised is not None:
            given = _numbers("supervised", self.supervised)
            if not np.isin(given, (0.0, 1.0)).all():
                raise ValueError("task supervised: want 0 and 1, or False and True")
            chosen = given == 1.0
        # Frozen: lists become arrays once, here.
        for name, array in (("inputs", inputs), ("targets", targets), ("supervised", chosen)):
            object.__setattr__(self, name, array)
        if np.isinf(targets).any():
            raise ValueError("task targets: infinite; NaN where there is no target")
        if self.inputs.ndim != 3:
            raise ValueError(
                f"task inputs: shape {self.inputs.shape}, want (pattern, time, feature)"
            )
        for name, array in (("targets", self.targets), ("supervised", self.supervised)):
            if array.shape != self.inputs.shape[:2]:
                raise ValueError(
                    f"task {name}: shape {array.shape}, want {self.inputs.shape[:2]} as the inputs have"
                )
        if not np.isfinite(self.inputs).all():
            raise ValueError("task inputs: not all finite")
        if not np.isfinite(self.targets[self.supervised]).all():
            raise ValueError("task targets: NaN or infinite at a supervised time")

        if not inputs.size:
            raise ValueError(f"task inputs: shape {inputs.shape}, no axis may be empty")

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return int(self.inputs.shape[0])

    @property
    def steps(self) -> int:
        """Number of hidden steps T."""
        return int(self.inputs.shape[1])


def _numbers(name: str, values: object) -> Array:
    """An array of real numbers. Raises ValueError, naming it, for anything else."""
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError
        return array.astype(np.float64)
    except ValueError as error:
        raise ValueError(f"task {name}: not an array of real numbers") from error


def label_kernels(task: Task) -> tuple[Array, Array]:
    """Y_00^(tt') = y_0^t y_0^t' and Y_pp'^(TT) = y_p^T y_p'^T; 0 where nothing is supervised."""
    labels = np.where(task.supervised, task.targets, 0.0)
    return np.outer(labels[0], labels[0]), np.outer(labels[:, -1], labels[:, -1])
