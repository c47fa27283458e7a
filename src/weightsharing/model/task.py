"""The arrays of a task: inputs, targets and the times that are trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.axes import Array


@dataclass(frozen=True)
class Task:
    """Inputs and targets.

    inputs: x_p^t, shape (pattern, time, feature), hidden times 0..T-1.
    targets: y_p^t, shape (pattern, output_time), output times 1..T; NaN where there is none. Output
        time t reads hidden step t - 1, so column k of ``targets`` belongs to column k of ``inputs``.
        With several readouts of the same activities, (pattern, output_time, readout). An axis of one
        readout is dropped.
    supervised: which targets are trained on, (pattern, output_time); all that there are if not given.
        All readouts are trained at the same times.

    Raises ValueError if shapes do not fit or a number that is needed is not finite.
    """

    inputs: Array
    targets: Array
    supervised: NDArray[np.bool_] = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        inputs = _numbers("inputs", self.inputs, ("pattern", "time", "feature"))
        targets = _numbers("targets", self.targets, ("pattern", "output_time", "readout"))
        if targets.ndim == 3 and targets.shape[2] == 1:
            targets = targets[..., 0]
        chosen = np.isfinite(targets)
        if targets.ndim == 3:
            every, some = chosen.all(axis=2), chosen.any(axis=2)
            if np.any(every != some):
                raise ValueError(
                    "task targets: NaN for some readouts only; all have the same times"
                )
            chosen = np.asarray(every)
        if self.supervised is not None:
            given = _numbers("supervised", self.supervised, ("pattern", "output_time"))
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
        several = self.targets.ndim == 3 and self.targets.shape[2] > 0
        for name, shape in (
            ("targets", self.targets.shape[:2] if several else self.targets.shape),
            ("supervised", self.supervised.shape),
        ):
            if shape != self.inputs.shape[:2]:
                got = getattr(self, name).shape
                more = ", and any number of readouts" if name == "targets" else ""
                raise ValueError(
                    f"task {name}: shape {got}, want {self.inputs.shape[:2]} as the inputs have{more}"
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

    @property
    def readouts(self) -> int:
        """Number of readouts D."""
        return 1 if self.targets.ndim == 2 else int(self.targets.shape[2])

    @property
    def labels(self) -> Array:
        """Targets that are trained on, 0 elsewhere, (pattern, output_time, readout) with any D."""
        targets = self.targets.reshape(*self.supervised.shape, self.readouts)
        return np.where(self.supervised[..., None], targets, 0.0)


def _numbers(name: str, values: Any, axes: tuple[str, ...]) -> Array:  # noqa: ANN401
    """An array of real numbers; masked ones are NaN. Raises ValueError, naming it, for anything else.

    axes: if the values name their axes so, their order does not matter.
    """
    named = getattr(values, "dims", ())
    if sorted(map(str, named)) == sorted(axes[: len(named)]):
        values = values.transpose(*axes[: len(named)]) if named else values
    if isinstance(values, np.ma.MaskedArray):
        values = np.ma.filled(values.astype(np.float64), np.nan)
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "biuf":
            raise ValueError
        return array.astype(np.float64)
    except ValueError as error:
        raise ValueError(f"task {name}: not an array of real numbers") from error


def label_kernels(task: Task) -> tuple[Array, Array]:
    """Y_00^(tt') = y_0^t y_0^t' and Y_pp'^(TT) = y_p^T y_p'^T; 0 where nothing is supervised.

    With several readouts, sums over them.
    """
    over_time, over_patterns = task.labels[0], task.labels[:, -1]
    return over_time @ over_time.T, over_patterns @ over_patterns.T
