"""SGLD: its settings and how figures show it; ``step`` is the algorithm."""

from __future__ import annotations

from typing import ClassVar, Literal

from weightsharing.sampling.settings import DynamicsSettings


class LangevinSettings(DynamicsSettings):
    """SGLD; step_size is eta of THEORY 2."""

    label: ClassVar[str] = "SGLD"
    sentence: ClassVar[str] = "SGLD"
    marker: ClassVar[str] = "D"
    step_symbol: ClassVar[str | None] = r"\eta"
    stiffness_order: ClassVar[int] = 1

    method: Literal["sgld"]

    @property
    def stiffness_per_curvature(self) -> float:
        """eta / 2: SGLD is stable for eta k < 2."""
        return 0.5 * self.step_size
