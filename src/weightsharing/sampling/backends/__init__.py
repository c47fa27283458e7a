"""Backends: the computation of a step of the weights. All make the same steps as the samplers.

``cpu`` uses PyTorch, and a compiled step for underdamped dynamics. ``gpu`` uses fused steps in Triton
and CUDA graphs, or PyTorch if these fail. The fused steps have not run on a GPU yet. Remove them if
they are not 1.5 times as fast as PyTorch there. Only this module imports ``gpu``.
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

    The posterior's device decides between CPU and GPU. blocks: weights and velocities, if any, as
    views of a memory (chain, size). target_at: the posterior of a step; only its targets may differ.
    """
    if posterior.inputs.device.type == "cuda":
        from weightsharing.sampling.backends import gpu

        return gpu.advance(posterior, settings, blocks, target_at)
    return cpu.advance(posterior, settings, blocks, target_at)
