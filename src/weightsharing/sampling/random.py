"""Random streams, one for each chain, and the threads that fill memory from them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

# Use threads only if a chain has at least this many numbers.
LEAST_PER_THREAD = 2**16

# One random stream for each chain: its draws do not depend on how many chains run beside it.
Streams = list[torch.Generator]


def new_streams(seed: int, chains: int, device: torch.device) -> Streams:
    """Independent streams of one root seed, one for each chain."""
    seeds = np.random.SeedSequence(seed).spawn(chains)
    return [
        torch.Generator(device).manual_seed(int(seed.generate_state(1, np.uint64)[0] >> 1))
        for seed in seeds
    ]


def fill_normal(memory: Tensor, streams: Streams) -> None:
    """Fill ``memory``, (chain, number), with standard normal deviates, each row from its chain's stream.

    PyTorch draws a row on one core. Long rows are shared among threads; the draws stay the same.
    """

    def fill(chains: slice) -> None:
        for row, stream in zip(memory[chains], streams[chains], strict=True):
            row.normal_(generator=stream)

    by_thread(fill, memory)


def by_thread(work: Callable[[slice], None], memory: Tensor) -> None:
    """Call ``work`` with slices that together hold all chains of ``memory``, (chain, number).

    Each of PyTorch's threads has a slice. Short rows, and those on a GPU, are one slice of one thread.
    """
    chains = len(memory)
    threads = min(torch.get_num_threads(), chains)
    if memory.device.type != "cpu" or memory[0].numel() < LEAST_PER_THREAD or threads < 2:
        work(slice(0, chains))
        return
    inference = torch.is_inference_mode_enabled()  # each thread has a mode of its own

    def share(number: int) -> None:
        with torch.inference_mode(inference):
            work(slice(number * chains // threads, (number + 1) * chains // threads))

    list(_pool(threads).map(share, range(threads)))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def normal(like: Tensor, shape: tuple[int, ...], streams: Streams) -> Tensor:
    """Standard normal deviates (chain, *shape) on the device and in the precision of ``like``."""
    values = like.new_empty(len(streams), *shape)
    fill_normal(values, streams)
    return values
