"""What the exact sampler adapts during the warm-up: step sizes and masses of its moves."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.sampling.exact import collective, marginal
from weightsharing.sampling.exact.marginal import Marginal

# Steps are multiplied by a random number within this distance of 1, against periodic orbits.
JITTER = 0.2


class StepSize(NamedTuple):
    """The step size of one kind of move, by dual averaging; each of shape (chain,).

    Hoffman & Gelman, "The No-U-Turn sampler", JMLR 2014, section 3.2. log_step: in use during the
    warm-up. averaged: in use after it. drift: average of aimed at minus observed acceptance.
    """

    log_step: Tensor
    averaged: Tensor
    drift: Tensor

    def adapted(self, error: Tensor, iteration: int, largest: float) -> StepSize:
        """The step size after one more proposal.

        error: aimed at minus observed acceptance, (chain,). largest: logarithm of the longest step.
        """
        shrink, delay, memory = 0.05, 10.0, 0.75
        count = iteration + 1.0
        drift = self.drift + (error - self.drift) / (count + delay)
        log_step = largest - math.sqrt(count) / shrink * drift
        log_step = log_step.clamp(max=largest)
        weight = count**-memory
        return StepSize(log_step, weight * log_step + (1.0 - weight) * self.averaged, drift)

    def jittered(self, uniform: Tensor, warming_up: bool) -> Tensor:
        """Steps to take, (chain,); ``uniform`` is a random number in [0, 1) for each chain."""
        chosen = self.log_step if warming_up else self.averaged
        return chosen.exp() * (1.0 + JITTER * (2.0 * uniform - 1.0))


class Mass(NamedTuple):
    """The masses of both moves.

    factor L: g = z L^T, and z has unit mass in the moves of single units, (chain, d, d). summed: kernels
    of g since L was last set, (chain, d, d). root: A^(-1/2) of the collective moves, (chain, n, n).
    """

    factor: Tensor
    summed: Tensor
    root: Tensor


def first_step_size(like: Tensor, largest: float) -> StepSize:
    """The longest step for each chain of ``like``."""
    longest = torch.full_like(like[:, 0, 0], largest)
    return StepSize(longest, longest, torch.zeros_like(longest))


def first_mass(target: Marginal, position: Tensor) -> Mass:
    """The mass of independent units with the kernel of g = ``position``, (chain, unit, d)."""
    chains, directions = len(position), collective.count(target.dimension)
    factor = whitening(target, position, position.mT @ position / target.width, 1)
    independent = 1.0 / math.sqrt(2.0 * target.width)
    root = independent * torch.eye(directions).to(position)
    return Mass(factor, torch.zeros_like(factor), root.expand(chains, -1, -1).contiguous())


def whitening(target: Marginal, position: Tensor, kernel: Tensor, states: int) -> Tensor:
    """A factor L of an estimate of each unit's covariance, (chain, d, d), for the mass.

    kernel: mean of g^T g / N over ``states`` states. d of N x states + d units shrink it towards C at
    ``position``; the estimate is never singular.
    """
    _, post = marginal.activations(target, position)
    covariance = marginal.moments(target, position, post).covariance
    units, d = target.width * states, target.dimension
    factor: Tensor = torch.linalg.cholesky((units * kernel + d * covariance) / (units + d))
    return factor


def whitened(position: Tensor, factor: Tensor) -> Tensor:
    """z of g = z L^T, (chain, row, d), from g = ``position`` and L = ``factor``."""
    z: Tensor = torch.linalg.solve_triangular(factor, position.mT, upper=False).mT.contiguous()
    return z
