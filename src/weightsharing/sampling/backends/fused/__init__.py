"""Steps on a GPU: fused Triton steps and CUDA graphs, or PyTorch's steps where they fail.

This code has never run on a GPU, only in Triton's interpreter. It stays isolated until measured, and goes
if it is then not 1.5 times as fast as PyTorch's steps (``python -m bench``).

Between two checks the host waits for nothing. Two small tensors on the device hold what changes from step
to step: the number of the step, and the labels during the ramp. The host fills them before each step.
The launches are the same at each step. Steps with and without noise differ, which makes two graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from weightsharing.sampling.backends.fused import self_check, steps
from weightsharing.sampling.backends.fused.graphs import captured
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Advance, Blocks, Dynamics
from weightsharing.sampling.random import Streams, fill_normal

log = logging.getLogger(__name__)


def advance(
    posterior: Posterior,
    dynamics: Dynamics,
    blocks: Blocks,
    target_at: Callable[[int], Posterior],
    use_triton: bool = True,
    use_graphs: bool = True,
) -> Advance:
    """``backends.advance`` on a GPU.

    The first call for a batch of chains checks the fused steps and captures the graphs.
    """

    def bind(memory: Tensor, streams: Streams) -> Callable[[int], None]:
        """The step of these chains at this place in memory, given its number."""
        target = replace(posterior, targets=posterior.targets.clone())
        clock = torch.zeros((), dtype=torch.int64, device=memory.device)
        keys = steps.keys(streams, memory.device)
        weights, velocities = blocks(memory)
        size = sum(block[0].numel() for block in weights)
        is_fused = use_triton and _is_usable(memory, blocks, posterior, dynamics, keys)
        # PyTorch's deviates are drawn before the step: a graph cannot capture the draws.
        deviates = None if is_fused else memory.new_zeros(len(memory), size)

        def move(has_noise: bool) -> None:
            if deviates is None:
                gradient = steps.loss_factors(weights, target)
                damping = dynamics.damping if has_noise else None
                steps.move(weights, velocities, gradient, dynamics.step_size, damping, keys, clock)
            else:
                noise = blocks(deviates)[0] if has_noise else None
                dynamics.move(
                    weights, velocities, noise, target, dynamics.step_size, dynamics.damping
                )

        moves: dict[bool, Callable[[], None]] = {}
        for has_noise in {dynamics.has_noise(number) for number in range(dynamics.refresh)}:
            launches = partial(move, has_noise)
            moves[has_noise] = captured(launches, memory) if use_graphs else launches

        def step(number: int) -> None:
            has_noise = dynamics.has_noise(number)
            clock.fill_(number)
            target.targets.copy_(target_at(number).targets)
            if deviates is not None and has_noise:
                fill_normal(deviates, streams)
            moves[has_noise]()

        return step

    bound: list[tuple[Tensor, Streams, Callable[[int], None]]] = []

    def step_of(memory: Tensor, streams: Streams, number: int) -> None:
        # Keys and graphs belong to these chains at this place.
        if not bound or bound[0][0] is not memory or bound[0][1] is not streams:
            bound[:] = [(memory, streams, bind(memory, streams))]
        bound[0][2](number)

    return step_of


def _is_usable(
    memory: Tensor, blocks: Blocks, posterior: Posterior, dynamics: Dynamics, keys: Tensor
) -> bool:
    """Whether the fused steps are correct here; warns if not.

    By design they have no float64 and know no other dynamics than ``steps.KNOWN``.
    """
    if memory.dtype != torch.float32 or dynamics.move not in steps.KNOWN:
        return False
    objection = self_check.objection(memory, blocks, posterior, dynamics.move, keys)
    if objection is not None:
        log.warning("fused steps are not used: %s; steps are PyTorch's instead", objection)
    return objection is None
