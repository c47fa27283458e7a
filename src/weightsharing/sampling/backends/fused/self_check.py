"""A check of the fused steps on the chains that they are to move, before the first step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsharing.model.network import Weights
from weightsharing.sampling.backends.fused import steps
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Blocks, Move

# A step so long that decay, gradient and drift all count, with a number that no chain uses.
TRIAL_STEP, TRIAL_NUMBER = 0.5, -1
# Largest difference of the two steps relative to the largest entry; float32 resolves 1e-7.
ROUNDING = 2e-5
# Largest error of mean and variance of the noise in standard errors, in each block of each chain. Correct
# noise exceeds it once in 10^9 times.
LARGEST_Z = 6.1
# Places in a quarter of a matrix that a counter of 32 bits can number.
MOST_PLACES = 2**32


def objection(
    memory: Tensor, blocks: Blocks, posterior: Posterior, move: Move, keys: Tensor
) -> str | None:
    """Why these chains must not use the fused steps; None if they may.

    Tries the steps on copies of ``memory``, (chain, size). Without noise they must be PyTorch's up to
    rounding. The noise alone must have mean 0 and variance 1 in every chain. Waits for the device.
    """
    if memory.dtype != torch.float32:
        return "fused steps need float32"
    places = (-(-b.shape[-2] // 4) * b.shape[-1] for b in steps.matrices(blocks(memory)[0]))
    if max(places) > MOST_PLACES:
        return "too wide for counters of 32 bits"
    clock = torch.full((), TRIAL_NUMBER, device=memory.device)
    try:
        return _wrong_step(memory, blocks, posterior, move, keys, clock) or _wrong_noise(
            memory, blocks, posterior, keys, clock
        )
    # Errors of compilers and drivers have no common base, and none is a reason to stop.
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _wrong_step(
    memory: Tensor, blocks: Blocks, posterior: Posterior, move: Move, keys: Tensor, clock: Tensor
) -> str | None:
    """How steps without noise differ from PyTorch's; None if they agree."""
    dampings = (0.0,) if blocks(memory)[1] is None else (None, TRIAL_STEP)
    for damping in dampings:
        fused, plain = memory.clone(), memory.clone()
        weights, velocities = blocks(fused)
        gradient = steps.loss_factors(weights, posterior)
        steps.move(weights, velocities, gradient, TRIAL_STEP, damping, keys, clock, noise=0.0)
        silence = None
        if damping is not None:
            silence = Weights(*(block.new_zeros(()).expand_as(block) for block in weights))
        move(*blocks(plain), silence, posterior, TRIAL_STEP, damping or 0.0)
        for moved, expected in zip(blocks(fused), blocks(plain), strict=True):
            for block, value in zip(moved or (), expected or (), strict=True):
                error = float((block - value).abs().max() / value.abs().max())
                if not error <= ROUNDING:
                    return f"a step differs from that of PyTorch by {error:.1e}"
    return None


def _wrong_noise(
    memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor, clock: Tensor
) -> str | None:
    """How far mean or variance of the noise are off; None if they are right."""
    weights, velocities = blocks(torch.zeros_like(memory))
    # A gradient of rank 0 and infinite damping leave only the noise, in velocities if there are any.
    of_w, of_u, of_v = (
        part._replace(left=part.left[:, :, :0]) for part in steps.loss_factors(weights, posterior)
    )
    silent = (of_w, of_u, of_v)
    steps.move(weights, velocities, silent, TRIAL_STEP, math.inf, keys, clock)
    for block, part in zip(velocities or weights, silent, strict=True):
        deviates = (block / math.sqrt(part.variance)).flatten(1)
        count = deviates.shape[1]
        mean = deviates.mean(1, dtype=torch.float64)
        square = deviates.square().mean(1, dtype=torch.float64)
        # Wilson and Hilferty: the cube root of a chi-square is close to normal even for few degrees.
        cube = 2.0 / (9.0 * count)
        z = torch.stack([mean * count**0.5, (square ** (1 / 3) - 1.0 + cube) / cube**0.5])
        worst = float(z.abs().max())
        if not worst <= LARGEST_Z:
            return f"mean or variance of the noise is off by {worst:.1f} standard errors"
    return None
