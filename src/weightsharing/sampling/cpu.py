"""Steps of weights on a CPU: SGLD by PyTorch, underdamped dynamics compiled."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from weightsharing.sampling import WeightSettings, compiled
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks
from weightsharing.sampling.random import Streams, fill_normal
from weightsharing.sampling.sgld import step as sgld


def advance(
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """The function that makes a step of a batch of chains in place, given its number.

    blocks: weights and velocities, if any, as views of a memory (chain, size). target_at: the posterior
    of a step, which may differ in its targets only.
    """
    # Made at the first step and filled anew at each, to save the allocation.
    kept: list[Tensor] = []

    def deviates(memory: Tensor, streams: Streams) -> Tensor:
        if not kept:
            weights, _ = blocks(memory)
            kept.append(memory.new_empty(len(memory), sum(block[0].numel() for block in weights)))
        fill_normal(kept[0], streams)
        return kept[0]

    if isinstance(settings, KineticSettings):
        move, refresh = compiled.stepper(posterior, settings), settings.refresh

        def underdamped(memory: Tensor, streams: Streams, step: int) -> None:
            noise = deviates(memory, streams) if (step + 1) % refresh == 0 else None
            move(memory, noise, target_at(step))

        return underdamped

    def overdamped(memory: Tensor, streams: Streams, step: int) -> None:
        (weights, _), (noise, _) = blocks(memory), blocks(deviates(memory, streams))
        sgld.step(weights, noise, target_at(step), settings.step_size)

    return overdamped
