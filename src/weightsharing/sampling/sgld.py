"""SGLD as the dynamics of a chain: the state is the weights of one network."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from weightsharing import networks
from weightsharing.errors import DivergenceError, StepSizeError
from weightsharing.networks import Weights
from weightsharing.records import Array, LangevinSettings
from weightsharing.sampling import initial, langevin
from weightsharing.sampling.dynamics import Dynamics, Observation, Streams, fill_normal, normal
from weightsharing.sampling.posterior import Posterior

# Above step_size x curvature = 1 the stiffest direction fluctuates with twice its variance or more.
LARGEST_STIFFNESS = 1.0
# Langevin time between looks at finiteness and curvature.
CHECK_EVERY = 0.25


def dynamics(
    posterior: Posterior, settings: LangevinSettings, start_kernel: Array | None
) -> Dynamics:
    """SGLD of ``posterior``; ``start_kernel`` H of the first activities, None for the prior."""
    architecture, width = posterior.architecture, settings.width
    steps, patterns, features = posterior.inputs.shape
    eta = settings.step_size

    def weights(memory: Tensor) -> Weights:
        return initial.weights_in(memory, architecture, width, features)

    def begin(memory: Tensor, streams: Streams) -> None:
        fill_normal(memory, streams)
        first = initial.from_prior(architecture, weights(memory))
        if start_kernel is not None:
            deviates = normal(memory, (width, steps * patterns), streams)
            pre = initial.activities_from_kernel(start_kernel, deviates, posterior)
            noise = normal(memory, (int(posterior.supervised.sum()),), streams)
            first = initial.given_activities(pre, posterior, first, noise)
        for block, value in zip(weights(memory), first, strict=True):
            block.copy_(value)

    # Made at the first step and filled anew at each, to save the allocation.
    deviates: list[Tensor] = []

    def advance(memory: Tensor, streams: Streams, step: int) -> None:
        if not deviates:
            deviates.append(torch.empty_like(memory))
        fill_normal(deviates[0], streams)
        target = ramped(posterior, step, settings)
        langevin.step(weights(memory), weights(deviates[0]), target, eta)

    def observe(memory: Tensor, streams: Streams) -> Observation:
        activities = networks.forward(weights(memory), posterior.inputs, architecture)
        output = networks.outputs(weights(memory), activities)
        error = posterior.supervised * (posterior.targets - output)
        return Observation(
            networks.kernel(activities.pre),
            networks.kernel(activities.post),
            output,
            0.5 * error.square().sum((1, 2)),
        )

    def check(memory: Tensor, step: int) -> float:
        finite = torch.isfinite(memory).all(dim=1)
        if not bool(finite.all()):
            chain = int(torch.nonzero(~finite)[0])
            raise DivergenceError(
                f"chain {chain} diverged before step {step}: its weights are not finite; "
                f"lower step_size, now {eta:g}"
            )
        curvature = float(langevin.curvature(weights(memory), posterior).max())
        if not eta * curvature <= LARGEST_STIFFNESS:
            raise StepSizeError(
                f"step_size: {eta:g} is too large at step {step}: the curvature of the energy is "
                f"{curvature:.3g}; use at most {0.5 / curvature:.1g}"
            )
        return eta * curvature

    return Dynamics(
        size=initial.weight_count(architecture, width, features),
        dtype=posterior.inputs.dtype,
        begin=begin,
        advance=advance,
        observe=observe,
        weights=lambda memory, streams: weights(memory),
        check=check,
        check_every=max(1, round(CHECK_EVERY / eta)),
        acceptance=lambda memory: None,
    )


def ramped(posterior: Posterior, step: int, settings: LangevinSettings) -> Posterior:
    """The posterior with the labels of this step: they grow to their size over the ramp."""
    if step >= settings.ramp_steps:
        return posterior
    return replace(posterior, targets=posterior.targets * ((step + 1) / settings.ramp_steps))
