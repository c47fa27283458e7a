"""A condition: a task learned by one network at one temperature. The theory needs no more (THEORY 3)."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from weightsharing.model.architecture import LARGEST_INTEGRAL, Architecture
from weightsharing.model.record import Positive, Record
from weightsharing.model.task import Task
from weightsharing.model.tasks import (
    AnyTask,
    FamilyTask,
    GaussianTask,
    SequenceTask,
    SingleTask,
    SinusoidTask,
)


class Condition(Record):
    """A task, a network and the temperature kappa / N of the posterior.

    A family of tasks is one condition as well. Its files have an axis "set", and each of its members is
    solved, trained and measured by itself. Read from ``run.yaml``, a condition ignores the sampler.
    """

    model_config = ConfigDict(extra="ignore")

    id: str
    architecture: Architecture
    kappa: Positive
    task: Annotated[AnyTask, Field(discriminator="kind")]

    @property
    def members(self) -> tuple[Self, ...]:
        """The conditions of single tasks: this one itself, or those of a family's tasks."""
        if not isinstance(self.task, FamilyTask):
            return (self,)
        return tuple(
            self.member(f"{self.id} {name}", task) for name, task in self.task.members.items()
        )

    def member(self, name: str, task: SingleTask) -> Self:
        """The member of a family that learns ``task``."""
        return self.model_copy(update={"id": name, "task": task})

    @property
    def member_names(self) -> tuple[str, ...]:
        """Names of a family's tasks; empty if the condition is not a family."""
        return tuple(self.task.members) if isinstance(self.task, FamilyTask) else ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The arrays of each member's task. Raises FileError if a user's file does not fit."""
        specs = (member.task for member in self.members)
        return tuple(
            spec.make(self.architecture.steps) for spec in specs if not isinstance(spec, FamilyTask)
        )

    @property
    def has_theory(self) -> bool:
        """Whether the kernel theory can be solved: the network is linear, or T P small enough."""
        size = self.architecture.steps * self.task.patterns
        return self.architecture.activation == "linear" or size <= LARGEST_INTEGRAL

    @property
    def theory_key(self) -> str:
        """All that the theory depends on. Conditions of the same key share one theory."""
        return self.model_dump_json(include={"architecture", "kappa", "task"})

    @model_validator(mode="after")
    def _supervised_times_exist(self) -> Self:
        for chosen in (
            self.task.sets
            if isinstance(self.task, SinusoidTask | SequenceTask | GaussianTask)
            else ()
        ):
            if max(chosen) > self.architecture.steps or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"task.supervised: got {list(chosen)}, want different output times from 1 to T = "
                    f"{self.architecture.steps}"
                )
        return self
