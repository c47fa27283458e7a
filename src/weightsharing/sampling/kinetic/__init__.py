"""Underdamped Langevin dynamics: its settings and how figures show it; ``step`` is the algorithm."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import model_validator

from weightsharing.model.record import Count, Positive
from weightsharing.sampling.settings import DynamicsSettings

# Least friction x time of burn-in and of sampling. After 2, chains keep exp(-2) = 14 % of the energy that
# they began with; the identities of ``measures.equilibrium`` judge what is left.
LEAST_FORGOTTEN = 2.0


class KineticSettings(DynamicsSettings):
    """Underdamped Langevin dynamics; step_size is h, in units where the prior has frequency 1.

    refresh: friction and noise act at every step whose number it divides, for all the time since.
    """

    label: ClassVar[str] = "underdamped Langevin"
    sentence: ClassVar[str] = "underdamped Langevin dynamics"
    marker: ClassVar[str] = "d"
    stiffness_order: ClassVar[int] = 2

    method: Literal["kinetic"]
    friction: Positive = 1.0
    refresh: Count = 1
    readout: Literal["integrated", "sampled"] = "integrated"

    @model_validator(mode="after")
    def _energy_is_forgotten(self) -> Self:
        # The energy of a mode relaxes as exp(-friction x time).
        for key, steps in (("burn_in", self.burn_in_steps), ("duration", self.duration_steps)):
            forgotten = self.damping * (steps // self.refresh)
            if forgotten < LEAST_FORGOTTEN:
                raise ValueError(
                    f"friction: got {self.friction:g}, too little to forget the energy that chains begin "
                    f"with: friction x {key} = {forgotten:.2g} in {steps // self.refresh} refreshments, "
                    f"want at least {LEAST_FORGOTTEN:g}"
                )
        return self

    @property
    def damping(self) -> float:
        """Friction times the time between two steps with it."""
        return self.friction * self.step_size * self.refresh

    @property
    def stiffness_per_curvature(self) -> float:
        """h^2 / 4: the leapfrog is stable for h sqrt(k) < 2."""
        return 0.25 * self.step_size**2
