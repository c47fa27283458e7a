"""Tasks: what they are, and how their inputs and targets are made."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weightsharing.errors import FileError
from weightsharing.model.axes import OUTPUT_AXES, Array
from weightsharing.model.record import Count, Finite, Period, Record, Times


class EndpointTask(Record):
    """Orthonormal inputs at t = 0, one label per input at output time T (THEORY 5)."""

    kind: Literal["endpoint"] = "endpoint"
    labels: Annotated[tuple[Finite, ...], Field(min_length=1)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return len(self.labels)


class SinusoidTask(Record):
    """One scalar input, x^t = 1 at t = 0 only, and targets y^t = cos(2 pi t / period) (figure 2).

    period: T if None. supervised: output times trained on; all if None.
    """

    kind: Literal["sinusoid"] = "sinusoid"
    period: Period | None = None
    supervised: Times | None = None

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @property
    def sets(self) -> tuple[Times, ...]:
        """The supervised times, if they are given."""
        return () if self.supervised is None else (self.supervised,)


class SequenceTask(Record):
    """A family of sinusoid tasks, one for each set of supervised times (figure 5)."""

    kind: Literal["sequence"] = "sequence"
    period: Period
    sets: Annotated[tuple[Times, ...], Field(min_length=1)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @model_validator(mode="after")
    def _sets_differ(self) -> Self:
        if len({frozenset(times) for times in self.sets}) < len(self.sets):
            raise ValueError("sets: some occur twice; they must differ")
        return self


class FileTask(Record):
    """Inputs and targets of one's own, in a NetCDF file; ``tasks.file_task`` says what it has to hold.

    path: of the file, read once, when the run is resolved. patterns: P.
    """

    kind: Literal["file"] = "file"
    path: Annotated[str, Field(min_length=1)]
    patterns: Count


AnyTask = EndpointTask | SinusoidTask | SequenceTask | FileTask


@dataclass(frozen=True)
class Task:
    """Inputs and targets.

    inputs: x_p^t, shape (pattern, time, feature), hidden times 0..T-1.
    targets: y_p^t, shape (pattern, output_time), output times 1..T; NaN where there is none. Output
        time t reads hidden step t - 1, so column k of ``targets`` belongs to column k of ``inputs``.
    supervised: which targets are trained on, same shape as ``targets``.
    """

    inputs: Array
    targets: Array
    supervised: NDArray[np.bool_]

    def __post_init__(self) -> None:
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

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return int(self.inputs.shape[0])

    @property
    def steps(self) -> int:
        """Number of hidden steps T."""
        return int(self.inputs.shape[1])


def make_task(spec: AnyTask, steps: int) -> Task:
    """The task of a run with T = ``steps``.

    Raises TypeError for a family, whose members have tasks, and FileError for a file that does not fit.
    """
    if isinstance(spec, EndpointTask):
        return endpoint_task(spec.labels, steps)
    if isinstance(spec, SinusoidTask):
        return sinusoid_task(steps, spec.supervised, spec.period)
    if isinstance(spec, FileTask):
        return file_task(Path(spec.path), spec.patterns, steps)
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


def file_task(path: Path, patterns: int, steps: int) -> Task:
    """Inputs and targets of a NetCDF file, with P = ``patterns`` and T = ``steps``.

    Its variables, with these axes in any order: inputs x_p^t, (pattern, time, feature), t = 0..T-1;
    targets y_p^t, (pattern, output_time), t = 1..T, NaN where there is none; and, if not all targets are
    to be trained on, supervised, (pattern, output_time), 1 where they are and 0 elsewhere. If all
    patterns have targets at all times from t = 2 on, generalisation is measured with them.

    Raises FileError, naming the file, if it cannot be read, lacks a variable or axis, has others than
    P patterns and T times in their order, inputs that all vanish, or what are not finite numbers.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        # Numbers are numbers, whatever units the file gives them.
        with xr.open_dataset(content, decode_times=False) as opened:
            data = opened.load()
    # What damaged files raise has no common base.
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise FileError(f"{path}: damaged, or not NetCDF: {reason}") from error
    try:
        inputs = _array(data, "inputs", (patterns, steps, None), ("pattern", "time", "feature"))
        targets = _array(data, "targets", (patterns, steps), OUTPUT_AXES)
        supervised = ~np.isnan(targets)
        if "supervised" in data:
            chosen = _array(data, "supervised", targets.shape, OUTPUT_AXES)
            if not np.isin(chosen, (0, 1)).all():
                raise ValueError("supervised: want 0 and 1 only")
            supervised = chosen == 1
        if not supervised.any():
            raise ValueError("no target is trained on")
        if not inputs.any():
            raise ValueError("inputs: all zero")
        return Task(inputs, targets, supervised)
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


def _array(
    data: xr.Dataset, name: str, shape: tuple[int | None, ...], axes: tuple[str, ...]
) -> Array:
    """A variable of a file with these axes, as float64. Raises ValueError if it is not so.

    shape: sizes that the axes must have, None where any will do.
    """
    if name not in data:
        raise ValueError(f"has no variable {name!r}")
    variable = data[name]
    if set(variable.dims) != set(axes):
        raise ValueError(f"{name}: axes {list(variable.dims)}, want {list(axes)}")
    for axis, size in zip(axes, shape, strict=True):
        if size is not None and variable.sizes[axis] != size:
            raise ValueError(
                f"{name}: {variable.sizes[axis]} along {axis!r}, but the run has {size}"
            )
    for axis, first in (("time", 0), ("output_time", 1)):
        if axis in variable.coords:
            wanted = np.arange(first, first + variable.sizes[axis])
            if not np.array_equal(variable.coords[axis], wanted):
                raise ValueError(f"{name}: {axis!r} must count from {first}, or not be labelled")
    if variable.dtype.kind not in "biuf":
        raise ValueError(f"{name}: not real numbers")
    return variable.transpose(*axes).to_numpy().astype(np.float64)


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
