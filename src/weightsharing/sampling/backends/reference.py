"""Steps by PyTorch on any device, as each sampler's folder defines them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks, Dynamics
from weightsharing.sampling.random import Streams, fill_normal


def deviates_of(blocks: Blocks) -> Callable[[Tensor, Streams], Tensor]:
    """A function that draws standard normal deviates for the weights of a memory, (chain, weights)."""
    # Allocated at the first step and filled anew at each.
    kept: list[Tensor] = []

    def deviates(memory: Tensor, streams: Streams) -> Tensor:
        if not kept:
            size = sum(block[0].numel() for block in blocks(memory)[0])
            kept.append(memory.new_empty(len(memory), size))
        fill_normal(kept[0], streams)
        return kept[0]

    return deviates


def advance(
    posterior: Posterior,
    dynamics: Dynamics,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """``backends.advance`` in PyTorch."""
    deviates = deviates_of(blocks)

    def step(memory: Tensor, streams: Streams, number: int) -> None:
        noise = blocks(deviates(memory, streams))[0] if dynamics.has_noise(number) else None
        dynamics.move(
            *blocks(memory), noise, target_at(number), dynamics.step_size, dynamics.damping
        )

    return step
