"""Backends: who computes a step of the weights. All make the step that ``sgld`` and ``kinetic`` define.

    reference   PyTorch, on any device
    compiled    Numba, on a CPU, for underdamped dynamics of the activations that it knows
    fused       Triton and CUDA graphs, on a GPU; PyTorch if these fail

Each has ``advance`` with the arguments below, and ``advance`` here chooses one. Nothing else knows of
``fused``: to delete it, delete its folder and its two lines here.
"""

from __future__ import annotations

from collections.abc import Callable

from weightsharing.sampling import WeightSettings
from weightsharing.sampling.backends import compiled, reference
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks


def advance(
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """The function that makes a step of a batch of chains in place, by the fastest backend.

    posterior: its device decides. blocks: weights and any velocities as views of a memory (chain, size).
    target_at: the posterior of a step, which may differ in its targets only.
    """
    if posterior.inputs.device.type == "cuda":
        from weightsharing.sampling.backends import fused

        return fused.advance(posterior, settings, blocks, target_at)
    if compiled.supports(posterior, settings):
        return compiled.advance(posterior, settings, blocks, target_at)
    return reference.advance(posterior, settings, blocks, target_at)
