"""SGLD: its settings and how figures show it; ``step`` is the algorithm."""

from __future__ import annotations

from typing import ClassVar, Literal

from weightsharing.sampling.settings import DynamicsSettings


class LangevinSettings(DynamicsSettings):
    """SGLD; step_size is eta of THEORY 2.

    noise: "white" is Euler's step with new noise at each step, SGLD as published. "averaged" adds the
    mean of the last and the new noise, which takes away the bias of first order in eta.
    """

    label: ClassVar[str] = "SGLD"
    sentence: ClassVar[str] = "SGLD"
    marker: ClassVar[str] = "D"
    stiffness_order: ClassVar[int] = 1

    method: Literal["sgld"]
    noise: Literal["white", "averaged"] = "white"

    @property
    def stiffness_per_curvature(self) -> float:
        """eta / 2: SGLD is stable for eta k < 2."""
        return 0.5 * self.step_size

    @property
    def details(self) -> str:
        """What a caption adds about the dynamics, in sentences."""
        averaged = "Each step adds the mean of the last and the new noise." * (
            self.noise == "averaged"
        )
        return f"{averaged} {super().details}".strip()

    @property
    def widening(self) -> float:
        """By what share Euler's step widens the prior, 1 / (1 - eta / 2) - 1; 0 if noise is averaged."""
        return self.step_size / (2.0 - self.step_size) if self.noise == "white" else 0.0
