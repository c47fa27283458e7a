"""Steps of SGLD and of underdamped dynamics as one pass over the weights, on a GPU.

The gradient of the loss in each block is a sum of outer products: (T - 1) P in W of an RNN, P in each
matrix of a DNN, T P in U and in v. With it in factors, a step is

    SGLD          W <- (1 - eta) W + pull sum_r left_r right_r^T + sqrt(2 eta s^2) xi
    underdamped   V <- V - h W + pull sum_r left_r right_r^T, then drift, and friction and noise where due

which ``triton_steps`` does in one pass over W, or over W and V, with xi drawn where it is used. It is the
law of ``sgld.step`` and ``kinetic.step``, and their numbers but for rounding and for xi.

Random numbers (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
Philox 4x32-10 maps (key, counter) to four deviates and has no state. The key is that of the chain; the
counter of 128 bits holds, in parts that do not overlap, the step (64), the matrix (32) and the place in
the matrix (32). Chains differ in their key; steps, matrices and places in the counter: so no pair is used
twice. Two keys are equal by chance with probability 2^-64. Nothing has to be stored but the step, nothing
depends on how many chains there are, and a chain resumed at step k draws what it would have drawn.
Keys are hashes of the seeds of the chains' streams; the seeds themselves are PyTorch's keys of Philox.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightsharing.model.network import Weights
from weightsharing.sampling import langevin
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Blocks
from weightsharing.sampling.random import Streams
from weightsharing.sampling.sgld import step as sgld

# Enters the keys, so that they are no stream's own.
PURPOSE = 0x46555345
# Entries of a quarter of a program's tile: not tuned, no GPU was at hand.
TILE_ROWS, TILE_COLUMNS = 8, 64
# Places in a quarter of a matrix that a counter of 32 bits can number.
MOST_PLACES = 2**32

# The self-check: a step so long that decay, gradient and drift all count, and a step number of its own.
TRIAL_STEP, TRIAL_NUMBER = 0.5, -1
# Largest difference of the two steps relative to the largest entry; float32 resolves 1e-7.
ROUNDING = 2e-5
# Standard errors by which mean and variance of the noise may be off, in each block of each chain: beyond
# it is one in 10^9 of what is right.
LARGEST_Z = 6.1


class BlockGradient(NamedTuple):
    """s^2 x gradient of the loss in one block: scale x sum_r left_r right_r^T.

    left: (chain, matrix, r, row). right: (chain, matrix, r, column). variance: s^2, the prior's.
    """

    left: Tensor
    right: Tensor
    scale: float
    variance: float


Gradient = tuple[BlockGradient, BlockGradient, BlockGradient]


def loss_factors(weights: Weights, posterior: Posterior) -> Gradient:
    """The gradient of the loss in W, U and v as sums of outer products (``matrices`` has the shapes)."""
    prior, width = posterior.architecture.prior, weights.readout.shape[-1]
    found = langevin.loss_gradient(weights, posterior)
    arriving, leaving = found.delta[:, 1:], found.activities.post[:, :-1]
    if posterior.architecture.kind == "rnn":
        arriving, leaving = arriving.flatten(1, 2)[:, None], leaving.flatten(1, 2)[:, None]
    inputs = posterior.inputs.flatten(0, 1).expand(len(weights.readout), 1, -1, -1)
    of_input, post = (
        found.delta.flatten(1, 2)[:, None],
        found.activities.post.flatten(1, 2)[:, None],
    )
    error = found.error.flatten(1)[:, None, :, None]
    return (
        BlockGradient(arriving, leaving, prior.w / width, prior.w / width),
        BlockGradient(of_input, inputs, prior.u, prior.u),
        BlockGradient(error, post, -prior.v / posterior.kappa, prior.v),
    )


def matrices(weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Views of W, U and v, all of shape (chain, matrix, row, column): v is a row."""
    return weights.recurrent, weights.input[:, None], weights.readout[:, None, None]


def keys(streams: Streams, device: torch.device) -> Tensor:
    """One key of Philox for each chain, by the seed of its stream: (chain,), int64."""
    hashes = [
        np.random.SeedSequence([stream.initial_seed(), PURPOSE]).generate_state(1, np.uint64)
        for stream in streams
    ]
    return torch.from_numpy(np.concatenate(hashes).view(np.int64)).to(device)


