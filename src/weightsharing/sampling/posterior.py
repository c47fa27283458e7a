"""The posterior that all samplers target, as tensors on a device (THEORY 2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture
from weightsharing.model.task import Task


@dataclass(frozen=True)
class Posterior:
    """What the energy depends on besides the weights, as tensors on the device.

    inputs: (time, pattern, feature). targets: (1 or chain, time, pattern), 0 where not supervised.
    supervised: (1 or chain, time, pattern), 0 or 1. Chains may learn different targets of the same
    inputs. integrated: whether the energy of Langevin dynamics is that of W and U, with the readout
    integrated out.
    """

    architecture: Architecture
    kappa: float
    inputs: Tensor
    targets: Tensor
    supervised: Tensor
    integrated: bool = False

    @cached_property
    def chosen(self) -> Tensor:
        """Indices t P + p of the outputs that any chain is supervised at.

        The first call waits for the device.
        """
        return torch.nonzero(self.supervised.flatten(1).any(0))[:, 0]

    def double(self) -> Posterior:
        """The same in float64."""
        return replace(
            self,
            inputs=self.inputs.double(),
            targets=self.targets.double(),
            supervised=self.supervised.double(),
        )


def build(
    tasks: Sequence[Task],
    architecture: Architecture,
    kappa: float,
    device: torch.device,
    dtype: torch.dtype,
    chains: int = 1,
) -> Posterior:
    """The posterior of one task, or of several with ``chains`` chains each, task by task, as tensors.

    Raises ValueError if the tasks have different inputs.
    """
    inputs = tasks[0].inputs
    if not all(np.array_equal(task.inputs, inputs) for task in tasks):
        raise ValueError(
            "tasks: their inputs differ; chains of one batch must have the same inputs"
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
        targets=for_each_chain([task.labels.reshape(task.targets.shape) for task in tasks]),
        supervised=for_each_chain([task.supervised for task in tasks]),
    )


def supervised_outputs(posterior: Posterior) -> tuple[Tensor, Tensor]:
    """Indices t P + p of the outputs that any chain is supervised at, and the mask of each chain.

    Shapes (chosen,) and (1 or chain, chosen); the mask is 1 where the chain is supervised and else 0.
    """
    return posterior.chosen, posterior.supervised.flatten(1)[:, posterior.chosen]


def pairs(mask: Tensor) -> Tensor:
    """The mask of pairs of outputs, (1 or chain, chosen, chosen), from that of outputs."""
    return mask[:, :, None] * mask[:, None, :]


class Labels(NamedTuple):
    """What the labels y depend on given the activities, on the outputs S that any chain learns.

    mask: 1 where a chain learns the output, else 0, (1 or chain, chosen). post: phi(h) there,
    (chain, chosen, unit). targets: y, of the mask's shape. factor: L of M = L L^T = kappa + v Phi_SS,
    (chain, chosen, chosen). answer: a = M^-1 y, (chain, chosen). Where a chain does not learn, M has a
    row of kappa on the diagonal and 0 elsewhere, and the answer is 0. All but ``post`` are float64.
    """

    mask: Tensor
    post: Tensor
    targets: Tensor
    factor: Tensor
    answer: Tensor


def labels(post: Tensor, posterior: Posterior) -> Labels:
    """``Labels`` at the activities phi(h), (chain, time, pattern, unit)."""
    chosen, mask = supervised_outputs(posterior)
    phi = post.flatten(1, 2)[:, chosen]
    targets = posterior.targets.flatten(1)[:, chosen]
    # In float32, rounding could outweigh a small kappa and make M indefinite.
    wide = phi.double()
    gram = posterior.architecture.prior.v / post.shape[-1] * (wide @ wide.mT)
    identity = torch.eye(len(chosen), dtype=gram.dtype, device=phi.device)
    mask, targets = mask.double(), targets.double()
    factor, failed = torch.linalg.cholesky_ex(pairs(mask) * gram + posterior.kappa * identity)
    # Not an error: NaN, which the next check of the chain reports.
    factor = torch.where(failed[:, None, None] == 0, factor, torch.nan)
    answer = torch.cholesky_solve(targets.expand(len(phi), -1)[..., None], factor)[..., 0]
    return Labels(mask, phi, targets, factor, answer)


def shift(matrix: Tensor, patterns: int) -> Tensor:
    """Both indices of (..., T P, T P) moved one time step ahead, with zeros at t = 0."""
    shifted = torch.zeros_like(matrix)
    shifted[..., patterns:, patterns:] = matrix[..., :-patterns, :-patterns]
    return shifted


def shift_back(matrix: Tensor, patterns: int) -> Tensor:
    """The adjoint of ``shift``."""
    shifted = torch.zeros_like(matrix)
    shifted[..., :-patterns, :-patterns] = matrix[..., patterns:, patterns:]
    return shifted


def masked(matrix: Tensor, posterior: Posterior) -> Tensor:
    """(..., T P, T P) without blocks t != t' for a DNN; unchanged for an RNN, which shares weights."""
    if posterior.architecture.kind == "rnn":
        return matrix
    steps, patterns, _ = posterior.inputs.shape
    time = torch.arange(steps, device=matrix.device).repeat_interleave(patterns)
    return matrix * (time[:, None] == time)
