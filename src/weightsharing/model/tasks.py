"""The tasks that a configuration can name. Each record makes its own arrays."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from weightsharing.errors import ConfigError, FileError
from weightsharing.model.axes import Array
from weightsharing.model.record import (
    MOST_ITEMS,
    MOST_SETS,
    Count,
    Finite,
    Number,
    Period,
    Positive,
    Record,
    Times,
)
from weightsharing.model.task import Task
from weightsharing.model.task_file import file_task

# The numbers of one pattern at one time.
Numbers = Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MOST_ITEMS)]


class EndpointTask(Record):
    """P orthonormal inputs at t = 0, one label y_p per input at output time T (THEORY 5).

    The signal strength is lambda = sum_p y_p^2.
    """

    kind: Literal["endpoint"] = "endpoint"
    labels: Annotated[tuple[Finite, ...], Field(min_length=1, max_length=MOST_ITEMS)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return len(self.labels)

    def make(self, steps: int) -> Task:
        """The arrays for T = ``steps``. The inputs are the unit vectors: x_p . x_p' = delta_pp'."""
        inputs = np.zeros((self.patterns, steps, self.patterns))
        inputs[:, 0] = np.eye(self.patterns)
        targets = np.full((self.patterns, steps), np.nan)
        targets[:, -1] = self.labels
        return Task(inputs, targets, np.isfinite(targets))


class SinusoidTask(Record):
    """One scalar input, x^t = delta_(t,0), and targets y^t = cos(2 pi t / period), t = 1..T (figure 2).

    The targets are the outputs of ``rotation_teacher``. period: T if None. supervised: output times
    trained on; all if None.
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

    def make(self, steps: int) -> Task:
        """The arrays for T = ``steps``."""
        inputs = np.zeros((1, steps, 1))
        inputs[0, 0] = 1.0
        time = np.arange(1, steps + 1)
        targets = np.cos(2.0 * np.pi * time / (steps if self.period is None else self.period))
        chosen = time > 0 if self.supervised is None else np.isin(time, self.supervised)
        return Task(inputs, targets[None], chosen[None])


class SignalsTask(Record):
    """A family of endpoint tasks of one pattern, one for each signal strength lambda = y^2 (figure S1).

    Its members make their arrays; see ``Condition.members``.
    """

    kind: Literal["signals"] = "signals"
    signals: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_SETS)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @property
    def members(self) -> dict[str, EndpointTask]:
        """The tasks by their lambda."""
        return {f"{signal:g}": EndpointTask(labels=(signal**0.5,)) for signal in self.signals}

    @model_validator(mode="after")
    def _signals_differ(self) -> Self:
        if len(self.members) < len(self.signals):
            raise ValueError(f"signals: got {list(self.signals)}, the values must differ")
        return self


class SequenceTask(Record):
    """A family of sinusoid tasks, one for each set of supervised times (figure 5).

    Its members make their arrays; see ``Condition.members``.
    """

    kind: Literal["sequence"] = "sequence"
    period: Period
    sets: Annotated[tuple[Times, ...], Field(min_length=1, max_length=MOST_SETS)]

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return 1

    @property
    def members(self) -> dict[str, SinusoidTask]:
        """The tasks by their sets, in words such as "2-4-5"."""
        return {
            "-".join(map(str, times)): SinusoidTask(period=self.period, supervised=times)
            for times in self.sets
        }

    @model_validator(mode="after")
    def _sets_differ(self) -> Self:
        if len({frozenset(times) for times in self.sets}) < len(self.sets):
            raise ValueError("sets: some occur twice; they must differ")
        return self