def langevin_step(
    weights: Weights, gradient: Gradient, step_size: float, keys: Tensor, clock: Tensor,
    noise: float = 1.0,
) -> None:  # fmt: skip
    """One SGLD step, in place.

    gradient: ``loss_factors`` at ``weights``. clock: number of the step, an int64 on the device. noise:
    what the deviates are multiplied by. Raises ImportError without Triton.
    """
    kernel = _triton_steps().langevin
    for block, own, first in _blocks(weights, gradient):
        spread = noise * math.sqrt(2.0 * step_size * own.variance)
        kernel[_grid(block)](
            block, own.left, own.right, keys, clock, *_layout(block, own, first),
            1.0 - step_size, -step_size * own.scale, spread, TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip


def kinetic_step(
    weights: Weights, velocities: Weights, gradient: Gradient, step_size: float,
    damping: float | None, keys: Tensor, clock: Tensor, noise: float = 1.0,
) -> None:  # fmt: skip
    """One step of underdamped dynamics, in place.

    damping: friction times the time since the last step with it, None for a step without. The rest is as
    in ``langevin_step``; ``velocities`` must have the strides of ``weights``.
    """
    kernel = _triton_steps().kinetic
    kept = 1.0 if damping is None else math.exp(-damping)
    for (block, own, first), velocity in zip(
        _blocks(weights, gradient), matrices(velocities), strict=True
    ):
        spread = noise * math.sqrt((1.0 - kept**2) * own.variance)
        kernel[_grid(block)](
            block, velocity, own.left, own.right, keys, clock, *_layout(block, own, first),
            -step_size * own.scale, step_size, kept, spread, damping is not None,
            TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip


def objection(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """Why the fused steps are not to be used for these chains; None if they may be.

    Tries them on copies of ``memory``, (chain, size): without noise they must be PyTorch's to rounding,
    and the noise alone must have mean 0 and variance 1 in every chain. Waits for the device.
    """
    if memory.dtype != torch.float32:
        return "kernels are for float32"
    largest = max(
        -(-block.shape[-2] // 4) * block.shape[-1] for block in matrices(blocks(memory)[0])
    )
    if largest > MOST_PLACES:
        return "too wide for counters of 32 bits"
    try:
        return _wrong_step(memory, blocks, posterior, keys) or _wrong_noise(
            memory, blocks, posterior, keys
        )
    # What a compiler or driver may raise has no common base, and none of it is a reason to stop.
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _wrong_step(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """Where steps without noise differ from those of PyTorch."""
    clock = torch.full((), TRIAL_NUMBER, device=memory.device)
    damped = (None,) if blocks(memory)[1] is None else (None, TRIAL_STEP)
    for damping in damped:
        ours, theirs = memory.clone(), memory.clone()
        weights, velocities = blocks(ours)
        gradient = loss_factors(weights, posterior)
        plain, moving = blocks(theirs)
        silence = Weights(*(block.new_zeros(()).expand_as(block) for block in weights))
        if velocities is None or moving is None:
            langevin_step(weights, gradient, TRIAL_STEP, keys, clock, noise=0.0)
            sgld.step(plain, silence, posterior, TRIAL_STEP)
            pairs = list(zip(weights, plain, strict=True))
        else:
            kinetic_step(weights, velocities, gradient, TRIAL_STEP, damping, keys, clock, noise=0.0)
            still = None if damping is None else silence
            kinetic.step(plain, moving, still, posterior, TRIAL_STEP, damping or 0.0)
            pairs = list(zip((*weights, *velocities), (*plain, *moving), strict=True))
        for found, wanted in pairs:
            error = float((found - wanted).abs().max() / wanted.abs().max())
            if not error <= ROUNDING:
                return f"a step differs from that of PyTorch by {error:.1e}"
    return None


def _wrong_noise(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """What is wrong with mean or variance of the noise."""
    clock = torch.full((), TRIAL_NUMBER, device=memory.device)
    drawn = torch.zeros_like(memory)
    weights, velocities = blocks(drawn)
    # A gradient of rank 0, and steps that leave of all weights or velocities the noise alone.
    of_w, of_u, of_v = (
        part._replace(left=part.left[:, :, :0]) for part in loss_factors(weights, posterior)
    )
    silent = (of_w, of_u, of_v)
    if velocities is None:
        langevin_step(weights, silent, TRIAL_STEP, keys, clock)
        noise = weights
    else:
        kinetic_step(weights, velocities, silent, TRIAL_STEP, math.inf, keys, clock)
        noise = velocities
    for block, part in zip(noise, silent, strict=True):
        deviates = (block / math.sqrt(part.variance)).flatten(1)
        count = deviates.shape[1]
        mean = deviates.mean(1, dtype=torch.float64)
        square = deviates.square().mean(1, dtype=torch.float64)
        # Wilson and Hilferty: the third root of a chi-square is close to normal however few there are.
        cube = 2.0 / (9.0 * count)
        z = torch.stack([mean * count**0.5, (square ** (1 / 3) - 1.0 + cube) / cube**0.5])
        worst = float(z.abs().max())
        if not worst <= LARGEST_Z:
            return f"mean or variance of the noise is off by {worst:.1f} standard errors"
    return None


def _triton_steps() -> Any:  # noqa: ANN401
    """The kernels. Raises ImportError where Triton is not installed."""
    # Late: the package must import without Triton, and a CPU has no use for it.
    from weightsharing.sampling.backends import triton_steps

    return triton_steps


def _blocks(weights: Weights, gradient: Gradient) -> list[tuple[Tensor, BlockGradient, int]]:
    """Each block as matrices, its gradient, and the number of its first matrix within a chain."""
    found, first = [], 0
    for block, own in zip(matrices(weights), gradient, strict=True):
        found.append((block, own, first))
        first += block.shape[1]
    return found


def _grid(block: Tensor) -> tuple[int, int, int]:
    """Programs: tiles of columns, tiles of a quarter of the rows, matrices of all chains."""
    chains, count, rows, columns = block.shape
    quarter = -(-rows // 4)
    return -(-columns // TILE_COLUMNS), -(-quarter // TILE_ROWS), chains * count


def _layout(block: Tensor, own: BlockGradient, first: int) -> tuple[int, ...]:
    """Sizes and strides in the order in which the kernels take them."""
    _, count, rows, columns = block.shape
    strides = (*own.left.stride()[:3], *own.right.stride()[:3])
    return (count, first, rows, columns, own.left.shape[2], block.stride(0), *strides)
