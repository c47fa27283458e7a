"""Steps of SGLD and of underdamped dynamics on a GPU, each in one pass over the weights.

The gradient of the loss in each block is a sum of outer products: (T - 1) P in W of an RNN, P in each
matrix of a DNN, T P in U and in v. With the gradient in factors, a step is

    SGLD          W <- (1 - eta) W + pull sum_r left_r right_r^T + sqrt(2 eta s^2) xi
    underdamped   V <- V - h W + pull sum_r left_r right_r^T, then drift, friction and noise

``triton_steps`` does it in one pass over W, or over W and V, and draws xi in registers. Steps have the
law of ``sgld.step`` and ``kinetic.step``. Their numbers differ only by rounding and by xi.

Random numbers (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
Philox 4x32-10 maps (key, counter) to four deviates and has no state. Each chain has a key. The counter of
128 bits holds the step (64), the matrix (32) and the place in the matrix (32) in separate parts. No pair
(key, counter) is therefore used twice. Two keys are equal by chance with probability 2^-64. Only the step
must be stored, and deviates do not depend on the number of chains. A resumed chain therefore draws the
same deviates. Keys are hashes of the seeds of the chains' streams. The seeds themselves are PyTorch's
keys of Philox.
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

# Part of the hashed numbers, so that keys differ from the seeds of PyTorch's streams.
PURPOSE = 0x46555345
# Entries of one of the four tiles of a program; not tuned on a GPU.
TILE_ROWS, TILE_COLUMNS = 8, 64
# A quarter of a matrix has at most this many places, since 32 bits of the counter number them.
MOST_PLACES = 2**32

# The self-check: a long step, in which decay, gradient and drift all matter, and its step number.
TRIAL_STEP, TRIAL_NUMBER = 0.5, -1
# Largest difference of the two steps relative to the largest entry; float32 resolves 1e-7.
ROUNDING = 2e-5
# Largest deviation of mean and variance of the noise, in standard errors, for each block of each chain.
# Correct noise exceeds it with probability 10^-9.
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
    gradient = langevin.loss_gradient(weights, posterior)
    arriving, leaving = gradient.delta[:, 1:], gradient.activities.post[:, :-1]
    if posterior.architecture.kind == "rnn":
        arriving, leaving = arriving.flatten(1, 2)[:, None], leaving.flatten(1, 2)[:, None]
    inputs = posterior.inputs.flatten(0, 1).expand(len(weights.readout), 1, -1, -1)
    delta = gradient.delta.flatten(1, 2)[:, None]
    post = gradient.activities.post.flatten(1, 2)[:, None]
    error = gradient.error.flatten(1)[:, None, :, None]
    return (
        BlockGradient(arriving, leaving, prior.w / width, prior.w / width),
        BlockGradient(delta, inputs, prior.u, prior.u),
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

    gradient: ``loss_factors`` at ``weights``. keys: of Philox, (chain,). clock: number of the step, an
    int64 on the device. noise: factor of the deviates. Raises ImportError without Triton.
    """
    launch = _triton_steps().langevin
    for block, part, first in _blocks(weights, gradient):
        spread = noise * math.sqrt(2.0 * step_size * part.variance)
        launch[_grid(block)](
            block, part.left, part.right, keys, clock, *_layout(block, part, first),
            1.0 - step_size, -step_size * part.scale, spread, TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip


def kinetic_step(
    weights: Weights, velocities: Weights, gradient: Gradient, step_size: float,
    damping: float | None, keys: Tensor, clock: Tensor, noise: float = 1.0,
) -> None:  # fmt: skip
    """One step of underdamped dynamics, in place.

    damping: friction times the time since the last step with friction; None for a step without it. The
    other arguments are those of ``langevin_step``. ``velocities`` must have the strides of ``weights``.
    """
    launch = _triton_steps().kinetic
    kept = 1.0 if damping is None else math.exp(-damping)
    for (block, part, first), velocity in zip(
        _blocks(weights, gradient), matrices(velocities), strict=True
    ):
        spread = noise * math.sqrt((1.0 - kept**2) * part.variance)
        launch[_grid(block)](
            block, velocity, part.left, part.right, keys, clock, *_layout(block, part, first),
            -step_size * part.scale, step_size, kept, spread, damping is not None,
            TILE_ROWS, TILE_COLUMNS,
        )  # fmt: skip


def objection(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """The reason not to use the fused steps for these chains; None if they are correct.

    Tests them on copies of ``memory``, (chain, size). Without noise they must reproduce PyTorch's steps
    up to rounding. The noise must have mean 0 and variance 1 in every chain. Waits for the device.
    """
    if memory.dtype != torch.float32:
        return "fused steps are for float32"
    weights = matrices(blocks(memory)[0])
    if max(-(-block.shape[-2] // 4) * block.shape[-1] for block in weights) > MOST_PLACES:
        return "too wide for counters of 32 bits"
    try:
        wrong_step = _wrong_step(memory, blocks, posterior, keys)
        return wrong_step or _wrong_noise(memory, blocks, posterior, keys)
    # Errors of compilers and drivers have no common base. PyTorch can do the steps after any of them.
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _wrong_step(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """The largest difference of steps without noise from those of PyTorch, if it exceeds rounding."""
    clock = torch.full((), TRIAL_NUMBER, device=memory.device)
    dampings = (None,) if blocks(memory)[1] is None else (None, TRIAL_STEP)
    for damping in dampings:
        weights, velocities = blocks(memory.clone())
        gradient = loss_factors(weights, posterior)
        plain, plain_velocities = blocks(memory.clone())
        silence = Weights(*(block.new_zeros(()).expand_as(block) for block in weights))
        if velocities is None or plain_velocities is None:
            langevin_step(weights, gradient, TRIAL_STEP, keys, clock, noise=0.0)
            sgld.step(plain, silence, posterior, TRIAL_STEP)
            pairs = list(zip(weights, plain, strict=True))
        else:
            kinetic_step(weights, velocities, gradient, TRIAL_STEP, damping, keys, clock, noise=0.0)
            still = None if damping is None else silence
            kinetic.step(plain, plain_velocities, still, posterior, TRIAL_STEP, damping or 0.0)
            fused_blocks, plain_blocks = (*weights, *velocities), (*plain, *plain_velocities)
            pairs = list(zip(fused_blocks, plain_blocks, strict=True))
        for value, expected in pairs:
            error = float((value - expected).abs().max() / expected.abs().max())
            if not error <= ROUNDING:
                return f"a step differs from that of PyTorch by {error:.1e}"
    return None


def _wrong_noise(memory: Tensor, blocks: Blocks, posterior: Posterior, keys: Tensor) -> str | None:
    """The deviation of mean or variance of the noise, if it is too large."""
    clock = torch.full((), TRIAL_NUMBER, device=memory.device)
    drawn = torch.zeros_like(memory)
    weights, velocities = blocks(drawn)
    # Without weights, velocities and gradient (rank 0), a step leaves only its noise.
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
        # Wilson and Hilferty: the third root of a chi-square is close to normal even for small counts.
        cube = 2.0 / (9.0 * count)
        z = torch.stack([mean * count**0.5, (square ** (1 / 3) - 1.0 + cube) / cube**0.5])
        worst = float(z.abs().max())
        if not worst <= LARGEST_Z:
            return f"mean or variance of the noise is off by {worst:.1f} standard errors"
    return None


def _triton_steps() -> Any:  # noqa: ANN401
    """The steps in Triton. Raises ImportError if Triton is not installed."""
    # Imported late, since a CPU does not need Triton and it may be missing.
    from weightsharing.sampling.backends import triton_steps

    return triton_steps


def _blocks(weights: Weights, gradient: Gradient) -> list[tuple[Tensor, BlockGradient, int]]:
    """Each block as matrices, its gradient, and the number of its first matrix within a chain."""
    parts, first = [], 0
    for block, part in zip(matrices(weights), gradient, strict=True):
        parts.append((block, part, first))
        first += block.shape[1]
    return parts


def _grid(block: Tensor) -> tuple[int, int, int]:
    """Programs: tiles of columns, tiles of a quarter of the rows, matrices of all chains."""
    chains, count, rows, columns = block.shape
    quarter = -(-rows // 4)
    return -(-columns // TILE_COLUMNS), -(-quarter // TILE_ROWS), chains * count


def _layout(block: Tensor, part: BlockGradient, first: int) -> tuple[int, ...]:
    """Sizes and strides, in the order of the arguments of the steps in Triton."""
    _, count, rows, columns = block.shape
    strides = (*part.left.stride()[:3], *part.right.stride()[:3])
    return (count, first, rows, columns, part.left.shape[2], block.stride(0), *strides)
