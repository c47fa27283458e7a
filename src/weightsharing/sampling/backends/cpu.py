"""Steps of weights on a CPU: SGLD in PyTorch, underdamped dynamics compiled or in PyTorch."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from weightsharing.sampling import WeightSettings
from weightsharing.sampling.backends import compiled
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic import step as kinetic
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
    """``backends.advance`` on a CPU.

    PyTorch makes underdamped steps if the compiled step does not have the activation.
    """
    # The first step allocates the memory of the deviates, and each step fills it.
    allocated: list[Tensor] = []

    def deviates(memory: Tensor, streams: Streams) -> Tensor:
        if not allocated:
            weights, _ = blocks(memory)
            allocated.append(
                memory.new_empty(len(memory), sum(block[0].numel() for block in weights))
            )
        fill_normal(allocated[0], streams)
        return allocated[0]

    if isinstance(settings, KineticSettings):
        refresh, damping = settings.refresh, settings.damping
        is_known = posterior.architecture.activation in compiled.CODES
        move = compiled.stepper(posterior, settings) if is_known else None

        def underdamped(memory: Tensor, streams: Streams, step: int) -> None:
            noise = deviates(memory, streams) if (step + 1) % refresh == 0 else None
            if move is not None:
                move(memory, noise, target_at(step))
                return
            weights, velocities = blocks(memory)
            assert velocities is not None
            drawn = None if noise is None else blocks(noise)[0]
            kinetic.step(weights, velocities, drawn, target_at(step), settings.step_size, damping)

        return underdamped

    def overdamped(memory: Tensor, streams: Streams, step: int) -> None:
        (weights, _), (noise, _) = blocks(memory), blocks(deviates(memory, streams))
        sgld.step(weights, noise, target_at(step), settings.step_size)

    return overdamped
