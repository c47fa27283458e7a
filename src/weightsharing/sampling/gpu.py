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

from weightsharing.records import KineticSettings, WeightSettings
from weightsharing.sampling import fused, kinetic, langevin
from weightsharing.sampling.dynamics import Streams, fill_normal
from weightsharing.sampling.fused import Blocks
from weightsharing.sampling.graphs import captured
from weightsharing.sampling.posterior import Posterior

log = logging.getLogger(__name__)

Advance = Callable[[Tensor, Streams, int], None]


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
    of a step, which may differ in its targets only. The first call for a batch of chains tries the kernels and
    captures the graphs.
    """
    bound: list[tuple[Tensor, Streams, Callable[[int], None]]] = []

    def step(memory: Tensor, streams: Streams, number: int) -> None:
        # Keys and graphs belong to these chains at this place.
        if not bound or bound[0][0] is not memory or bound[0][1] is not streams:
            own = _bind(
                memory, streams, posterior, settings, blocks, target_at, use_kernels, use_graphs
            )
            bound[:] = [(memory, streams, own)]
        bound[0][2](number)

    return step


def _bind(
    memory: Tensor,
    streams: Streams,
    posterior: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
    use_kernels: bool,
    use_graphs: bool,
) -> Callable[[int], None]:
    """The step of these chains, given its number."""
    target = replace(posterior, targets=posterior.targets.clone())
    clock = torch.zeros((), dtype=torch.int64, device=memory.device)
    keys = fused.keys(streams, memory.device)
    deviates = None
    if not (use_kernels and _usable(memory, blocks, posterior, keys)):
        deviates = torch.zeros_like(memory[:, : sum(b[0].numel() for b in blocks(memory)[0])])
    period = settings.refresh if isinstance(settings, KineticSettings) else 1

    def move(noisy: bool) -> None:
        _move(memory, target, settings, blocks, keys, clock, deviates, noisy)

    moves = {}
    for noisy in (True,) if period == 1 else (True, False):
        one = partial(move, noisy)
        moves[noisy] = captured(one, memory) if use_graphs else one

    def step(number: int) -> None:
        noisy = (number + 1) % period == 0
        clock.fill_(number)
        target.targets.copy_(target_at(number).targets)
        if noisy and deviates is not None:
            fill_normal(deviates, streams)
        moves[noisy]()

    return step


def _usable(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> bool:
    """Whether the kernels are right here; warns if they are not. float64 is PyTorch's by design."""
    if memory.dtype != torch.float32:
        return False
    objection = fused.objection(memory, blocks, posterior, keys)
    if objection is not None:
        log.warning("fused kernels are not used: %s; plain PyTorch instead", objection)
    return objection is None


def _move(
    memory: Tensor,
    target: Posterior,
    settings: WeightSettings,
    blocks: Blocks,
    keys: Tensor,
    clock: Tensor,
    deviates: Tensor | None,
    noisy: bool,
) -> None:
    """One step in place: with ``deviates``, if there are any, by PyTorch, else by the kernels."""
    weights, velocities = blocks(memory)
    step_size = settings.step_size
    noise = None if deviates is None else blocks_of_noise(deviates)
