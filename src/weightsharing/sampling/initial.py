"""First weights of a chain: from the prior, or with a given kernel (THEORY 2 and 6)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsharing.networks import Weights, activate, matrix_index
from weightsharing.records import Architecture, Array
from weightsharing.sampling.langevin import Posterior


def weight_count(architecture: Architecture, width: int, features: int) -> int:
    """Number of weights of one network."""
    return sum(_sizes(architecture, width, features))


def weights_in(memory: Tensor, architecture: Architecture, width: int, features: int) -> Weights:
    """Views of one row of memory per chain, (chain, ``weight_count``), as W, U and v."""
    recurrent, input_, readout = memory.split(_sizes(architecture, width, features), dim=1)
    return Weights(
        recurrent.unflatten(1, (architecture.weight_matrices, width, width)),
        input_.unflatten(1, (width, features)),
        readout,
    )


def from_prior(architecture: Architecture, normal: Weights) -> Weights:
    """W_ij ~ N(0, w/N), U_ia ~ N(0, u), v_i ~ N(0, v), from standard normal deviates ``normal``."""
    prior, width = architecture.prior, normal.readout.shape[-1]
    return Weights(
        normal.recurrent * math.sqrt(prior.w / width),
        normal.input * math.sqrt(prior.u),
        normal.readout * math.sqrt(prior.v),
    )


def from_kernel(
    kernel: Array, posterior: Posterior, activities: Tensor, prior_weights: Weights
) -> Weights:
    """Weights under which the pre-activations have the law N(0, H), with the readout fitted to y.

    The activities are ``activities`` times the symmetric root of H.

    kernel: H as a (T P, T P) matrix, index t P + p. activities: standard normal deviates (chain,
    unit, T P). prior_weights: a draw of the prior. The weights given the activities are Gaussian:
    the prior draw plus the correction that makes it produce them exactly (Matheron's rule), with the
    covariance C of THEORY 6 for each unit; the readout likewise with y. This starts a chain on a
    chosen branch, to see whether it stays there.
    """
    architecture, width = posterior.architecture, prior_weights.readout.shape[-1]
    prior = architecture.prior
    steps, patterns, _ = posterior.inputs.shape
    values, vectors = torch.linalg.eigh(torch.as_tensor(kernel))
    root = ((vectors * values.clamp(min=0).sqrt()) @ vectors.T).to(activities)
    pre = (activities @ root).mT.unflatten(1, (steps, patterns))  # (c, t, p, i)
    post = activate(architecture.activation, pre).double()
    pre, inputs = pre.double(), posterior.inputs.double()
    recurrent, input_, readout = (block.double().clone() for block in prior_weights)

    # Row t P + p of the constraints says h_p^t = W^(t) phi(h_p^(t-1)) + U x_p^t.
    leaving = torch.cat([torch.zeros_like(post[:, :1]), post[:, :-1]], dim=1).flatten(1, 2)
    driven = inputs.flatten(0, 1)
    used = torch.tensor([matrix_index(architecture, max(time, 1)) for time in range(steps)])
    used = used.repeat_interleave(patterns)
    shared = (used[:, None] == used).to(leaving)
    covariance = prior.w / width * shared * (leaving @ leaving.mT) + prior.u * driven @ driven.mT
    explained = torch.einsum("ckij,ckj->cki", recurrent[:, used], leaving) + driven @ input_.mT
    residual = pre.flatten(1, 2) - explained
    coefficients = torch.linalg.pinv(covariance, hermitian=True) @ residual
    for index in range(architecture.weight_matrices):
        rows = used == index
        change = coefficients[:, rows].mT @ leaving[:, rows]
        recurrent[:, index] += prior.w / width * change
    input_ += prior.u * coefficients.mT @ driven

    chosen = posterior.supervised.bool()
    phi = post[:, chosen]  # (c, s, i)
    targets = posterior.targets[chosen].double()
    output = torch.einsum("csi,ci->cs", phi, readout) / width
    gram = prior.v * phi @ phi.mT / width
    gram = gram + posterior.kappa * torch.eye(len(targets), dtype=gram.dtype, device=gram.device)
    answer = torch.linalg.solve(gram, (targets - output)[..., None])[..., 0]
    readout += prior.v * torch.einsum("cs,csi->ci", answer, phi)
    dtype = prior_weights.readout.dtype
    return Weights(recurrent.to(dtype), input_.to(dtype), readout.to(dtype))


def _sizes(architecture: Architecture, width: int, features: int) -> list[int]:
    return [architecture.weight_matrices * width * width, width * features, width]
