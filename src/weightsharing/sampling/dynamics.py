"""Langevin dynamics of the weights: what SGLD and underdamped dynamics share (THEORY 2)."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.errors import ConfigError, DivergenceError, StepSizeError
from weightsharing.model import network as networks
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.sampling import backends, initial, langevin, protocol
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Dynamics, Observation
from weightsharing.sampling.random import Streams, normal
from weightsharing.sampling.settings import DynamicsSettings

# Largest step relative to the limit of stability in the stiffest direction. At this step SGLD doubles
# the variance, and terms beyond the quadratic distort underdamped dynamics.
LARGEST_STIFFNESS = 0.5
# Step that the advice names, in the same units.
ADVISED_STIFFNESS = 0.25
# Time between two checks of finiteness and curvature, and the least number of steps.
CHECK_EVERY, LEAST_STEPS = 1.0, 20


class State(NamedTuple):
    """Weights of each chain, and behind them any velocities: (chain, size).

    All are one block of memory that steps change in place, as the compiled and the GPU steps need.
    """

    memory: Tensor


class DynamicsSampler:
    """Langevin dynamics of the weights of one posterior: a ``protocol.Sampler``.

    dynamics: the step, by the sampler's folder.
    starts: H of the first activities of each chain, (chain, T P, T P); None draws weights from the prior.
    """

    state_type = State

    def __init__(
        self,
        posterior: Posterior,
        settings: DynamicsSettings,
        dynamics: Dynamics,
        starts: Array | None,
    ) -> None:
        if posterior.targets.ndim > posterior.supervised.ndim:
            raise ConfigError(
                f"task: {posterior.targets.shape[-1]} readouts, which only theory and the exact sampler "
                "(method: exact) have"
            )
        posterior = replace(posterior, integrated=settings.readout == "integrated")
        self.posterior, self.settings, self.starts = posterior, settings, starts
        self.dynamics = dynamics
        self.count = initial.weight_count(
            posterior.architecture, settings.width, posterior.inputs.shape[2]
        )
        temperature = ["kinetic_temperature"] * dynamics.has_velocities
        self.identities = ("virial", "input_virial", *temperature)
        self.check_every = max(LEAST_STEPS, round(CHECK_EVERY / settings.step_size))
        self.target_at = partial(ramped, posterior, settings=settings)
        self.advance = backends.advance(posterior, dynamics, self.blocks, self.target_at)

    def blocks(self, memory: Tensor) -> tuple[Weights, Weights | None]:
        """Weights and any velocities as views of ``memory``, (chain, size)."""
        parts = [
            initial.weights_in(
                part,
                self.posterior.architecture,
                self.settings.width,
                self.posterior.inputs.shape[2],
            )
            for part in memory.split(self.count, dim=1)
        ]
        return parts[0], parts[1] if len(parts) > 1 else None

    def init(self, streams: Streams) -> State:
        """Weights from the prior or given first activities; velocities with the prior's variances."""
        architecture, (steps, patterns, _) = (
            self.posterior.architecture,
            self.posterior.inputs.shape,
        )
        size = self.count * (2 if self.dynamics.has_velocities else 1)
        memory = normal(self.posterior.inputs, (size,), streams)
        weights, velocities = self.blocks(memory)
        first = initial.from_prior(architecture, weights)
        if self.starts is not None:
            deviates = normal(memory, (self.settings.width, steps * patterns), streams)
            pre = initial.activities_from_kernel(self.starts, deviates, self.posterior)
            noise = initial.noise_of_labels(self.posterior, streams)
            given = initial.given_activities(pre, self.posterior, first, noise)
            # The readout of the state is that of the prior where it is integrated out.
            first = given._replace(readout=first.readout) if self.posterior.integrated else given
        for block, value in zip(weights, first, strict=True):
            block.copy_(value)
        if velocities is not None:
            moving = initial.from_prior(architecture, velocities)
            for block, value in zip(velocities, moving, strict=True):
                block.copy_(value)
        return State(memory)

    def step(self, state: State, streams: Streams, number: int) -> State:
        """Step ``number``, in place."""
        self.advance(state.memory, streams, number)
        return state

    def observe(
        self, state: State, streams: Streams, weights: Weights | None = None
    ) -> Observation:
        """Kernels, outputs and loss of the present weights, with the readout drawn if integrated out."""
        weights = self.weights(state, streams) if weights is None else weights
        activities = networks.forward(weights, self.posterior.inputs, self.posterior.architecture)
        output = networks.outputs(weights, activities)
        error = self.posterior.supervised * (self.posterior.targets - output)
        moved, velocities = self.blocks(state.memory)
        virials = langevin.virials(moved, self.posterior)
        identities = [virials.all, virials.input]
        if velocities is not None:
            identities.append(langevin.kinetic_temperature(velocities, self.posterior))
        return Observation(
            networks.kernel(activities.pre),
            networks.kernel(activities.post),
            output,
            0.5 * error.square().sum((1, 2)),
            torch.stack(identities, dim=1),
        )

    def weights(self, state: State, streams: Streams) -> Weights:
        """The present weights: views of the state, but for a readout that is drawn given the others."""
        weights = self.blocks(state.memory)[0]
        if not self.posterior.integrated:
            return weights
        noise = initial.noise_of_labels(self.posterior, streams)
        activities = networks.forward(weights, self.posterior.inputs, self.posterior.architecture)
        readout = initial.given_labels(activities.post, self.posterior, weights.readout, noise)
        return weights._replace(readout=readout)

    def check(self, state: State, number: int) -> Tensor:
        """The step relative to its limit of stability, (chain,).

        That is eta k / 2 for SGLD and h^2 k / 4 for underdamped dynamics, with k the largest curvature
        of the energy. Raises DivergenceError if a chain's weights are not finite, and StepSizeError,
        with a step that works, beyond ``LARGEST_STIFFNESS``.
        """
        settings = self.settings
        sound = protocol.finite(state)
        if not bool(sound.all()):
            chain = int(torch.nonzero(~sound)[0])
            raise DivergenceError(
                f"chain {chain % settings.chains} diverged before step {number}: its weights are not "
                f"finite; lower step_size, now {settings.step_size:g}",
                chain,
            )
        curvature = langevin.curvature(self.blocks(state.memory)[0], self.target_at(number))
        stiffness = settings.stiffness_per_curvature * curvature.double()
        stiffest = int(stiffness.argmax())
        largest = float(stiffness[stiffest])
        if not largest <= LARGEST_STIFFNESS:
            ratio = ADVISED_STIFFNESS / largest if largest < math.inf else 0.0
            advised = settings.step_size * ratio ** (1.0 / settings.stiffness_order)
            raise StepSizeError(
                f"step_size: {settings.step_size:g} is too large at step {number}: the curvature of the "
                f"energy is {float(curvature[stiffest]):.3g}, and may still grow; use at most "
                f"{advised:.1g}",
                stiffest,
            )
        return stiffness

    def acceptance(self, state: State) -> None:
        """None: there are no proposals."""


def ramped(posterior: Posterior, step: int, settings: DynamicsSettings) -> Posterior:
    """The posterior of a step of the ramp, over which the labels grow to their size."""
    if step >= settings.ramp_steps:
        return posterior
    return replace(posterior, targets=posterior.targets * ((step + 1) / settings.ramp_steps))
