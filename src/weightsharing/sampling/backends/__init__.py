"""Backends: who computes a step of the weights. All make the step that a sampler's folder defines.

    reference   PyTorch, on any device, for all dynamics
    compiled    Numba, on a CPU, for SGLD and underdamped dynamics of the activations that it knows
    fused       Triton and CUDA graphs, on a GPU; PyTorch where these fail or do not know the dynamics

Each has ``advance`` with the arguments below, and ``advance`` here chooses one. Nothing else knows of
``fused``: to delete it, delete its folder and its two lines here.
"""

from __future__ import annotations

from collections.abc import Callable

from weightsharing.sampling.backends import compiled, reference
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks, Dynamics


def advance(
    posterior: Posterior,
    dynamics: Dynamics,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """The function that makes a step of a batch of chains in place, by the fastest backend.

    posterior: its device decides. blocks: weights and any velocities as views of a memory (chain, size).
    target_at: the posterior of a step, which may differ in its targets only.
    """
    if posterior.inputs.device.type == "cuda":
        from weightsharing.sampling.backends import fused

        return fused.advance(posterior, dynamics, blocks, target_at)
    if compiled.supports(posterior, dynamics):
        return compiled.advance(posterior, dynamics, blocks, target_at)
    return reference.advance(posterior, dynamics, blocks, target_at)
