"""A run: a condition and the sampler that trains it. ``run.yaml`` holds one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from weightsharing.model.architecture import LARGEST_INTEGRAL, prior_curvature
from weightsharing.model.condition import Condition
from weightsharing.model.record import Number, derived_seed
from weightsharing.model.tasks import EndpointTask, FileTask, SignalsTask, SingleTask
from weightsharing.sampling import SamplerSettings
from weightsharing.sampling.exact import ExactSettings

# Bytes of the states and draws of one task's chains.
LARGEST_MEMORY = 128 * 2**30
Device = Literal["auto", "cpu", "cuda"]


class Run(Condition):
    """A condition, its sampler, and where and from which random numbers it runs.

    seed: root seed of all random streams; each member of a family has one of its own. device: where the
    chains run.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Literal["run"] = "run"
    seed: Annotated[int, Field(ge=0), Number]
    device: Device
    sampler: Annotated[SamplerSettings, Field(discriminator="method")]

    def sealed(self) -> Self:
        """The run with the hash of its task's file, if it has one; raises as ``FileTask.sealed``."""
        if not isinstance(self.task, FileTask):
            return self
        return self.model_copy(update={"task": self.task.sealed()})

    def member(self, name: str, task: SingleTask) -> Self:
        """The run of the member of a family that learns ``task``."""
        seed = derived_seed(self.seed, name)
        return super().member(name, task).model_copy(update={"seed": seed})

    @model_validator(mode="after")
    def _start_is_known(self) -> Self:
        if self.sampler.start != "prior" and not self.has_theory:
            raise ValueError(
                f"sampler.start: got {self.sampler.start!r}, must be 'prior' where there is no theory "
                f"(activation {self.architecture.activation!r} and T P above {LARGEST_INTEGRAL})"
            )
        return self

    @model_validator(mode="after")
    def _step_size_is_stable(self) -> Self:
        if isinstance(self.sampler, ExactSettings):
            return self
        stiffness = self.sampler.stiffness_per_curvature
        # That of weight decay is 1. Otherwise, only the running chain knows the curvature of the loss.
        endpoint = isinstance(self.task, EndpointTask | SignalsTask)
        known = endpoint and self.architecture.activation == "linear"
        if known and self.sampler.readout == "sampled":
            stiffness *= prior_curvature(self.architecture, self.kappa)
        if stiffness >= 1.0:
            limit = self.sampler.step_size * stiffness ** (-1.0 / self.sampler.stiffness_order)
            raise ValueError(
                f"sampler.step_size: {self.sampler.step_size:g} is beyond the stability limit "
                f"{limit:.3g} of the untrained network; a tenth of it or less is sensible"
            )
        return self

    @model_validator(mode="after")
    def _fits_in_memory(self) -> Self:
        size = self.sampler.numbers_of_all_chains(self.architecture, self.task.patterns)
        size *= 4 if self.sampler.precision == "float32" else 8
        if size > LARGEST_MEMORY:
            raise ValueError(
                f"sampler.width: {self.sampler.width}, chains {self.sampler.chains} and draws "
                f"{self.sampler.draws} need about {size / 2**30:.3g} GiB; at most "
                f"{LARGEST_MEMORY // 2**30} GiB are allowed"
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
