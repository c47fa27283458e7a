"""Networks at finite width: weights, forward pass, kernels (THEORY 1 and 3). PyTorch, batched by chain.

    h^0 = U x^0,   h^t = W^(t) phi(h^(t-1)) + U x^t,   f^(t+1) = (1/N) v . phi(h^t)

Axes: chain c, weight matrix l (1 for an RNN, T - 1 for a DNN), time t, pattern p, unit i of N,
input feature a.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture


class Weights(NamedTuple):
    """The weights of a batch of networks.

    recurrent W: (chain, matrix, unit, unit). input U: (chain, unit, feature). readout v:
    (chain, unit).
    """

    recurrent: Tensor
    input: Tensor
    readout: Tensor


class Activities(NamedTuple):
    """Pre-activations h and activations phi(h), each (chain, time, pattern, unit)."""

    pre: Tensor
    post: Tensor


def matrix_index(architecture: Architecture, time: int) -> int:
    """Which recurrent matrix leads to hidden step ``time`` >= 1."""
    return 0 if architecture.kind == "rnn" else time - 1


def forward(weights: Weights, inputs: Tensor, architecture: Architecture) -> Activities:
    """The unrolled forward pass; ``inputs`` has the axes (time, pattern, feature)."""
    driven = torch.matmul(inputs.flatten(0, 1), weights.input.mT).unflatten(1, inputs.shape[:2])
    pre = [driven[:, 0]]
    post = [architecture.phi(pre[0])]
    for time in range(1, architecture.steps):
        matrix = weights.recurrent[:, matrix_index(architecture, time)]
        pre.append(torch.baddbmm(driven[:, time], post[-1], matrix.mT))
        post.append(architecture.phi(pre[-1]))
    stacked = torch.stack(pre, dim=1)
    if architecture.activation == "linear":
        return Activities(stacked, stacked)
    return Activities(stacked, torch.stack(post, dim=1))


def outputs(weights: Weights, activities: Activities) -> Tensor:
    """f^(t+1) = (1/N) v . phi(h^t), (chain, time, pattern)."""
    flat = activities.post.flatten(1, 2) @ weights.readout[..., None]
    return flat.view(activities.post.shape[:-1]) / weights.readout.shape[-1]


def by_time(flat: Tensor, steps: int) -> Tensor:
    """(chain, T P, ...) of index t P + p as (chain, time, pattern, ...)."""
    return flat.reshape(flat.shape[0], steps, flat.shape[1] // steps, *flat.shape[2:])


def kernel_axes(gram: Tensor, steps: int) -> Tensor:
    """(chain, T P, T P) of index t P + p as (chain, pattern, pattern, time, time)."""
    patterns = gram.shape[-1] // steps
    return gram.view(-1, steps, patterns, steps, patterns).permute(0, 2, 4, 1, 3)


def kernel(activities: Tensor) -> Tensor:
    """(1/N) h_p^t . h_p'^t', (chain, pattern, pattern, time, time), of pre- or post-activations."""
    flat = activities.flatten(1, 2)
    return kernel_axes(flat @ flat.mT / activities.shape[-1], activities.shape[1])
