"""The exact sampler as the dynamics of a chain: Hamiltonian Monte Carlo of the activities (THEORY 8).

A step of the chain is a trajectory of single units (``marginal.leapfrog``) and one of all units together
(``collective.leapfrog``), each with its acceptance (Duane et al. 1987); linear networks need the second
only. During the warm-up the step sizes adapt to the acceptance aimed at, the mass of the units to their
kernel, and that of the collective moves to the curvature of the energy; then all are fixed.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.errors import DivergenceError
from weightsharing.model import network as networks
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.sampling import collective, initial, marginal
from weightsharing.sampling.dynamics import (
    Dynamics,
    Observation,
    Streams,
    fill_normal,
    finite,
    normal,
)
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.settings import ExactSettings

# Steps are multiplied by a random number within this distance of 1, against periodic orbits.
JITTER = 0.2
# Share of the warm-up after which the masses stay as they are and only the step sizes adapt.
MASS_UNTIL = 0.6
# The mass of the collective moves is first computed after this many steps.
SETTLED = 7
# Longest trajectory: after a quarter of their period the units have forgotten where they were.
QUARTER_PERIOD = 0.5 * math.pi

# The two moves of a step, an axis of what adapts.
UNITS, TOGETHER = 0, 1


class State(NamedTuple):
    """Views of the states of a batch of chains.

    position z of g = z L^T: (chain, row, d), a row for each unit; d rows with the same z^T z for linear
    networks, whose energy depends on no more. factor L: (chain, d, d). summed: kernels of g since the
    masses were last set, (chain, d, d). root A^(-1/2) of the collective
    moves: (chain, n, n). adaptation: (chain, move, 3), logarithm of the step, its average, and the
    drift of dual averaging. accepted: (chain, move, 2), sum of acceptance probabilities after the
    warm-up and their number.
    """

    position: Tensor
    factor: Tensor
    summed: Tensor
    root: Tensor
    adaptation: Tensor
    accepted: Tensor


def dynamics(
    posterior: Posterior, settings: ExactSettings, start_kernels: Array | None
) -> Dynamics:
    """HMC of the activities.

    start_kernels: H of the first ones of each member, (member, T P, T P); None for untrained networks.
    """
    target = marginal.build(posterior, settings.width)
    architecture, width, d = posterior.architecture, settings.width, target.dimension
    directions = collective.count(d)
    steps, patterns, features = posterior.inputs.shape
    linear = architecture.activation == "linear"
    rows = d if linear else width
    shapes = ((rows, d), (d, d), (d, d), (directions, directions), (2, 3), (2, 2))
    sizes = [math.prod(shape) for shape in shapes]
    longest = math.log(QUARTER_PERIOD / settings.leapfrog_steps)

    def view(memory: Tensor) -> State:
        parts = memory.split(sizes, dim=1)
        return State(*(part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)))

    def first_position(memory: Tensor, streams: Streams, kernel: Array | None) -> Tensor:
        deviates = normal(memory, (width, steps * patterns), streams)
        if kernel is None:
            pre = initial.activities_from_prior(target.posterior, width, deviates)
        else:
            pre = initial.activities_from_kernel(kernel, deviates, target.posterior)
        position = pre.flatten(1, 2).mT @ target.basis
        return torch.linalg.cholesky(position.mT @ position).mT if linear else position

    def begin(memory: Tensor, streams: Streams) -> None:
        # Member by member: all units take far more room than the few rows of linear networks.
        firsts = range(0, len(memory), settings.chains)
        kernels = [None] * len(firsts) if start_kernels is None else list(start_kernels)
        members = [slice(first, first + settings.chains) for first in firsts]
        position = torch.cat(
            [
                first_position(memory[own], streams[own], kernel)
                for own, kernel in zip(members, kernels, strict=True)
            ]
        )
        memory.zero_()
        state = view(memory)
        state.adaptation[..., :2] = longest
        rescale(state, position, position.mT @ position / width, 1)
        independent = 1.0 / math.sqrt(2.0 * width)
        state.root.copy_(independent * torch.eye(directions).to(memory))

    def rescale(state: State, position: Tensor, kernel: Tensor, states: int) -> None:
        """Give g = ``position`` the mass of a kernel, the mean over this number of states."""
        factor = marginal.whitening(target, position, kernel, states)
        state.factor.copy_(factor)
        state.position.copy_(torch.linalg.solve_triangular(factor, position.mT, upper=False).mT)
        state.summed.zero_()

    def jittered(state: State, move: int, uniform: Tensor, warming: bool) -> Tensor:
        chosen = state.adaptation[:, move, 0 if warming else 1]
        return chosen.exp() * (1.0 + JITTER * (2.0 * uniform - 1.0))

    def accept(
        state: State, move: int, proposal: Tensor, log_ratio: Tensor, uniform: Tensor, step: int
    ) -> None:
        """Take the proposals with probability min(1, exp(log_ratio)); adapt the step or count."""
        probability = log_ratio.clamp(max=0.0).exp().nan_to_num(nan=0.0)
        accepted = uniform < probability
        state.position.copy_(torch.where(accepted[:, None, None], proposal, state.position))
        if step >= settings.warm_up:
            state.accepted[:, move, 0] += probability
            state.accepted[:, move, 1] += 1.0
            return
        log_step, averaged, drift = state.adaptation[:, move].unbind(1)
        error = settings.acceptance - probability
        adapted = marginal.adapted_log_step(log_step, averaged, drift, error, step, longest)
        state.adaptation[:, move] = torch.stack(adapted, dim=1)

    def move_units(state: State, streams: Streams, uniform: Tensor, step: int) -> None:
        momentum = normal(state.position, (width, d), streams)
        size = jittered(state, UNITS, uniform[:, 0], step < settings.warm_up)
        before = marginal.hamiltonian(target, state.position, momentum, state.factor)
        position, momentum = marginal.leapfrog(
            target, state.position, momentum, state.factor, size, settings.leapfrog_steps
        )
        after = marginal.hamiltonian(target, position, momentum, state.factor)
        accept(state, UNITS, position, before - after, uniform[:, 1], step)

    def move_together(state: State, streams: Streams, uniform: Tensor, step: int) -> None:
        velocity = normal(state.position, (directions,), streams)
        size = jittered(state, TOGETHER, uniform[:, 0], step < settings.warm_up)
        before = collective.energy(target, state.position, velocity, state.factor)
        position, velocity, grown = collective.leapfrog(
            target, state.position, velocity, state.factor, state.root, size, settings.leapfrog_steps
        )  # fmt: skip
        after = collective.energy(target, position, velocity, state.factor)
        accept(state, TOGETHER, position, before - after + grown, uniform[:, 1], step)

    def advance(memory: Tensor, streams: Streams, step: int) -> None:
        state = view(memory)
        uniform = torch.stack(
            [
                torch.rand(2, 2, generator=s, device=memory.device, dtype=memory.dtype)
                for s in streams
            ]
        )
        if not linear:
            move_units(state, streams, uniform[:, 0], step)
        move_together(state, streams, uniform[:, 1], step)
        if step < MASS_UNTIL * settings.warm_up:
            position = state.position @ state.factor.mT
            state.summed.add_(position.mT @ position / width)
            # Ever more rarely, as the kernel settles.
            if (step + 1) & step == 0:
                states = max(1, (step + 1) // 2)
                rescale(state, position, state.summed / states, states)
                if step >= SETTLED:
                    check(memory, step)  # the mass is made of gradients
                    typical = collective.orthonormal(state.position) * math.sqrt(width)
                    state.root.copy_(collective.preconditioner(target, typical, state.factor))

    def observe(memory: Tensor, streams: Streams) -> Observation:
        state = view(memory)
        kernel, phi = marginal.kernels(target, state.position @ state.factor.mT)
        output = marginal.draw_outputs(target, phi, normal(memory, (steps * patterns,), streams))
        error = target.posterior.supervised * (target.posterior.targets - output)
        return Observation(
            networks.kernel_axes(kernel, steps),
            networks.kernel_axes(phi, steps),
            output,
            0.5 * error.square().sum((1, 2)),
        )

    def weights(memory: Tensor, streams: Streams) -> Weights:
        deviates = memory.new_empty(
            len(streams), initial.weight_count(architecture, width, features)
        )
        fill_normal(deviates, streams)
        prior = initial.from_prior(
            architecture, initial.weights_in(deviates, architecture, width, features)
        )
        state = view(memory)
        position = state.position @ state.factor.mT
        if linear:
            position = marginal.draw_units(position, normal(memory, (width, d), streams))
        pre, _ = marginal.activations(target, position)
        noise = initial.noise_of_labels(target.posterior, streams)
        return initial.given_activities(
            networks.by_time(pre.mT, steps), target.posterior, prior, noise
        )

    def check(memory: Tensor, step: int) -> Tensor:
        # A gradient that is not finite moves nothing: all its proposals are rejected.
        state = view(memory)
        slope = marginal.gradient(target, state.position @ state.factor.mT)
        for name, values in (("activities are", memory), ("gradient is", slope.flatten(1))):
            sound = finite(values)
            if not bool(sound.all()):
                member, chain = divmod(int(torch.nonzero(~sound)[0]), settings.chains)
                raise DivergenceError(
                    f"chain {chain} diverged before trajectory {step}: its {name} not finite; "
                    "start from the theory (start: lowest) or at a larger width",
                    member,
                )
        return memory.new_zeros(len(memory))

    def acceptance(memory: Tensor) -> float | None:
        total = view(memory).accepted.sum((0, 1))
        return float(total[0] / total[1].clamp(min=1.0))

    return Dynamics(
        size=sum(sizes),
        dtype=torch.float64,
        begin=begin,
        advance=advance,
        observe=observe,
        weights=weights,
        check=check,
        check_every=10,
        acceptance=acceptance,
    )
