"""A run: one (task, network, width, sampler, seed) condition. ``run.yaml`` holds one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from weightsharing.model.architecture import LARGEST_INTEGRAL, Architecture, prior_curvature
from weightsharing.model.record import Positive, Record, derived_seed
from weightsharing.model.tasks import AnyTask, EndpointTask, SequenceTask, SinusoidTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.exact import ExactSettings
from weightsharing.sampling.sgld import LangevinSettings

Device = Literal["auto", "cpu", "cuda"]


class Run(Record):
    """One condition: a task learned by one network, and the sampler that trains it.

    A family of tasks is one run as well: its files have an axis "set", and each of its members is
    solved, trained and measured by itself, although chains of several may move in one batch.

    kappa: the temperature of the posterior is kappa / N. seed: root seed of all random streams.
    device: where the chains run.
    """

    kind: Literal["run"] = "run"
    id: str
    seed: Annotated[int, Field(ge=0)]
    device: Device
    architecture: Architecture
    kappa: Positive
    task: Annotated[AnyTask, Field(discriminator="kind")]
    sampler: Annotated[SamplerSettings, Field(discriminator="method")]

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs of single tasks that this one consists of: itself, or one for each set.

        Each member of a family has a name, the set, and random streams of its own.
        """
        if not isinstance(self.task, SequenceTask):
            return (self,)
        names = (f"{self.id} {name}" for name in self.member_names)
        return tuple(
            self.model_copy(
                update={
                    "id": name,
                    "seed": derived_seed(self.seed, name),
                    "task": SinusoidTask(period=self.task.period, supervised=times),
                }
            )
            for name, times in zip(names, self.task.sets, strict=True)
        )

    @property
    def member_names(self) -> tuple[str, ...]:
        """The sets of a family as words, such as "2-4-5"; none if the run is not a family."""
        if not isinstance(self.task, SequenceTask):
            return ()
        return tuple("-".join(map(str, times)) for times in self.task.sets)

    @property
    def has_theory(self) -> bool:
        """Whether the kernel theory of this run can be solved: linear, or T P small enough."""
        size = self.architecture.steps * self.task.patterns
        return self.architecture.activation == "linear" or size <= LARGEST_INTEGRAL

    @property
    def theory_key(self) -> str:
        """What the theory depends on: runs with the same key share it, whatever their sampler."""
        return self.model_dump_json(include={"architecture", "kappa", "task"})

    @model_validator(mode="after")
    def _start_is_known(self) -> Self:
        if self.sampler.start != "prior" and not self.has_theory:
            raise ValueError(
                f"sampler.start: got {self.sampler.start!r}, must be 'prior' where there is no theory "
                f"(activation {self.architecture.activation!r} and T P above {LARGEST_INTEGRAL})"
            )
        return self

    @model_validator(mode="after")
    def _supervised_times_exist(self) -> Self:
        for chosen in self.task.sets if isinstance(self.task, SinusoidTask | SequenceTask) else ():
            if max(chosen) > self.architecture.steps or len(set(chosen)) < len(chosen):
                raise ValueError(
                    f"task.supervised: got {list(chosen)}, want different output times from 1 to T = "
                    f"{self.architecture.steps}"
                )
        return self

    @model_validator(mode="after")
    def _step_size_is_stable(self) -> Self:
        # Of other tasks and activations the curvature is known to the running chain only.
        known = isinstance(self.task, EndpointTask) and self.architecture.activation == "linear"
        if isinstance(self.sampler, ExactSettings) or not known:
            return self
        curvature = prior_curvature(self.architecture, self.kappa)
        sgld = isinstance(self.sampler, LangevinSettings)
        limit = 2.0 / (curvature if sgld else curvature**0.5)
        if self.sampler.step_size >= limit:
            raise ValueError(
                f"sampler.step_size: {self.sampler.step_size:g} is beyond the stability limit "
                f"{limit:.3g} of the untrained network; a tenth of it or less is sensible"
            )
        return self

    @model_validator(mode="after")
    def _activities_have_a_density(self) -> Self:
        least = self.architecture.steps * self.task.patterns
        if self.sampler.method == "exact" and self.sampler.width < least:
            raise ValueError(
                f"sampler.width: got {self.sampler.width}, the exact sampler needs at least T P = {least}"
            )
        return self
