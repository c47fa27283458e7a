"""The exact sampler as the dynamics of a chain: Hamiltonian Monte Carlo of the activities (THEORY 8).

A step of the chain is one trajectory of ``marginal.leapfrog`` and its acceptance (Duane et al. 1987).
During the warm-up the step size adapts to the acceptance aimed at, and the mass to the kernel of the
units; then both are fixed. The state of a chain is z, the factor L of g = z L^T, and the adaptation.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing import networks
from weightsharing.errors import DivergenceError
from weightsharing.networks import Weights
from weightsharing.records import Array, ExactSettings
from weightsharing.sampling import initial, marginal
from weightsharing.sampling.dynamics import Dynamics, Observation, Streams, fill_normal, normal
from weightsharing.sampling.posterior import Posterior

# Steps are multiplied by a random number within this distance of 1, against periodic orbits.
JITTER = 0.2
# Share of the warm-up after which the mass stays as it is and only the step size adapts.
MASS_UNTIL = 0.6


class State(NamedTuple):
    """Views of the states of a batch of chains.

    position z: (chain, unit, d). factor L: (chain, d, d). adaptation: (chain, 3), logarithm of the step,
    its average, and the drift of dual averaging. accepted: (chain, 2), sum of acceptance probabilities
    after the warm-up and their number.
    """

    position: Tensor
    factor: Tensor
    adaptation: Tensor
    accepted: Tensor


def dynamics(posterior: Posterior, settings: ExactSettings, start_kernel: Array | None) -> Dynamics:
    """HMC of the activities; ``start_kernel`` H of the first ones, None for untrained networks."""
    target = marginal.build(posterior, settings.width)
    architecture, width, d = posterior.architecture, settings.width, target.dimension
    steps, patterns, features = posterior.inputs.shape
    sizes = [width * d, d * d, 3, 2]

    def view(memory: Tensor) -> State:
        position, factor, adaptation, accepted = memory.split(sizes, dim=1)
        return State(
            position.unflatten(1, (width, d)), factor.unflatten(1, (d, d)), adaptation, accepted
        )

    def activities(memory: Tensor) -> tuple[Tensor, Tensor]:
        state = view(memory)
        return marginal.activations(target, state.position @ state.factor.mT)

    def begin(memory: Tensor, streams: Streams) -> None:
        deviates = normal(memory, (width, steps * patterns), streams)
        if start_kernel is None:
            pre = initial.activities_from_prior(target.posterior, width, deviates)
        else:
            pre = initial.activities_from_kernel(start_kernel, deviates, target.posterior)
        memory.zero_()
        state = view(memory)
        state.adaptation[:, :2] = math.log(0.5)
        rescale(state, pre.flatten(1, 2).mT @ target.basis)

    def rescale(state: State, position: Tensor) -> None:
        """Give g = ``position`` the mass of its own kernel."""
        factor = marginal.whitening(target, position)
        state.factor.copy_(factor)
        state.position.copy_(torch.linalg.solve_triangular(factor, position.mT, upper=False).mT)

    def advance(memory: Tensor, streams: Streams, step: int) -> None:
        state = view(memory)
        warming = step < settings.warm_up
        chosen = state.adaptation[:, 0] if warming else state.adaptation[:, 1]
        uniform = torch.stack(
            [torch.rand(2, generator=s, device=memory.device, dtype=memory.dtype) for s in streams]
        )
        momentum = normal(memory, (width, d), streams)
        size = chosen.exp() * (1.0 + JITTER * (2.0 * uniform[:, 0] - 1.0))
        before = marginal.hamiltonian(target, state.position, momentum, state.factor)
        position, momentum = marginal.leapfrog(
            target, state.position, momentum, state.factor, size, settings.leapfrog_steps
        )
        after = marginal.hamiltonian(target, position, momentum, state.factor)
        probability = (before - after).clamp(max=0.0).exp().nan_to_num(nan=0.0)
        accepted = uniform[:, 1] < probability
        state.position.copy_(torch.where(accepted[:, None, None], position, state.position))
        if not warming:
            state.accepted[:, 0] += probability
            state.accepted[:, 1] += 1.0
            return
        adapted = marginal.adapted_log_step(
            state.adaptation[:, 0],
            state.adaptation[:, 1],
            state.adaptation[:, 2],
            settings.acceptance - probability,
            step,
        )
        state.adaptation.copy_(torch.stack(adapted, dim=1))
        # Ever more rarely, as the kernel settles.
        early = step < MASS_UNTIL * settings.warm_up
        if early and (step + 1) & step == 0:
            rescale(state, state.position @ state.factor.mT)

    def observe(memory: Tensor, streams: Streams) -> Observation:
        pre, post = activities(memory)
        phi = post.mT @ post / width
        output = marginal.draw_outputs(target, phi, normal(memory, (steps * patterns,), streams))
        error = target.posterior.supervised * (target.posterior.targets - output)
        return Observation(
            networks.kernel(networks.by_time(pre.mT, steps)),
            networks.kernel(networks.by_time(post.mT, steps)),
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
        pre, _ = activities(memory)
        noise = normal(memory, (len(target.labels),), streams)
        return initial.given_activities(
            networks.by_time(pre.mT, steps), target.posterior, prior, noise
        )

    def check(memory: Tensor, step: int) -> float:
        finite = torch.isfinite(memory).all(dim=1)
        if not bool(finite.all()):
            chain = int(torch.nonzero(~finite)[0])
            raise DivergenceError(
                f"chain {chain} diverged before trajectory {step}: its activities are not finite; "
                "start from the theory (start: lowest) or at a larger width"
            )
        return 0.0

    def acceptance(memory: Tensor) -> float | None:
        accepted = view(memory).accepted
        return float((accepted[:, 0] / accepted[:, 1].clamp(min=1.0)).mean())

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
