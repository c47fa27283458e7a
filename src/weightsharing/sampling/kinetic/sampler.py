"""Underdamped Langevin dynamics as a sampler of chains; ``step`` defines a step."""

from __future__ import annotations

from weightsharing.model.axes import Array
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic.step import move
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Dynamics


def build(posterior: Posterior, settings: KineticSettings, starts: Array | None) -> DynamicsSampler:
    """Underdamped dynamics; the state is the weights and, behind them, their velocities.

    starts: H of the first activities of each chain, (chain, T P, T P); None for the prior.
    """
    dynamics = Dynamics(
        move, settings.step_size, settings.damping, settings.refresh, has_velocities=True
    )
    return DynamicsSampler(posterior, settings, dynamics, starts)
