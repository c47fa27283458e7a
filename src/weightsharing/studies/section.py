"""A study in the configuration: networks x a grid of parameters, and the runs that follow from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from weightsharing.errors import ConfigError, UserError
from weightsharing.figures.sections import ByMethod, RunBuilder
from weightsharing.model.architecture import LARGEST_INTEGRAL, Architecture
from weightsharing.model.condition import Condition
from weightsharing.model.record import MOST_ITEMS, UNION_TAGS, Number, Positive, Record, explain
from weightsharing.model.task import Task
from weightsharing.model.tasks import ArraysTask, EndpointTask, FileTask, GaussianTask, SinusoidTask
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.run import Run

# Points of the whole grid, and runs of samplers.
MOST_POINTS, MOST_RUNS = 20_000, 500
Quantity = Literal[
    "order_parameter",
    "endpoint_kernel",
    "temporal_coherence",
    "target_alignment",
    "generalisation_error",
    "largest_eigenvalue",
    "action",
]
NEEDS_ALL_TARGETS = ("target_alignment", "generalisation_error")
# Parameters of a grid, and where they stand in a network, a task or a sampler.
Axis = Literal["signal", "kappa", "steps", "w", "u", "v", "period", "width"]


class Span(Record):
    """Values of an axis: ``points`` from the first to the last, evenly spaced or by equal ratios."""

    first: Positive
    last: Positive
    points: Annotated[int, Field(ge=2, le=MOST_ITEMS), Number]
    spacing: Literal["linear", "log"] = "linear"

    @property
    def values(self) -> tuple[float, ...]:
        """The values in order."""
        space = np.geomspace if self.spacing == "log" else np.linspace
        return tuple(float(f"{value:.12g}") for value in space(self.first, self.last, self.points))


# A list of values, or a span; the tags are not part of messages.
LIST, SPAN = "values", "span"
UNION_TAGS.update((LIST, SPAN))
Values = Annotated[
    Annotated[
        Annotated[tuple[Positive, ...], Field(min_length=1, max_length=MOST_ITEMS)], Tag(LIST)
    ]
    | Annotated[Span, Tag(SPAN)],
    Discriminator(lambda value: SPAN if isinstance(value, (dict, Span)) else LIST),
]


class Study(Record):
    """Networks on a task, over a grid of parameters.

    networks: kind, steps, activation and prior of each. task: one that all learn. kappa: temperature.
    grid: one or two axes and their values; an axis changes all networks (steps, w, u, v), the task
    (signal, the sum of the squared labels; period), kappa or N of the samplers (width). samplers: of
    networks of finite width; none for the theory alone. sampled: values of axes at which they run, if
    fewer than those of the grid. quantity: what is drawn; the dataset has all.
    """

    networks: Annotated[tuple[Architecture, ...], Field(min_length=1, max_length=10)]
    task: Annotated[
        EndpointTask | SinusoidTask | GaussianTask | ArraysTask | FileTask,
        Field(discriminator="kind"),
    ]
    kappa: Positive
    grid: Annotated[dict[Axis, Values], Field(min_length=1, max_length=2)]
    sampled: dict[Axis, Values] = Field(default_factory=dict)
    samplers: Annotated[
        tuple[Annotated[ByMethod | ExactSettings, Field(discriminator="method")], ...],
        Field(max_length=5),
    ] = ()
    quantity: Quantity = "order_parameter"

    @model_validator(mode="after")
    def _axes_fit(self) -> Self:
        labels = isinstance(self.task, EndpointTask)
        for axis, wanted, fits in (
            ("signal", "the labels of an endpoint task", labels),
            ("period", "a sinusoid task", isinstance(self.task, SinusoidTask)),
            (
                "steps",
                "an endpoint or sinusoid task",
                not isinstance(self.task, ArraysTask | FileTask),
            ),
            ("width", "samplers", bool(self.samplers)),
        ):
            if axis in self.grid and not fits:
                raise ValueError(f"grid: axis {axis} needs {wanted}")
        if extra := sorted(self.sampled.keys() - self.grid.keys()):
            raise ValueError(f"sampled: {extra[0]} is no axis of grid")
        if self.sampled and not self.samplers:
            raise ValueError("sampled: given without samplers")
        for name, given in (("networks", self.networks), ("samplers", self.samplers)):
            if len(set(map(str, given))) < len(given):
                raise ValueError(f"{name}: some are given twice")
        for axis in ("steps", "width"):
            for values in (values_of(self.grid, axis), values_of(self.sampled, axis)):
                if any(value != round(value) for value in values):
                    raise ValueError(f"grid.{axis}: got {list(values)}, want whole numbers")
        for name, axes in (("grid", self.grid), ("sampled", self.sampled)):
            for axis in axes:
                values = values_of(axes, axis)
                if len({f"{value:g}" for value in values}) < len(values):
                    raise ValueError(f"{name}.{axis}: got {list(values)}, the values must differ")
        size = len(self.networks) * int(np.prod([len(values_of(self.grid, a)) for a in self.grid]))
        if size > MOST_POINTS:
            raise ValueError(f"grid: {size} points in all; at most {MOST_POINTS} are allowed")
        runs = len(self.samplers) * len(self.networks) * len(self.sampled_points)
        if runs > MOST_RUNS:
            raise ValueError(
                f"samplers: {runs} runs; at most {MOST_RUNS} are allowed, choose fewer by `sampled`"
            )
        return self

    def sealed(self) -> Self:
        """The study with the hash of its task's file, if it has one; raises as ``FileTask.sealed``."""
        if not isinstance(self.task, FileTask):
            return self
        return self.model_copy(update={"task": self.task.sealed()})

    @property
    def axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis for the theory; N does not change it."""
        return {axis: values_of(self.grid, axis) for axis in self.grid if axis != "width"}

    @property
    def sampled_axes(self) -> dict[str, tuple[float, ...]]:
        """The values of each axis for the samplers."""
        return {axis: values_of({**self.grid, **self.sampled}, axis) for axis in self.grid}

    @property
    def sampled_points(self) -> list[dict[str, float]]:
        """The points at which networks are sampled."""
        return points(self.sampled_axes)


@dataclass(frozen=True)
class Point:
    """A network at one point of the grid. place: index of the network and of each axis."""

    place: tuple[int, ...]
    condition: Condition


def values_of(axes: dict[Any, Any], axis: str) -> tuple[float, ...]:
    """The values of an axis, none if it is not there."""
    values = axes.get(axis, ())
    return values.values if isinstance(values, Span) else tuple(values)


def points(axes: dict[str, tuple[float, ...]]) -> list[dict[str, float]]:
    """All points of a grid, the last axis fastest."""
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def theory_points(name: str, study: Study) -> Iterator[Point]:
    """The conditions that the theory is solved for. Raises ConfigError naming a bad point."""
    shape = tuple(len(values) for values in study.axes.values())
    for index, network in enumerate(study.networks):
        for number, at in enumerate(points(study.axes)):
            inner = np.unravel_index(number, shape) if shape else ()
            yield Point((index, *map(int, inner)), _condition(name, study, network, at))


def refuse_impossible(name: str, study: Study) -> None:
    """Raises ConfigError if a point has no theory, if its task cannot be made, or lacks the quantity."""
    made: dict[int, Task] = {}
    for point in theory_points(name, study):
        known = point.condition
        steps = known.architecture.steps
        if not known.has_theory:
            raise ConfigError(
                f"{known.id}: no theory of activation {known.architecture.activation!r} beyond T P = "
                f"{LARGEST_INTEGRAL}"
            )
        if steps not in made:
            try:
                made[steps] = known.tasks[0]
            except UserError as error:
                raise ConfigError(f"studies.{name}.task: {error}") from error
        if reason := _lacks(study.quantity, known.architecture, made[steps]):
            raise ConfigError(f"studies.{name}.quantity: {study.quantity} needs {reason}")


def _lacks(quantity: str, network: Architecture, task: Task) -> str:
    """What a network or its task would need to have the quantity; "" if it has it."""
    if quantity in NEEDS_ALL_TARGETS and not np.isfinite(task.targets[:, 1:]).all():
        return "targets at all times from t = 2 on"
    driven_later = bool(task.inputs[:, 1:].any())
    if quantity == "largest_eigenvalue" and (network.activation != "linear" or driven_later):
        return "linear networks with input at t = 0 only"
    return ""


def _condition(name: str, study: Study, network: Architecture, at: dict[str, float]) -> Condition:
    words = ", ".join(f"{axis} = {value:g}" for axis, value in at.items())
    try:
        return Condition(
            id=f"studies/{name} ({words})",
            architecture=network_at(network, at),
            kappa=at.get("kappa", study.kappa),
            task=_task(study.task, at),
        )
    except ValidationError as error:
        raise ConfigError(f"studies.{name} at {words}: {explain(error)[0]}") from error


def network_at(network: Architecture, at: dict[str, float]) -> Architecture:
    """The network at a point of the grid."""
    prior = network.prior.model_dump() | {key: at[key] for key in ("w", "u", "v") if key in at}
    steps = round(at["steps"]) if "steps" in at else network.steps
    return Architecture.model_validate(network.model_dump() | {"prior": prior, "steps": steps})


def _task(task: Any, at: dict[str, float]) -> Any:  # noqa: ANN401
    if "signal" in at:
        labels = np.array(task.labels)
        scaled = labels * np.sqrt(at["signal"] / (labels @ labels))
        return EndpointTask(labels=tuple(float(label) for label in scaled))
    if "period" in at:
        return SinusoidTask(period=at["period"], supervised=task.supervised)
    return task


def runs(name: str, study: Study, build: RunBuilder) -> list[Run]:
    """A run for each network, sampler and sampled point. Raises ConfigError naming the bad one."""
    made = []
    for index, network in enumerate(study.networks):
        for number, sampler in enumerate(study.samplers):
            for at in study.sampled_points:
                words = "-".join(f"{axis}{value:g}" for axis, value in at.items())
                identity = f"{name}/{network.kind}{index}-{words}-{sampler.method}{number}"
                settings = sampler
                if "width" in at:
                    settings = sampler.model_copy(update={"width": round(at["width"])})
                known = _condition(name, study, network, at)
                learned = known.architecture, known.kappa, known.task
                made.append(build(f"{name}.samplers", identity, *learned, settings))
    return made
