"""Inputs and targets of the tasks."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import xarray as xr

from weightsharing.errors import FileError
from weightsharing.records import (
    OUTPUT_AXES,
    AnyTask,
    Array,
    EndpointTask,
    FileTask,
    SinusoidTask,
    Task,
)


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
    to be trained on, supervised, (pattern, output_time), 1 where they are and 0 elsewhere. The other
    targets serve to measure generalisation.

    Raises FileError, naming the file, if it cannot be read, lacks a variable or axis, has others than
    P patterns and T times, or numbers that are not finite.
    """
    try:
        with xr.open_dataset(path) as opened:
            data = opened.load()
    except (OSError, ValueError) as error:
        reason = (
            "no such file" if not path.exists() else f"not NetCDF: {str(error).splitlines()[0]}"
        )
        raise FileError(f"{path}: {reason}") from error
    wanted = {"pattern": patterns, "time": steps, "output_time": steps}
    found = {}
    for name, axes in (("inputs", ("pattern", "time", "feature")), ("targets", OUTPUT_AXES)):
        found[name] = _array(path, data, name, axes, wanted)
    supervised = np.isfinite(found["targets"])
    if "supervised" in data:
        supervised = _array(path, data, "supervised", OUTPUT_AXES, wanted) > 0.5
    if not supervised.any():
        raise FileError(f"{path}: no target is trained on")
    try:
        return Task(found["inputs"], found["targets"], supervised)
    except ValueError as error:
        raise FileError(f"{path}: {error}") from error


def _array(
    path: Path, data: xr.Dataset, name: str, axes: tuple[str, ...], wanted: dict[str, int]
) -> Array:
    """A variable of a file as float64 with these axes. Raises FileError if it is not so."""
    if name not in data:
        raise FileError(f"{path}: has no variable {name!r}")
    variable = data[name]
    if set(variable.dims) != set(axes):
        raise FileError(f"{path}: {name}: axes {list(variable.dims)}, want {list(axes)}")
    for axis, size in variable.sizes.items():
        if size != wanted.get(str(axis), size):
            raise FileError(
                f"{path}: {name}: {size} along {axis!r}, but the run has {wanted[str(axis)]}"
            )
    try:
        return variable.transpose(*axes).to_numpy().astype(np.float64)
    except (TypeError, ValueError) as error:
        raise FileError(f"{path}: {name}: not numbers") from error


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
