"""The posterior that all samplers target, as tensors on a device (THEORY 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture
from weightsharing.model.tasks import Task


@dataclass(frozen=True)
class Posterior:
    """What the energy depends on besides the weights, as tensors on the device.

    inputs: (time, pattern, feature). targets: (1 or chain, time, pattern), 0 where not supervised.
    supervised: (1 or chain, time, pattern), 0 or 1. Chains that learn other tasks than each other may be
    moved together, as long as the inputs are the same.
    """

    architecture: Architecture
    kappa: float
    inputs: Tensor
    targets: Tensor
    supervised: Tensor


def build(
    tasks: Sequence[Task],
    architecture: Architecture,
    kappa: float,
    device: torch.device,
    dtype: torch.dtype,
    chains: int = 1,
) -> Posterior:
    """The posterior of one task, or of several with as many chains each, task by task, as tensors.

    Raises ValueError if the tasks differ in their inputs.
    """
    inputs = tasks[0].inputs
    if not all(np.array_equal(task.inputs, inputs) for task in tasks):
        raise ValueError(
            "tasks: their inputs differ, so that their chains cannot be moved together"
        )

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

    def for_each_chain(arrays: list[np.ndarray]) -> Tensor:
        repeats = 1 if len(arrays) == 1 else chains
        return tensor(np.repeat(np.stack(arrays).swapaxes(1, 2), repeats, axis=0))

    return Posterior(
        architecture=architecture,
        kappa=kappa,
        inputs=tensor(inputs.transpose(1, 0, 2)),
        targets=for_each_chain([np.where(task.supervised, task.targets, 0.0) for task in tasks]),
        supervised=for_each_chain([task.supervised for task in tasks]),
    )


def supervised_outputs(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Indices t P + p of the outputs that any chain is supervised at, and which chain is at which.

    Shapes (chosen,) and (1 or chain, chosen), the latter of 0 and 1.
    """
    supervised = posterior.supervised.flatten(1)
    chosen = torch.nonzero(supervised.any(0))[:, 0]
    return chosen, supervised[:, chosen]


def shift(matrix: Tensor, patterns: int) -> Tensor:
    """Every index of (..., T P, T P) moved one time step ahead, zeros at t = 0."""
    shifted = torch.zeros_like(matrix)
    shifted[..., patterns:, patterns:] = matrix[..., :-patterns, :-patterns]
    return shifted


def shift_back(matrix: Tensor, patterns: int) -> Tensor:
    """The adjoint of ``shift``."""
    shifted = torch.zeros_like(matrix)
    shifted[..., :-patterns, :-patterns] = matrix[..., patterns:, patterns:]
    return shifted


def masked(matrix: Tensor, posterior: Posterior) -> Tensor:
    """Blocks t = t' of (..., T P, T P) if the weights are not shared (DNN), all of it if they are."""
    if posterior.architecture.kind == "rnn":
        return matrix
    steps, patterns, _ = posterior.inputs.shape
    time = torch.arange(steps, device=matrix.device).repeat_interleave(patterns)
    return matrix * (time[:, None] == time)
