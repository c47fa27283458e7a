"""Moves of single units of the exact sampler: Hamiltonian dynamics of the activities (THEORY 8).

Citation: Duane, Kennedy, Pendleton & Roweth, "Hybrid Monte Carlo", Physics Letters B 195 (1987). The
state is g = z L^T with a momentum of unit mass for z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from weightsharing.sampling.exact import marginal
from weightsharing.sampling.exact.marginal import Marginal


def leapfrog(
    target: Marginal, z: Tensor, momentum: Tensor, factor: Tensor, step: Tensor, steps: int
) -> tuple[Tensor, Tensor]:
    """z and momentum after ``steps`` steps of Hamiltonian dynamics, g = z L^T, with unit mass for z.

    A rotation in phase space solves the part |z|^2 / 2 of the energy exactly. That part is the whole
    energy of independent units of covariance L L^T. Kicks make the rest (Strang splitting). The map is of
    second order, reversible and preserves volume. The distance of the posterior from a Gaussian limits
    the step, its width does not.

    z and momentum: (chain, unit, d). factor L: (chain, d, d). step: (chain,).
    """
    step = step[:, None, None]
    turn, sideways = torch.cos(step), torch.sin(step)

    def kick(at: Tensor) -> Tensor:
        return marginal.gradient(target, at @ factor.mT) @ factor - at

    momentum = momentum - 0.5 * step * kick(z)
    for index in range(steps):
        z, momentum = turn * z + sideways * momentum, turn * momentum - sideways * z
        momentum = momentum - (0.5 if index == steps - 1 else 1.0) * step * kick(z)
    return z, momentum


def hamiltonian(target: Marginal, z: Tensor, momentum: Tensor, factor: Tensor) -> Tensor:
    """U(z L^T) + |momentum|^2 / 2, (chain,); shapes as in ``leapfrog``."""
    kinetic = 0.5 * momentum.square().sum((1, 2))
    return marginal.energy(target, z @ factor.mT) + kinetic
