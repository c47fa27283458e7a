"""SGLD as a sampler of chains; ``step`` defines a step."""

from __future__ import annotations

import math

from weightsharing.model.axes import Array
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.kinetic.step import move as kinetic_move
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Dynamics
from weightsharing.sampling.sgld import LangevinSettings
from weightsharing.sampling.sgld.step import move


def build(
    posterior: Posterior, settings: LangevinSettings, starts: Array | None
) -> DynamicsSampler:
    """SGLD; the state is the weights and, behind them, the last noise if it is averaged.

    starts: H of the first activities of each chain, (chain, T P, T P); None for the prior.
    """
    dynamics = Dynamics(move, settings.step_size)
    if settings.noise == "averaged":
        # Velocities that are all forgotten are the last noise, in units of the prior.
        step_size = math.sqrt(2.0 * settings.step_size)
        dynamics = Dynamics(kinetic_move, step_size, damping=math.inf, has_velocities=True)
    return DynamicsSampler(posterior, settings, dynamics, starts)
