"""Steps of weights on a GPU: fused kernels and CUDA graphs, or plain PyTorch where they fail.

Between two checks the host waits for nothing. What changes from step to step, the number of the step
and the labels during the ramp, lies in two small tensors on the device that are filled before each
step; the launches themselves are the same at each, or of two kinds where velocities are refreshed at
every m-th step only, so that one or two graphs are enough.
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
    use_kernels: bool = True,
    use_graphs: bool = True,
) -> Advance:
    """The function that makes a step of a batch of chains in place, given its number.

    blocks: weights and velocities, if any, as views of a memory (chain, size). target_at: the posterior
    of a step, which may differ in its targets only. The first call for a batch of chains tries the
    kernels and captures the graphs.
    """
    step_size, period, damping = settings.step_size, 1, 0.0
    if isinstance(settings, KineticSettings):
        period, damping = settings.refresh, settings.damping

    def bind(memory: Tensor, streams: Streams) -> Callable[[int], None]:
        target = replace(posterior, targets=posterior.targets.clone())
        clock = torch.zeros((), dtype=torch.int64, device=memory.device)
        keys = fused.keys(streams, memory.device)
        weights, velocities = blocks(memory)
        size = sum(block[0].numel() for block in weights)
        # PyTorch's deviates are drawn before the step, which leaves nothing random to be captured.
        plain = not (use_kernels and _usable(memory, blocks, posterior, keys))
        deviates = torch.zeros_like(memory) if plain else None

        def fused_move(noisy: bool) -> None:
            gradient = fused.loss_factors(weights, target)
            if velocities is None:
                fused.langevin_step(weights, gradient, step_size, keys, clock)
            else:
                due = damping if noisy else None
                fused.kinetic_step(weights, velocities, gradient, step_size, due, keys, clock)

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

    bound: list[tuple[Tensor, Streams, Callable[[int], None]]] = []

    def step_of(memory: Tensor, streams: Streams, number: int) -> None:
        # Keys and graphs belong to these chains at this place.
        if not bound or bound[0][0] is not memory or bound[0][1] is not streams:
            bound[:] = [(memory, streams, bind(memory, streams))]
        bound[0][2](number)

    return step_of


def _usable(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> bool:
    """Whether the kernels are right here; warns if they are not. float64 is PyTorch's by design."""
    if memory.dtype != torch.float32:
        return False
    objection = fused.objection(memory, blocks, posterior, keys)
    if objection is not None:
        log.warning("fused kernels are not used: %s; steps are PyTorch's instead", objection)
    return objection is None
