"""Steps of weights on a GPU: fused steps and CUDA graphs, or plain PyTorch if these fail.

The host does not wait for the device between two checks. Two small tensors on the device hold the
number of the step and its targets. They are filled before each step; the launches stay the same.
Two kinds of launches exist if velocities are refreshed only at every m-th step. One or two graphs
are therefore enough.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from weightsharing.sampling import WeightSettings
from weightsharing.sampling.backends import fused
from weightsharing.sampling.backends.graphs import captured
from weightsharing.sampling.kinetic import KineticSettings
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks
from weightsharing.sampling.random import Streams, fill_normal
from weightsharing.sampling.sgld import step as sgld

log = logging.getLogger(__name__)


def advance(
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
    use_fused: bool = True,
    use_graphs: bool = True,
) -> Advance:
    """``backends.advance`` on a GPU.

    The first call for a batch of chains checks the fused steps and captures the graphs.
    """
    bound: list[tuple[Tensor, Streams, Callable[[int], None]]] = []

    def step_of(memory: Tensor, streams: Streams, number: int) -> None:
        # Keys and graphs belong to these chains at this place in memory.
        if not bound or bound[0][0] is not memory or bound[0][1] is not streams:
            step = _bind(
                posterior, settings, blocks, target_at, memory, streams, use_fused, use_graphs
            )
            bound[:] = [(memory, streams, step)]
        bound[0][2](number)

    return step_of


def _bind(
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
    memory: Tensor,
    streams: Streams,
    use_fused: bool,
    use_graphs: bool,
) -> Callable[[int], None]:
    """The function that makes a step of these chains in place, given its number."""
    step_size, period, damping = settings.step_size, 1, 0.0
    if isinstance(settings, KineticSettings):
        period, damping = settings.refresh, settings.damping
    target = replace(posterior, targets=posterior.targets.clone())
    clock = torch.zeros((), dtype=torch.int64, device=memory.device)
    keys = fused.keys(streams, memory.device)
    weights, velocities = blocks(memory)
    size = sum(block[0].numel() for block in weights)
    # PyTorch's deviates are drawn before the step, so that the captured launches draw nothing.
    plain = not (use_fused and _usable(memory, blocks, posterior, keys))
    deviates = torch.zeros_like(memory) if plain else None

    def fused_move(noisy: bool) -> None:
        gradient = fused.loss_factors(weights, target)
        if velocities is None:
            fused.langevin_step(weights, gradient, step_size, keys, clock)
        else:
            friction = damping if noisy else None
            fused.kinetic_step(weights, velocities, gradient, step_size, friction, keys, clock)

    def plain_move(noisy: bool) -> None:
        assert deviates is not None
        noise = blocks(deviates)[0]
        if velocities is None:
            sgld.step(weights, noise, target, step_size)
        else:
            drawn = noise if noisy else None
            kinetic.step(weights, velocities, drawn, target, step_size, damping)

    moves: dict[bool, Callable[[], None]] = {}
    for noisy in (True,) if period == 1 else (True, False):
        move = partial(plain_move if plain else fused_move, noisy)
        moves[noisy] = captured(move, memory) if use_graphs else move

    def step(number: int) -> None:
        noisy = (number + 1) % period == 0
        clock.fill_(number)
        target.targets.copy_(target_at(number).targets)
        if noisy and deviates is not None:
            fill_normal(deviates[:, :size], streams)
        moves[noisy]()

    return step


def _usable(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> bool:
    """Whether the fused steps are correct here; warns if not. PyTorch always does float64."""
    if memory.dtype != torch.float32:
        return False
    objection = fused.objection(memory, blocks, posterior, keys)
    if objection is not None:
        log.warning("fused steps are not used: %s; PyTorch does the steps instead", objection)
    return objection is None
