"""Steps of SGLD and of underdamped dynamics as one pass over the weights, on a GPU.

The gradient of the loss in each block is a sum of outer products: (T - 1) P in W of an RNN, P in each
matrix of a DNN, T P in U and in v. With the gradient in factors, a step is

    SGLD          W <- (1 - eta) W + pull sum_r left_r right_r^T + sqrt(2 eta s^2) xi
    underdamped   V <- V - h W + pull sum_r left_r right_r^T, then drift, and friction and noise where due

``triton_steps`` does this in one pass over W, or over W and V, and draws xi where it is used. The law is
that of ``sgld.step`` and ``kinetic.step``. The numbers differ by rounding and by xi.

Random numbers (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011):
Philox 4x32-10 maps (key, counter) to four deviates and has no state. Each chain has a key. The counter of
128 bits has separate parts for the step (64), the matrix (32) and the place in the matrix (32). Hence no
pair of key and counter is used twice. Two keys are equal by chance with probability 2^-64. Only the step
has to be stored, and the number of chains does not matter: a chain resumed at step k draws the same
numbers. Keys are hashes of the seeds of the chains' streams; PyTorch uses the seeds themselves as keys.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightsharing.model.network import Weights
from weightsharing.sampling import langevin
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.random import Streams
from weightsharing.sampling.sgld import step as sgld

# The dynamics that ``move`` makes.
KNOWN = (sgld.move, kinetic.move)
# Enters the keys, which makes them differ from the seeds of all streams.
PURPOSE = 0x46555345
# Entries of a quarter of a program's tile. Not tuned: no GPU was at hand.
TILE_ROWS, TILE_COLUMNS = 8, 64


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
    activities, error, delta = langevin.loss_gradient(weights, posterior)
    arriving, leaving = delta[:, 1:], activities.post[:, :-1]
    if posterior.architecture.kind == "rnn":
        arriving, leaving = arriving.flatten(1, 2)[:, None], leaving.flatten(1, 2)[:, None]
    inputs = posterior.inputs.flatten(0, 1).expand(len(weights.readout), 1, -1, -1)
    delta, post = delta.flatten(1, 2)[:, None], activities.post.flatten(1, 2)[:, None]
    error = error.flatten(1)[:, None, :, None]
    return (
        BlockGradient(arriving, leaving, prior.w / width, prior.w / width),
        BlockGradient(delta, inputs, prior.u, prior.u),
        BlockGradient(error, post, -prior.v / posterior.kappa, prior.v),
    )


def matrices(weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
    """Views of W, U and v, all of shape (chain, matrix, row, column): v is a row."""
    return weights.recurrent, weights.input[:, None], weights.readout[:, None, None]


def keys(streams: Streams, device: torch.device) -> Tensor:
    """One key of Philox for each chain, from the seed of its stream: (chain,), int64."""
    hashes = [
        np.random.SeedSequence([stream.initial_seed(), PURPOSE]).generate_state(1, np.uint64)
        for stream in streams
    ]
    return torch.from_numpy(np.concatenate(hashes).view(np.int64)).to(device)


def move(
    weights: Weights,
    velocities: Weights | None,
    gradient: Gradient,
    step_size: float,
    damping: float | None,
    keys: Tensor,
    clock: Tensor,
    noise: float = 1.0,
) -> None:
    """One step, in place: of SGLD without velocities, else of underdamped dynamics.

    velocities: with the strides of ``weights``. gradient: ``loss_factors`` at ``weights``. damping:
    friction times the time since the last step with it. None is a step without friction; SGLD ignores
    it. clock: the number of the step, an int64 on the device. noise: a factor of the deviates. Raises
    ImportError without Triton.
    """
    # Late: the package must import without Triton.
    from weightsharing.sampling.backends.fused import triton_steps

    is_kinetic = velocities is not None
    kept = 1.0 - step_size
    if is_kinetic:
        kept = 1.0 if damping is None else math.exp(-damping)
    first_matrix = 0
    for block, velocity, (left, right, scale, variance) in zip(
        matrices(weights), matrices(velocities or weights), gradient, strict=True
    ):
        chains, count, rows, columns = block.shape
        spread = (1.0 - kept**2) * variance if is_kinetic else 2.0 * step_size * variance
        # Programs: tiles of columns, tiles of a quarter of the rows, matrices of all chains.
        quarter = -(-rows // 4)
        grid = (-(-columns // TILE_COLUMNS), -(-quarter // TILE_ROWS), chains * count)
        triton_steps.step[grid](
            block, velocity, left, right, keys, clock,
            count, first_matrix, rows, columns, left.shape[2],
            block.stride(0), *left.stride()[:3], *right.stride()[:3],
            pull=-step_size * scale, step_size=step_size, kept=kept, spread=noise * math.sqrt(spread),
            KINETIC=is_kinetic, NOISY=damping is not None or not is_kinetic,
            ROWS=TILE_ROWS, COLUMNS=TILE_COLUMNS,
        )  # fmt: skip
        first_matrix += count
