"""SGLD as a sampler of chains; ``step`` says what a step is."""

from __future__ import annotations

from weightsharing.model.axes import Array
from weightsharing.sampling.dynamics import DynamicsSampler
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.sgld import LangevinSettings


def build(
    posterior: Posterior, settings: LangevinSettings, starts: Array | None
) -> DynamicsSampler:
    """SGLD; the state is the weights.

    starts: H of the first activities of each chain, (chain, T P, T P); None for the prior.
    """
    return DynamicsSampler(posterior, settings, starts, with_velocities=False)
