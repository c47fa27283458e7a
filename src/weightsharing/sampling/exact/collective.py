"""Collective moves of the exact sampler: all units follow one linear map of their activities (THEORY 8).

Trajectories of single units move the kernel little, however long they are. For a linear network they
conserve the angular momenta z_i p_j - z_j p_i of all pairs of units. Their centrifugal force holds the
kernel near its start; along soft directions of the action it diffuses. Here the state is g = z L^T and
moves by z -> z exp(e X) with a symmetric matrix X, the velocity. The kernel z^T z / N moves with it in
every direction, and N enters only as the scale of the energy. The dynamics

    z' = z X,    A X' = N 1 - sym(z^T dU/dz)

conserve exp(-U - <X, A X> / 2) dz dX exactly: the volume of z grows at the rate N tr X, and the force N 1
compensates for it. The dynamics and their leapfrog are reversible. Metropolis' rule, with the growth of
volume as Jacobian, corrects the error of the leapfrog. This is a generalised Gibbs move on a group (Liu &
Sabatti, Biometrika 2000) by the dynamics of Duane et al. (1987). With the curvature of the energy as mass
A, all directions have the period 2 pi, and a quarter of it forgets the first kernel.

The energy of a linear network depends on z^T z alone. These moves are then ergodic by themselves, and any
z with d rows and the right z^T z stands for all units: the cost does not depend on N.

A symmetric matrix X is a vector of its n = d (d + 1) / 2 components along an orthonormal basis.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsharing.sampling.exact import marginal
from weightsharing.sampling.exact.marginal import Marginal

# Smallest curvature of the mass, relative to that of independent units. Beside a transition curvatures
# vanish, and the velocities would be infinite.
SMALLEST_CURVATURE = 0.02
# Step of the central differences that give the curvature.
DIFFERENCE = 1e-4


def count(dimension: int) -> int:
    """Number n of directions, d (d + 1) / 2."""
    return dimension * (dimension + 1) // 2


def to_matrix(components: Tensor, dimension: int) -> Tensor:
    """Symmetric matrices (..., d, d) with these components (..., n)."""
    rows, columns = torch.triu_indices(dimension, dimension, device=components.device)
    scale = torch.where(rows == columns, 0.5, math.sqrt(0.5)).to(components)
    upper = components.new_zeros(*components.shape[:-1], dimension, dimension)
    upper[..., rows, columns] = scale * components
    return upper + upper.mT


def to_components(matrix: Tensor) -> Tensor:
    """Components (..., n) of the symmetric part of matrices (..., d, d)."""
    rows, columns = torch.triu_indices(*matrix.shape[-2:], device=matrix.device)
    scale = torch.where(rows == columns, 0.5, math.sqrt(0.5)).to(matrix)
    return scale * (matrix + matrix.mT)[..., rows, columns]


def force(target: Marginal, z: Tensor, factor: Tensor) -> Tensor:
    """Components of N 1 - sym(z^T dU/dz), (chain, n): minus the slope of the energy along X.

    z: (chain, row, d), with a row for each unit, or any number of rows for a linear network.
    """
    slope = marginal.gradient(target, z @ factor.mT) @ factor
    identity = torch.eye(target.dimension, dtype=z.dtype, device=z.device)
    return to_components(target.width * identity - z.mT @ slope)


def orthonormal(z: Tensor) -> Tensor:
    """The nearest matrix to z with orthonormal columns, z (z^T z)^(-1/2), (chain, row, d)."""
    left, _, right = torch.linalg.svd(z, full_matrices=False)
    nearest: Tensor = left @ right
    return nearest


def preconditioner(target: Marginal, z: Tensor, factor: Tensor) -> Tensor:
    """A^(-1/2), (chain, n, n), with the curvature A of the energy at z; v = A^(1/2) X has unit mass.

    Central differences of the force give A, by 2 n gradients. The mass has the absolute values of its
    eigenvalues, at least ``SMALLEST_CURVATURE`` x 2 N; 2 N is the curvature of independent units.
    """
    d = target.dimension
    columns = []
    for matrix in to_matrix(torch.eye(count(d), dtype=z.dtype, device=z.device), d):
        change = DIFFERENCE * z @ matrix
        difference = force(target, z - change, factor) - force(target, z + change, factor)
        columns.append(difference / (2.0 * DIFFERENCE))
    curvature = torch.stack(columns, dim=-1)
    values, vectors = torch.linalg.eigh(0.5 * (curvature + curvature.mT))
    values = values.abs().clamp(min=SMALLEST_CURVATURE * 2.0 * target.width)
    root: Tensor = (vectors * values.rsqrt()[:, None, :]) @ vectors.mT
    return root


def leapfrog(
    target: Marginal,
    z: Tensor,
    velocity: Tensor,
    factor: Tensor,
    root: Tensor,
    step: Tensor,
    steps: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """z, velocity, and the logarithm of the growth of volume, after ``steps`` steps of the dynamics.

    z: (chain, row, d). velocity: in units of A^(-1/2), (chain, n). factor L: (chain, d, d). root:
    A^(-1/2), (chain, n, n). step: (chain,).
    """
    d = target.dimension
    step = step[:, None]

    def times_root(components: Tensor) -> Tensor:
        # The root is symmetric; a row times a matrix is the faster product.
        return (components[:, None] @ root)[:, 0]

    def kick(at: Tensor) -> Tensor:
        return times_root(force(target, at, factor))

    growth = z.new_zeros(len(z))
    velocity = velocity + 0.5 * step * kick(z)
    for index in range(steps):
        motion = to_matrix(times_root(step * velocity), d)
        z = z @ torch.linalg.matrix_exp(motion)
        growth = growth + target.width * motion.diagonal(dim1=-2, dim2=-1).sum(-1)
        velocity = velocity + (0.5 if index == steps - 1 else 1.0) * step * kick(z)
    return z, velocity, growth


def hamiltonian(target: Marginal, z: Tensor, velocity: Tensor, factor: Tensor) -> Tensor:
    """U(g) + |velocity|^2 / 2, (chain,)."""
    return marginal.energy(target, z @ factor.mT) + 0.5 * velocity.square().sum(1)
