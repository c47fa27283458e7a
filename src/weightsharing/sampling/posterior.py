"""The posterior that all samplers target, as tensors on a device (THEORY 2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightsharing.records import Architecture, Task


@dataclass(frozen=True)
class Posterior:
    """What the energy depends on besides the weights, as tensors on the device.

    inputs: (time, pattern, feature). targets: (time, pattern), 0 where not supervised. supervised:
    (time, pattern), 0 or 1.
    """

    architecture: Architecture
    kappa: float
    inputs: Tensor
    targets: Tensor
    supervised: Tensor


def build(
    task: Task, architecture: Architecture, kappa: float, device: torch.device, dtype: torch.dtype
) -> Posterior:
    """The posterior of a task as tensors."""

    def tensor(array: np.ndarray) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

    return Posterior(
        architecture=architecture,
        kappa=kappa,
        inputs=tensor(task.inputs.transpose(1, 0, 2)),
        targets=tensor(np.where(task.supervised, task.targets, 0.0).T),
        supervised=tensor(task.supervised.T),
    )


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
