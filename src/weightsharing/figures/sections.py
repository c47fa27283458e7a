"""Parts that the configuration sections of figures share: types of values, and the builder of runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, ValidationError

from weightsharing.errors import ConfigError
from weightsharing.model.architecture import MOST_STEPS, Architecture
from weightsharing.model.record import Number, derived_seed, explain
from weightsharing.model.tasks import AnyTask
from weightsharing.sampling import SamplerSettings, WeightSettings
from weightsharing.sampling.run import Device, Run

Steps = Annotated[int, Field(ge=3, le=MOST_STEPS), Number]
# The theory solves linear equations of (T^2 / 2) unknowns.
Depth = Annotated[int, Field(ge=3, le=50), Number]
# Settings of the dynamics that train weights; ``method`` names the dynamics.
ByMethod = Annotated[WeightSettings, Field(discriminator="method")]


@dataclass(frozen=True)
class RunBuilder:
    """Builds the runs of one figure.

    figure: its name, such as "fig4", the first part of the ids of its runs. seed: root seed of all
    figures. device: where the chains run.
    """

    figure: str
    seed: int
    device: Device

    def __call__(
        self, key: str, name: str, architecture: Architecture, kappa: float, task: AnyTask,
        sampler: SamplerSettings,
    ) -> Run:  # fmt: skip
        """The run "figure/name", with a seed derived from the root seed and this id.

        key: place of the sampler in the figure's section. Raises ConfigError naming that key if the
        parameters do not fit together, and FileError if a task's file cannot be read.
        """
        identity = f"{self.figure}/{name}"
        try:
            run = Run(
                id=identity,
                seed=derived_seed(self.seed, identity),
                architecture=architecture,
                kappa=kappa,
                task=task,
                device=self.device,
                sampler=sampler,
            )
        except ValidationError as error:
            lines = (line.removeprefix("sampler.") for line in explain(error))
            raise ConfigError("\n".join(f"{self.figure}.{key}.{line}" for line in lines)) from error
        return run.sealed()
