"""Weights as the state of a chain, moved by SGLD or by underdamped Langevin dynamics."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from weightsharing.errors import DivergenceError, StepSizeError
from weightsharing.model import network as networks
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.sampling import cpu, gpu, initial, langevin
from weightsharing.sampling.dynamics import (
    Dynamics,
    Observation,
    Streams,
    fill_normal,
    finite,
    normal,
)
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.settings import KineticSettings, WeightSettings

# Largest step relative to the limit of stability in the stiffest direction. There SGLD has twice the
# variance it should have, and underdamped dynamics what is not quadratic deforms.
LARGEST_STIFFNESS = 0.5
# Step that the advice names, in the same units.
ADVISED_STIFFNESS = 0.25
# Time between looks at finiteness and curvature.
CHECK_EVERY = 1.0


def dynamics(
    posterior: Posterior, settings: WeightSettings, start_kernels: Array | None
) -> Dynamics:
    """Langevin dynamics of ``posterior``; the state is the weights, and behind them any velocities.

    start_kernels: H of the first activities of each member, (member, T P, T P); None for the prior.
    """
    architecture, width = posterior.architecture, settings.width
    steps, patterns, features = posterior.inputs.shape
    size = initial.weight_count(architecture, width, features)
    step_size = settings.step_size
    with_velocities = isinstance(settings, KineticSettings)

    def weights(memory: Tensor) -> Weights:
        return initial.weights_in(memory[:, :size], architecture, width, features)

    def velocities(memory: Tensor) -> Weights:
        return initial.weights_in(memory[:, size:], architecture, width, features)

    def begin(memory: Tensor, streams: Streams) -> None:
        fill_normal(memory, streams)
        first = initial.from_prior(architecture, weights(memory))
        if start_kernels is not None:
            deviates = normal(memory, (width, steps * patterns), streams)
            pre = torch.cat(
                [
                    initial.activities_from_kernel(kernel, own, posterior)
                    for kernel, own in zip(
                        start_kernels, deviates.split(settings.chains), strict=True
                    )
                ]
            )
            noise = initial.noise_of_labels(posterior, streams)
            first = initial.given_activities(pre, posterior, first, noise)
        parts = [(weights(memory), first)]
        if with_velocities:
            # Velocities have the variances of the prior.
            parts.append((velocities(memory), initial.from_prior(architecture, velocities(memory))))
        for blocks, values in parts:
            for block, value in zip(blocks, values, strict=True):
                block.copy_(value)

    def parts(memory: Tensor) -> tuple[Weights, Weights | None]:
        return weights(memory), velocities(memory) if with_velocities else None

    def target_at(step: int) -> Posterior:
        return ramped(posterior, step, settings)

    def stiffness(curvature: Tensor) -> Tensor:
        """Share of the stability limit: eta k / 2 of SGLD, h^2 k / 4 of underdamped dynamics."""
        if with_velocities:
            return 0.25 * step_size**2 * curvature
        return 0.5 * step_size * curvature

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

    def check(memory: Tensor, step: int) -> Tensor:
        sound = finite(memory)
        if not bool(sound.all()):
            member, chain = divmod(int(torch.nonzero(~sound)[0]), settings.chains)
            raise DivergenceError(
                f"chain {chain} diverged before step {step}: its weights are not finite; "
                f"lower step_size, now {step_size:g}",
                member,
            )
        curvature = langevin.curvature(weights(memory), posterior)
        found = stiffness(curvature.double())
        stiffest = int(found.argmax())
        largest = float(found[stiffest])
        if not largest <= LARGEST_STIFFNESS:
            ratio = ADVISED_STIFFNESS / largest if largest < math.inf else 0.0
            advised = step_size * (math.sqrt(ratio) if with_velocities else ratio)
            raise StepSizeError(
                f"step_size: {step_size:g} is too large at step {step}: the curvature of the energy is "
                f"{float(curvature[stiffest]):.3g}; use at most {advised:.1g}",
                stiffest // settings.chains,
            )
        return found

    return Dynamics(
        size=2 * size if with_velocities else size,
        dtype=posterior.inputs.dtype,
        begin=begin,
        advance=(gpu if on_gpu(posterior) else cpu).advance(posterior, settings, parts, target_at),
        observe=observe,
        weights=lambda memory, streams: weights(memory),
        check=check,
        check_every=max(1, round(CHECK_EVERY / step_size)),
        acceptance=lambda memory: None,
    )


def on_gpu(posterior: Posterior) -> bool:
    """Whether steps are made by kernels and graphs."""
    return posterior.inputs.device.type == "cuda"


def ramped(posterior: Posterior, step: int, settings: WeightSettings) -> Posterior:
    """The posterior with the labels of this step: they grow to their size over the ramp."""
    if step >= settings.ramp_steps:
        return posterior
    return replace(posterior, targets=posterior.targets * ((step + 1) / settings.ramp_steps))
