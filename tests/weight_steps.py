"""Shared by the tests of the backends: posteriors, states of chains, and the deviates of fused steps.

Without a GPU, Triton's interpreter runs the fused steps in NumPy; with one, the same tests run on it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.network import Weights
from weightsharing.model.task import Task
from weightsharing.sampling import initial
from weightsharing.sampling import posterior as posteriors
from weightsharing.sampling.backends.compiled import key_of
from weightsharing.sampling.backends.compiled import step as compiled
from weightsharing.sampling.backends.fused import steps as fused
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Blocks
from weightsharing.sampling.random import Streams, new_streams

ON_GPU = torch.cuda.is_available()
if not ON_GPU:
    # Triton reads it when it is imported, which only the tests do here.
    os.environ["TRITON_INTERPRET"] = "1"

CPU = torch.device("cpu")
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
FEATURES, KAPPA = 3, 0.2
Words = NDArray[np.uint32]


def problem(
    kind: Kind, activation: ActivationName = "linear", patterns: int = 2, steps: int = 4,
    dtype: torch.dtype = torch.float32, device: torch.device = DEVICE, integrated: bool = False,
) -> Posterior:  # fmt: skip
    """Inputs and targets at all times, some of them supervised, and unequal prior variances.

    The last outputs are supervised: the last outer product of each gradient counts.
    """
    generator = np.random.default_rng(5)
    last = np.arange(steps) == steps - 1
    task = Task(
        inputs=generator.standard_normal((patterns, steps, FEATURES)),
        targets=generator.standard_normal((patterns, steps)),
        supervised=last | (generator.random((patterns, steps)) < 0.6),
    )
    prior = Prior(w=0.7, u=1.3, v=0.8)
    architecture = Architecture(kind=kind, activation=activation, steps=steps, prior=prior)
    target = posteriors.build([task], architecture, KAPPA, device, dtype)
    return dataclasses.replace(target, integrated=integrated)


def states(
    target: Posterior, width: int, chains: int = 2, moving: bool = False, seed: int = 1
) -> tuple[Tensor, Blocks]:
    """Weights and, if ``moving``, velocities from the prior, and the function that unpacks them."""
    architecture = target.architecture
    size = initial.weight_count(architecture, width, FEATURES)

    def blocks(memory: Tensor) -> tuple[Weights, Weights | None]:
        parts = [
            initial.weights_in(part, architecture, width, FEATURES)
            for part in memory.split(size, dim=1)
        ]
        return parts[0], parts[1] if len(parts) > 1 else None

    stream = torch.Generator().manual_seed(seed)
    memory = torch.randn(chains, size * (1 + moving), generator=stream).to(target.inputs)
    for part in blocks(memory):
        if part is not None:
            for block, value in zip(part, initial.from_prior(architecture, part), strict=True):
                block.copy_(value)
    return memory, blocks


def keys(chains: int, seed: int = 5) -> Tensor:
    return fused.keys(new_streams(seed, chains, CPU), DEVICE)


def philox(key: Words, counter: Words) -> Words:
    """Philox 4x32-10 as published: key (..., 2) and counter (..., 4) to four words."""
    a, b = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = (key[..., i].astype(np.uint64) for i in range(2))
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    for _ in range(10):
        left, right = a * c0, b * c2
        c0, c1 = (right >> high) ^ c1 ^ k0, right & low
        c2, c3 = (left >> high) ^ c3 ^ k1, left & low
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def counters(
    shape: Sequence[int], first: int, key: Tensor, step: int
) -> tuple[Words, Words, Words]:
    """Key, counter and which of the four deviates each entry of (chain, matrix, row, column) gets."""
    rows, columns = shape[2:]
    quarter = -(-rows // 4)
    chain, matrix, row, column = np.indices(tuple(shape))
    long_key = key.cpu().numpy().view(np.uint64)[chain]
    words = [row % quarter * columns + column, matrix + first, step & 0xFFFFFFFF, step >> 32]
    counter = np.stack([np.broadcast_to(word, row.shape) for word in words], axis=-1)
    halves = np.stack([long_key & np.uint64(0xFFFFFFFF), long_key >> np.uint64(32)], axis=-1)
    return halves.astype(np.uint32), counter.astype(np.uint32), (row // quarter).astype(np.uint32)


def philox_deviates(like: Weights, key: Tensor, step: int) -> Weights:
    """The deviates that a fused step must draw, in float64 by the library's functions."""
    expected, first = [], 0
    for block, original in zip(fused.matrices(like), like, strict=True):
        long_key, counter, lane = counters(block.shape, first, key, step)
        bits = philox(long_key, counter).astype(np.float64)
        pair = 2 * (lane // 2)[..., None].astype(np.int64)
        radius = np.sqrt(-2 * np.log((np.take_along_axis(bits, pair, -1)[..., 0] + 0.5) / 2.0**32))
        angle = np.take_along_axis(bits, pair + 1, -1)[..., 0] / 2.0**32
        # The quadrant's first angle is -pi/4.
        angle = 2 * np.pi * (angle - 1 / 8)
        values = radius * np.where(lane % 2 == 0, np.cos(angle), np.sin(angle))
        expected.append(torch.from_numpy(values).to(block).reshape(original.shape))
        first += block.shape[1]
    return Weights(*expected)


def compiled_deviates(like: Weights, streams: Streams) -> Weights:
    """The deviates that a compiled step must draw: some rows of a block at a time, chain by chain."""
    drawn = Weights(*(torch.empty_like(block) for block in like))
    generators = np.empty((4, compiled.LANES), np.uint32)
    for chain, stream in enumerate(streams):
        compiled.seed(np.uint64(key_of(stream)), generators)
        for block in (*drawn.recurrent[chain], drawn.input[chain], drawn.readout[chain, None]):
            rows, columns = block.shape
            ahead = max(1, compiled.AHEAD // columns)
            size = -(-ahead * columns // (2 * compiled.LANES)) * 2 * compiled.LANES
            for first in range(0, rows, ahead):
                deviates = np.empty(size, np.float32)
                compiled.fill_normal(generators, deviates)
                part = block[first : first + ahead]
                part.copy_(torch.from_numpy(deviates[: part.numel()]).reshape(part.shape))
    return drawn


def weaker_noise(factor: float) -> AbstractContextManager[object]:
    """Compiled steps whose noise is too small by this factor, which makes the dynamics wrong."""
    right: Any = compiled.step

    def step(*rest: Any) -> None:
        *others, spreads, times = rest
        right(*others, factor * spreads, times)

    return mock.patch.object(compiled, "step", step)
