"""Gradient descent of the energy: SGLD without its noise, for comparison (THEORY 2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.errors import DivergenceError
from weightsharing.model import network as networks
from weightsharing.model.architecture import Architecture
from weightsharing.model.network import Weights
from weightsharing.model.task import Task
from weightsharing.sampling import initial, posterior
from weightsharing.sampling.langevin import add_loss_gradient
from weightsharing.sampling.random import new_streams, normal

# Precision of the weights.
REAL = torch.float64


class Path(NamedTuple):
    """What is seen along the descent of each network, (network, record, ...).

    step: of each record, (record,). kernel H: (..., pattern, pattern_, time, time_). output:
    (..., pattern, output_time). loss: 1/2 sum_S (y - f)^2. weights: at the end.
    """

    step: list[int]
    kernel: Tensor
    output: Tensor
    loss: Tensor
    weights: Weights


@torch.inference_mode()
def descend(
    task: Task, architecture: Architecture, kappa: float, width: int, networks_count: int,
    step_size: float, steps: int, records: int, weight_decay: bool, seed: int,
) -> Path:  # fmt: skip
    """Theta <- Theta - eta s^2 grad E from untrained weights, E as in ``langevin`` with v sampled.

    weight_decay: whether E has the prior; without it, the loss alone is descended. records: how often
    networks are looked at, evenly spaced. Raises DivergenceError if a network's weights are not finite.
    """
    device = torch.device("cpu")
    target = posterior.build([task], architecture, kappa, device, REAL)
    size = initial.weight_count(architecture, width, task.inputs.shape[2])
    streams = new_streams(seed, networks_count, device)
    memory = normal(target.inputs, (size,), streams)
    weights = initial.weights_in(memory, architecture, width, task.inputs.shape[2])
    for block, value in zip(weights, initial.from_prior(architecture, weights), strict=True):
        block.copy_(value)
    every, seen = max(1, steps // records), []
    keep = 1.0 - step_size if weight_decay else 1.0
    for number in range(steps + 1):
        if number % every == 0:
            seen.append((number, *_observed(weights, target)))
            if not bool(torch.isfinite(seen[-1][3]).all()):
                raise DivergenceError(
                    f"gradient descent diverged before step {number}; lower step_size, now {step_size:g}",
                    0,
                )
        if number < steps:
            add_loss_gradient(weights, weights, target, -step_size, keep=keep)
    numbers, kernels, outputs, losses = zip(*seen, strict=True)
    kernel, output, loss = (torch.stack(each, dim=1) for each in (kernels, outputs, losses))
    return Path(list(numbers), kernel, output, loss, weights)


def _observed(weights: Weights, target: posterior.Posterior) -> tuple[Tensor, Tensor, Tensor]:
    """Kernel, outputs and loss of networks."""
    activities = networks.forward(weights, target.inputs, target.architecture)
    output = networks.outputs(weights, activities)
    error = target.supervised * (target.targets - output)
    return networks.kernel(activities.pre), output.mT, 0.5 * error.square().sum((1, 2))
