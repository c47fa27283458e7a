"""What a chain needs of a sampler: an interface of plain functions, and the random streams."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightsharing.model.network import Weights

# Numbers of one chain from which on handing it to a thread is worth its while.
WORTH_A_THREAD = 2**16

# One random stream for each chain, so that its draws do not depend on how many run beside it.
Streams = list[torch.Generator]

# Makes a step of a batch of chains, (chain, size), in place, given its number.
Advance = Callable[[Tensor, Streams, int], None]
# Weights, and velocities if there are any, as views of the states (chain, size).
Blocks = Callable[[Tensor], tuple[Weights, Weights | None]]


class Observation(NamedTuple):
    """What is kept of a draw.

    kernel H and activation_kernel Phi: (chain, pattern, pattern_, time, time_). output:
    (chain, output_time, pattern). loss: 1/2 sum_S (y - f)^2, (chain,).
    """

    kernel: Tensor
    activation_kernel: Tensor
    output: Tensor
    loss: Tensor


@dataclass(frozen=True)
class Dynamics:
    """A sampler on one posterior, as functions of the states of a batch of chains.

    size: numbers in the state of one chain; all states are one tensor (chain, size). begin: fills it
    at step 0. advance: makes one step in place, given its number. observe: kernels, outputs and loss.
    weights: those of the present state. check: raises if the chains cannot go on, else returns
    the step relative to its limit of stability, (chain,), 0 where that is not defined. check_every: steps
    between checks. acceptance: share of accepted proposals so far, of all chains it is given, or None.

    The chains may be those of several members of a family, one after the other, as many of each.
    """

    size: int
    dtype: torch.dtype
    begin: Callable[[Tensor, Streams], None]
    advance: Advance
    observe: Callable[[Tensor, Streams], Observation]
    weights: Callable[[Tensor, Streams], Weights]
    check: Callable[[Tensor, int], Tensor]
    check_every: int
    acceptance: Callable[[Tensor], float | None]


def new_streams(seed: int, chains: int, device: torch.device) -> Streams:
    """Independent streams of one root seed."""
    seeds = np.random.SeedSequence(seed).spawn(chains)
    return [
        torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        for seed in seeds
    ]


def fill_normal(memory: Tensor, streams: Streams) -> None:
    """Standard normal deviates, each chain's from its own stream.

    PyTorch draws them on one core. Where there are many, chains are shared among threads, which changes
    nothing in what is drawn.
    """

    def fill(chains: slice) -> None:
        for row, stream in zip(memory[chains], streams[chains], strict=True):
            row.normal_(generator=stream)

    by_thread(fill, memory)


def by_thread(work: Callable[[slice], None], memory: Tensor) -> None:
    """Do ``work`` on all chains of a batch (chain, number), shared among PyTorch's number of threads.

    One thread does all where there is little to do, or a GPU to do it.
    """
    chains = len(memory)
    threads = min(torch.get_num_threads(), chains)
    if memory.device.type != "cpu" or memory[0].numel() < WORTH_A_THREAD or threads < 2:
        work(slice(0, chains))
        return
    inference = torch.is_inference_mode_enabled()  # it belongs to a thread

    def share(number: int) -> None:
        with torch.inference_mode(inference):
            work(slice(number * chains // threads, (number + 1) * chains // threads))

    list(_pool(threads).map(share, range(threads)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def finite(memory: Tensor) -> Tensor:
    """Whether all numbers of each chain are finite, (chain,), for states (chain, size).

    A sum is not finite if one of its terms is not, and costs one pass, a tenth of a look at each number.
    """
    return torch.isfinite(memory.sum(dim=1))


def normal(like: Tensor, shape: tuple[int, ...], streams: Streams) -> Tensor:
    """Standard normal deviates (chain, *shape) on the device and in the precision of ``like``."""
    values = like.new_empty(len(streams), *shape)
    fill_normal(values, streams)
    return values
