"""The exact sampler: its settings and how figures show it; ``sampler`` is the algorithm."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from weightsharing.model.architecture import Architecture
from weightsharing.model.record import Count, Number
from weightsharing.sampling.settings import ChainSettings


class ExactSettings(ChainSettings):
    """Hamiltonian Monte Carlo of the activities, weights integrated out (THEORY 8).

    warm_up: trajectories discarded, during which step size and mass adapt. thinning: trajectories
    between kept draws. leapfrog_steps: steps of a trajectory. acceptance: the target of the step size.
    The precision is always float64.
    """

    label: ClassVar[str] = "exact sampler"
    sentence: ClassVar[str] = "the exact sampler"
    marker: ClassVar[str] = "o"
    # Small states: a step mostly costs the calls of its operations, however many chains they move.
    many_members_on_cpu: ClassVar[bool] = True
    precision: ClassVar[Literal["float64"]] = "float64"

    method: Literal["exact"]
    warm_up: Annotated[int, Field(ge=10), Number]
    thinning: Count
    leapfrog_steps: Count
    acceptance: Annotated[float, Field(gt=0.2, lt=0.999), Number] = 0.8

    @property
    def burn_in_steps(self) -> int:
        """Trajectories discarded at the beginning of each chain."""
        return self.warm_up

    @property
    def draw_every(self) -> int:
        """Trajectories between kept draws."""
        return self.thinning

    def numbers_of_a_chain(self, architecture: Architecture, patterns: int) -> int:
        """Activities and the mass of the collective moves, and the weights if they are drawn."""
        size = architecture.steps * patterns
        rows = size if architecture.activation == "linear" else self.width
        mass = (size * (size + 1) // 2) ** 2
        weights = super().numbers_of_a_chain(architecture, patterns)
        return rows * size + mass + (weights if self.spectra or self.keep_weights else 0)
