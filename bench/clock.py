"""Measuring time."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch

# A measurement is the median over this number of batches.
REPEATS = 5


def seconds(function: Callable[[], object], device: torch.device, least: float = 0.2) -> float:
    """Seconds of one call: the median over ``REPEATS`` batches, each of at least ``least`` seconds.

    The first call is not timed: it fills caches and compiles code. Waits for a GPU to finish.
    """

    def batch(calls: int) -> float:
        synchronise(device)
        started = time.perf_counter()
        for _ in range(calls):
            function()
        synchronise(device)
        return time.perf_counter() - started

    function()
    once = batch(1)
    calls = max(1, round(least / once))
    return statistics.median(batch(calls) / calls for _ in range(REPEATS))


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished all launched work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
