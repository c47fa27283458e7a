"""Steps by PyTorch on any device, as ``sgld.step`` and ``kinetic.step`` define them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from weightsharing.model.network import Weights
from weightsharing.sampling import WeightSettings
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks
from weightsharing.sampling.random import Streams, fill_normal
from weightsharing.sampling.sgld import step as sgld


class Times(NamedTuple):
    """Times of the dynamics: the step, friction times the time since the last one, steps between two."""

    step_size: float
    damping: float
    refresh: int

    def has_noise(self, number: int) -> bool:
        """Whether step ``number`` draws noise."""
        return (number + 1) % self.refresh == 0


def times_of(settings: WeightSettings) -> Times:
    """The times in these settings. SGLD has noise at every step and no friction."""
    if isinstance(settings, KineticSettings):
        return Times(settings.step_size, settings.damping, settings.refresh)
    return Times(settings.step_size, 0.0, 1)


def move(
    weights: Weights,
    velocities: Weights | None,
    noise: Weights | None,
    posterior: Posterior,
    step_size: float,
    damping: float,
) -> None:
    """One step, in place: of SGLD without velocities, else of underdamped dynamics.

    noise: standard normal deviates of the weights' shapes. None is a step without friction, which only
    underdamped dynamics have.
    """
    if velocities is None:
        assert noise is not None
        sgld.step(weights, noise, posterior, step_size)
    else:
        kinetic.step(weights, velocities, noise, posterior, step_size, damping)


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
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
) -> Advance:
    """``backends.advance`` in PyTorch."""
    times, deviates = times_of(settings), deviates_of(blocks)

    def step(memory: Tensor, streams: Streams, number: int) -> None:
        noise = blocks(deviates(memory, streams))[0] if times.has_noise(number) else None
        move(*blocks(memory), noise, target_at(number), times.step_size, times.damping)

    return step
