"""Measuring time, and tables of measurements."""

from __future__ import annotations

import itertools
import logging
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr

log = logging.getLogger(__name__)

# A measurement is the median of this many.
REPEATS = 5


def seconds(function: Callable[[], object], device: torch.device, least: float = 0.2) -> float:
    """Seconds of one call: the median over ``REPEATS`` batches, each of at least ``least`` seconds.

    One call comes first, to fill caches and to compile. Waits for a GPU to finish.
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


def seconds_once(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of a single call on a CPU, and its result."""
    started = time.perf_counter()
    result = function()
    return time.perf_counter() - started, result


def synchronise(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(measure: Callable[..., Mapping[str, float]], **axes: Sequence[Any]) -> xr.Dataset:
    """Measure at each combination of labels, print, and put each quantity on these axes."""
    shape = tuple(len(labels) for labels in axes.values())
    quantities: dict[str, np.ndarray] = {}
    for place, labels in zip(np.ndindex(shape), itertools.product(*axes.values()), strict=True):
        values = measure(*labels)
        shown = (f"{name} {value:.3g}" for name, value in values.items())
        log.info(", ".join([*map(str, labels), *shown]))
        for name, value in values.items():
            quantities.setdefault(name, np.full(shape, np.nan))[place] = value
    variables = {name: (tuple(axes), values) for name, values in quantities.items()}
    return xr.Dataset(variables, coords={name: list(labels) for name, labels in axes.items()})
