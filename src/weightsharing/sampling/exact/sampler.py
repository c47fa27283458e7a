"""The exact sampler: Hamiltonian Monte Carlo of the activities, weights integrated out (THEORY 8).

A step of the chain is a trajectory of single units (``units``) and one of all units together
(``collective``), each accepted or rejected by Metropolis' rule. Linear networks need the second only.
During the warm-up the step sizes adapt to the target acceptance. The mass of the units adapts to their
kernel, that of the collective moves to the curvature of the energy. Then all stay fixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.errors import ConfigError, DivergenceError
from weightsharing.model import network as networks
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.sampling import initial, protocol
from weightsharing.sampling.exact import ExactSettings, collective, marginal, units
from weightsharing.sampling.exact.adaptation import (
    Mass,
    StepSize,
    first_mass,
    first_step_size,
    whitened,
    whitening,
)
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.protocol import Observation
from weightsharing.sampling.random import Streams, normal

# Share of the warm-up after which the masses stay as they are and only the step sizes adapt.
MASS_UNTIL = 0.6
# The mass of the collective moves is first computed after this many steps.
SETTLED = 7
# Longest trajectory: after a quarter of their period the units have forgotten where they were.
QUARTER_PERIOD = 0.5 * math.pi


class Move(NamedTuple):
    """One of the two kinds of moves: its step size, and proposals after the warm-up, each (chain,).

    accepted: sum of their acceptance probabilities. proposed: their number.
    """

    step_size: StepSize
    accepted: Tensor
    proposed: Tensor


class State(NamedTuple):
    """The state of a batch of chains.

    position z of g = z L^T: (chain, row, d), with a row for each unit. The energy of a linear network
    depends on z^T z only, and d rows with the right z^T z stand for all units.
    """

    position: Tensor
    mass: Mass
    units: Move
    together: Move


class ExactSampler:
    """Hamiltonian Monte Carlo of the activities of one posterior: a ``protocol.Sampler``.

    starts: H of the first activities of each chain, (chain, T P, T P); None for untrained networks.
    """

    state_type = State
    identities: tuple[str, ...] = ()
    check_every = 10

    def __init__(self, posterior: Posterior, settings: ExactSettings, starts: Array | None) -> None:
        self.target = marginal.build(posterior, settings.width)
        if self.target.readouts > 1 and (settings.spectra or settings.keep_weights):
            raise ConfigError(
                f"sampler.spectra, sampler.keep_weights: want 0 with {self.target.readouts} readouts, "
                "whose weights are not drawn"
            )
        self.settings, self.starts = settings, starts
        self.linear = posterior.architecture.activation == "linear"
        self.longest = math.log(QUARTER_PERIOD / settings.leapfrog_steps)

    def init(self, streams: Streams) -> State:
        """Activities of untrained networks, or with the kernels of ``starts``."""
        # A few chains at a time: all units take far more memory than the few rows of linear networks.
        chains = self.settings.chains
        chunks = [slice(first, first + chains) for first in range(0, len(streams), chains)]
        rows = [
            self._first_activities(
                streams[chunk], None if self.starts is None else self.starts[chunk]
            )
            for chunk in chunks
        ]
        position = torch.cat(rows)
        mass = first_mass(self.target, position)
        step_size = first_step_size(position, self.longest)
        move = Move(step_size, torch.zeros_like(step_size.drift), torch.zeros_like(step_size.drift))
        return State(whitened(position, mass.factor), mass, move, move)

    def _first_activities(self, streams: Streams, kernels: Array | None) -> Tensor:
        """g of some chains, (chain, row, d)."""
        posterior, width = self.target.posterior, self.settings.width
        steps, patterns, _ = posterior.inputs.shape
        deviates = normal(posterior.inputs, (width, steps * patterns), streams)
        if kernels is None:
            pre = initial.activities_from_prior(posterior, width, deviates)
        else:
            pre = initial.activities_from_kernel(kernels, deviates, posterior)
        position = pre.flatten(1, 2).mT @ self.target.basis
        if not self.linear:
            return position
        rows: Tensor = torch.linalg.cholesky(position.mT @ position).mT.contiguous()
        return rows

    def step(self, state: State, streams: Streams, number: int) -> State:
        """The state after trajectory ``number``."""
        like = state.position
        uniform = torch.stack(
            [
                torch.rand(2, 2, generator=stream, device=like.device, dtype=like.dtype)
                for stream in streams
            ]
        )
        if not self.linear:
            state = self._move_units(state, streams, uniform[:, 0], number)
        state = self._move_together(state, streams, uniform[:, 1], number)
        if number < MASS_UNTIL * self.settings.warm_up:
            state = self._adapt_mass(state, number)
        return state

    def _move_units(self, state: State, streams: Streams, uniform: Tensor, number: int) -> State:
        target, factor, z = self.target, state.mass.factor, state.position
        momentum = normal(z, (target.width, target.dimension), streams)
        step = state.units.step_size.jittered(uniform[:, 0], number < self.settings.warm_up)
        before = units.hamiltonian(target, z, momentum, factor)
        proposal, momentum = units.leapfrog(
            target, z, momentum, factor, step, self.settings.leapfrog_steps
        )
        after = units.hamiltonian(target, proposal, momentum, factor)
        position, move = self._accept(
            state.units, z, proposal, before - after, uniform[:, 1], number
        )
        return state._replace(position=position, units=move)

    def _move_together(self, state: State, streams: Streams, uniform: Tensor, number: int) -> State:
        target, mass, z = self.target, state.mass, state.position
        velocity = normal(z, (collective.count(target.dimension),), streams)
        step = state.together.step_size.jittered(uniform[:, 0], number < self.settings.warm_up)
        before = collective.hamiltonian(target, z, velocity, mass.factor)
        proposal, velocity, growth = collective.leapfrog(
            target, z, velocity, mass.factor, mass.root, step, self.settings.leapfrog_steps
        )
        after = collective.hamiltonian(target, proposal, velocity, mass.factor)
        position, move = self._accept(
            state.together, z, proposal, before - after + growth, uniform[:, 1], number
        )
        return state._replace(position=position, together=move)

    def _accept(
        self, move: Move, position: Tensor, proposal: Tensor, log_ratio: Tensor, uniform: Tensor,
        number: int,
    ) -> tuple[Tensor, Move]:  # fmt: skip
        """Take the proposals with probability min(1, exp(log_ratio)); adapt the step size or count."""
        probability = log_ratio.clamp(max=0.0).exp().nan_to_num(nan=0.0)
        accepted = uniform < probability
        position = torch.where(accepted[:, None, None], proposal, position)
        if number >= self.settings.warm_up:
            return position, move._replace(
                accepted=move.accepted + probability, proposed=move.proposed + 1.0
            )
        error = self.settings.acceptance - probability
        step_size = move.step_size.adapted(error, number, self.longest)
        return position, move._replace(step_size=step_size)

    def _adapt_mass(self, state: State, number: int) -> State:
        """Add the present kernel to the sum; set the masses after 2^k steps, as the kernel settles."""
        target, mass = self.target, state.mass
        position = state.position @ mass.factor.mT
        summed = mass.summed + position.mT @ position / target.width
        if (number + 1) & number:
            return state._replace(mass=mass._replace(summed=summed))
        states = max(1, (number + 1) // 2)
        factor = whitening(target, position, summed / states, states)
        mass = mass._replace(factor=factor, summed=torch.zeros_like(summed))
        state = state._replace(position=whitened(position, factor), mass=mass)
        if number < SETTLED:
            return state
        self.check(state, number)  # the mass is made of gradients
        typical = collective.orthonormal(state.position) * math.sqrt(target.width)
        root = collective.preconditioner(target, typical, factor)
        return state._replace(mass=mass._replace(root=root))

    def observe(
        self, state: State, streams: Streams, weights: Weights | None = None
    ) -> Observation:
        """Kernels of the activities; outputs and loss with the readout drawn given them."""
        target = self.target
        steps, patterns, _ = target.posterior.inputs.shape
        kernel, phi = marginal.kernels(target, state.position @ state.mass.factor.mT)
        if weights is None:
            deviates = normal(state.position, (steps * patterns, target.readouts), streams)
            output = marginal.draw_outputs(target, phi, deviates)
        else:
            inputs, architecture = target.posterior.inputs, target.posterior.architecture
            output = networks.outputs(weights, networks.forward(weights, inputs, architecture))
        error = target.posterior.targets - output
        on = target.posterior.supervised
        error = error * on.reshape(*on.shape, *[1] * (error.ndim - on.ndim))
        return Observation(
            networks.kernel_axes(kernel, steps),
            networks.kernel_axes(phi, steps),
            output,
            0.5 * error.square().flatten(1).sum(1),
            output.new_empty(len(output), 0),
        )

    def weights(self, state: State, streams: Streams) -> Weights:
        """A draw of the weights given the activities and the labels."""
        target, posterior = self.target, self.target.posterior
        architecture, (steps, _, features) = posterior.architecture, posterior.inputs.shape
        size = initial.weight_count(architecture, target.width, features)
        deviates = normal(state.position, (size,), streams)
        prior = initial.from_prior(
            architecture, initial.weights_in(deviates, architecture, target.width, features)
        )
        position = state.position @ state.mass.factor.mT
        if self.linear:
            shape = (target.width, target.dimension)
            position = marginal.draw_units(position, normal(position, shape, streams))
        pre, _ = marginal.activations(target, position)
        noise = initial.noise_of_labels(posterior, streams)
        return initial.given_activities(networks.by_time(pre.mT, steps), posterior, prior, noise)

    def check(self, state: State, number: int) -> Tensor:
        """Zeros, (chain,): no step is unstable.

        Raises DivergenceError if numbers of a chain or its gradient are not finite.
        """
        # The sampler rejects every proposal of a gradient that is not finite: the chain stands still.
        slope = marginal.gradient(self.target, state.position @ state.mass.factor.mT)
        every = protocol.tensors_of(state).values()
        for name, tensors in (("activities are", every), ("gradient is", [slope])):
            sound = protocol.finite(tensors)
            if not bool(sound.all()):
                chain = int(torch.nonzero(~sound)[0])
                raise DivergenceError(
                    f"chain {chain % self.settings.chains} diverged before trajectory {number}: its "
                    f"{name} not finite; start from the theory (start: lowest) or at a larger width",
                    chain,
                )
        return slope.new_zeros(len(slope))

    def acceptance(self, state: State) -> float:
        """Mean acceptance probability after the warm-up, of both moves together."""
        moves = (state.units, state.together)
        counts = [torch.stack([move.accepted, move.proposed], dim=1) for move in moves]
        accepted, proposed = torch.stack(counts, dim=1).sum((0, 1))
        return float(accepted / proposed.clamp(min=1.0))


def build(posterior: Posterior, settings: ExactSettings, starts: Array | None) -> ExactSampler:
    """The exact sampler of a posterior; starts: H of each chain's first activities, None: the prior."""
    return ExactSampler(posterior, settings, starts)