class GaussianTask(Record):
    """Standard normal inputs at all times, and standard normal targets at the supervised ones.

    patterns, features: P and the number of input features. supervised: output times trained on. seed: of
    the numbers; the same seed gives the same task.
    """

    kind: Literal["gaussian"] = "gaussian"
    patterns: Annotated[int, Field(ge=1, le=MOST_ITEMS), Number]
    features: Annotated[int, Field(ge=1, le=MOST_ITEMS), Number]
    supervised: Times
    seed: Annotated[int, Field(ge=0), Number] = 0

    @property
    def sets(self) -> tuple[Times, ...]:
        """The supervised times."""
        return (self.supervised,)

    def make(self, steps: int) -> Task:
        """The arrays for T = ``steps``."""
        generator = np.random.default_rng(self.seed)
        inputs = generator.standard_normal((self.patterns, steps, self.features))
        targets = generator.standard_normal((self.patterns, steps))
        targets[:, ~np.isin(np.arange(1, steps + 1), self.supervised)] = np.nan
        return Task(inputs, targets)


class ArraysTask(Record):
    """Inputs and targets written out, for tasks of a few numbers.

    inputs: x_p^t, (pattern, time, feature). targets: y_p^t, (pattern, output_time) or, with several
    readouts, (pattern, output_time, readout); None where there is none. supervised: which targets are
    trained on, (pattern, output_time); all if None. Shapes as in ``Task``.
    """

    kind: Literal["arrays"] = "arrays"
    inputs: Annotated[tuple[tuple[Numbers, ...], ...], Field(min_length=1, max_length=MOST_ITEMS)]
    targets: tuple[tuple[Finite | tuple[Finite | None, ...] | None, ...], ...]
    supervised: tuple[tuple[bool, ...], ...] | None = None

    @classmethod
    def of(cls, task: Task) -> Self:
        """The record of a task's arrays."""
        targets = task.targets.astype(object)
        targets[~np.isfinite(task.targets)] = None
        return cls(
            inputs=_nested(task.inputs),
            targets=_nested(targets),
            supervised=_nested(task.supervised),
        )

    @property
    def patterns(self) -> int:
        """Number of patterns P."""
        return len(self.inputs)

    def make(self, steps: int) -> Task:
        """The arrays. Raises ConfigError if they do not fit together or do not have ``steps`` times."""
        try:
            given = (np.array(each) for each in (self.inputs, self.targets))
            chosen = None if self.supervised is None else np.array(self.supervised)
            inputs, targets = (each.astype(float) for each in given)
            task = Task(inputs, targets) if chosen is None else Task(inputs, targets, chosen)
        except ValueError as error:
            raise ConfigError(f"task: {error}") from error
        if task.steps != steps:
            raise ConfigError(f"task: {task.steps} times, but the network has T = {steps}")
        return task


def _nested(values: NDArray[Any]) -> Any:  # noqa: ANN401
    """An array as nested tuples."""
    return tuple(map(_nested, values)) if values.ndim > 1 else tuple(values.tolist())


class FileTask(Record):
    """Inputs and targets of one's own, in a NetCDF file (``task_file.file_task``).

    path: of the file, read once, when the run is resolved. patterns: P. sha256: of the file's bytes; None
    until ``sealed``.
    """

    kind: Literal["file"] = "file"
    path: Annotated[str, Field(min_length=1)]
    patterns: Count
    sha256: str | None = None

    def sealed(self) -> Self:
        """The task with the hash of its file: tasks of equal records have equal arrays.

        Raises FileError if the file cannot be read, or is no longer the one of a hash that is given.
        """
        path = Path(self.path)
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}") from error
        if self.sha256 not in (None, digest):
            raise FileError(f"{path}: changed since the run was resolved; resolve it again")
        return self.model_copy(update={"sha256": digest})

    def make(self, steps: int) -> Task:
        """The arrays in the file. Raises FileError if it does not fit."""
        return file_task(Path(self.path), self.patterns, steps)


SingleTask = EndpointTask | SinusoidTask | GaussianTask | ArraysTask | FileTask
FamilyTask = SequenceTask | SignalsTask
AnyTask = SingleTask | FamilyTask


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
