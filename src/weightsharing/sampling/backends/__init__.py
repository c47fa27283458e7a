"""Backends: how a step of the weights is computed. All make the same step, that of the samplers' folders.

``cpu`` steps by PyTorch, and by a compiled step of underdamped dynamics. ``gpu`` steps by fused Triton
code and CUDA graphs, or by PyTorch if these fail. The fused path has not run on a GPU yet. It goes if it
is not 1.5 times as fast as PyTorch there. Nothing but this module knows of it.
"""

from __future__ import annotations

from collections.abc import Callable

from weightsharing.sampling import WeightSettings
from weightsharing.sampling.backends import cpu
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks


def advance(
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """The function that makes a step of a batch of chains in place, given its number.

    It is that of the posterior's device. blocks: weights and velocities, if any, as views of a memory
    (chain, size). target_at: the posterior of a step, which may differ in its targets only.
    """
    if posterior.inputs.device.type == "cuda":
        from weightsharing.sampling.backends import gpu

        return gpu.advance(posterior, settings, blocks, target_at)
    return cpu.advance(posterior, settings, blocks, target_at)
