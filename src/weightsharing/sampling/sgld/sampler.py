"""SGLD as a sampler of chains; ``step`` defines a step."""

from __future__ import annotations

from weightsharing.model.axes import Array
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Dynamics
from weightsharing.sampling.sgld import LangevinSettings
from weightsharing.sampling.sgld.step import move


def build(
    posterior: Posterior, settings: LangevinSettings, starts: Array | None
) -> DynamicsSampler:
    """SGLD; the state is the weights.

    starts: H of the first activities of each chain, (chain, T P, T P); None for the prior.
    """
    return DynamicsSampler(posterior, settings, Dynamics(move, settings.step_size), starts)
