"""Underdamped Langevin dynamics: its settings and how figures show it; ``step`` is the algorithm."""

from __future__ import annotations

from typing import ClassVar, Literal

from weightsharing.model.record import Count, Positive
from weightsharing.sampling.settings import DynamicsSettings


class KineticSettings(DynamicsSettings):
    """Underdamped Langevin dynamics; step_size is h, in units where the prior has frequency 1.

    refresh: friction and noise act at every step whose number it divides, for all the time since.
    """

    label: ClassVar[str] = "underdamped Langevin"
    sentence: ClassVar[str] = "underdamped Langevin dynamics"
    marker: ClassVar[str] = "s"
    step_symbol: ClassVar[str | None] = "h"
    stiffness_order: ClassVar[int] = 2

    method: Literal["kinetic"]
    friction: Positive = 1.0
    refresh: Count = 1

    @property
    def damping(self) -> float:
        """Friction times the time between two steps with it."""
        return self.friction * self.step_size * self.refresh

    @property
    def stiffness_per_curvature(self) -> float:
        """h^2 / 4: the leapfrog is stable for h sqrt(k) < 2."""
        return 0.25 * self.step_size**2
