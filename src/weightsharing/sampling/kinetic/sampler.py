"""Underdamped Langevin dynamics as a sampler of chains; ``step`` says what a step is."""

from __future__ import annotations

from weightsharing.model.axes import Array
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.posterior import Posterior


def build(posterior: Posterior, settings: KineticSettings, starts: Array | None) -> DynamicsSampler:
    """Underdamped dynamics; the state is the weights and, behind them, their velocities.

    starts: H of the first activities of each chain, (chain, T P, T P); None for the prior.
    """
    return DynamicsSampler(posterior, settings, starts, with_velocities=True)
