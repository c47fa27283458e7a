"""Weights and activities of the prior, with a given kernel, and given each other (THEORY 2 and 8)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights, activate, by_time, matrix_index
from weightsharing.sampling.dynamics import Streams
from weightsharing.sampling.posterior import Posterior, masked, shift, supervised_outputs


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


def symmetric_root(covariance: Tensor) -> Tensor:
    """The symmetric R with R R = covariance, (..., d, d), which may be singular.

    Unlike eigenvectors, whose signs and order are those of the processor's rounding, it is a continuous
    function of the covariance: the same deviates give the same draw, up to rounding, on every machine.
    """
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
    root: Tensor = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT
    return root


def activities_from_kernel(kernel: Array, deviates: Tensor, posterior: Posterior) -> Tensor:
    """Pre-activations with the law N(0, H) for each unit, (chain, time, pattern, unit).

    kernel: H as a (T P, T P) matrix of index t P + p. deviates: standard normal, (chain, unit, T P).
    They are multiplied by the symmetric root of H.
    """
    root = symmetric_root(torch.as_tensor(kernel)).to(deviates)
    pre: Tensor = (deviates @ root).mT
    return by_time(pre, posterior.inputs.shape[0])


def noise_of_labels(posterior: Posterior, streams: Streams) -> Tensor:
    """Standard normal deviates at the supervised outputs of each chain, 0 elsewhere, (chain, chosen).

    A chain's random numbers are as many as it has such outputs, whatever the others have.
    """
    _, mask = supervised_outputs(posterior)
    noise = mask.new_zeros(len(streams), mask.shape[1])
    for row, own, stream in zip(noise, mask.bool().expand_as(noise), streams, strict=True):
        row[own] = torch.randn(int(own.sum()), generator=stream, dtype=row.dtype, device=row.device)
    return noise


def given_activities(
    pre: Tensor, posterior: Posterior, prior_weights: Weights, label_noise: Tensor
) -> Weights:
    """A draw of the weights given the pre-activations, and of the readout given y as well (THEORY 8).

    Both laws are Gaussian: the prior draw plus the correction that makes it produce h exactly
    (Matheron's rule), with the covariance C of each unit; the readout likewise, but for the noise of
    variance kappa / N of the labels.

    pre: h, (chain, time, pattern, unit). prior_weights: a draw of the prior. label_noise: that of
    ``noise_of_labels``, (chain, chosen). If h cannot be produced, it is fitted by least squares.
    """
    architecture, width = posterior.architecture, prior_weights.readout.shape[-1]
    prior = architecture.prior
    steps, patterns, _ = posterior.inputs.shape
    post = activate(architecture.activation, pre).double()
    pre, inputs = pre.double(), posterior.inputs.double()
    recurrent, input_, readout = (block.double().clone() for block in prior_weights)

    # Row t P + p of the constraints says h_p^t = W^(t) phi(h_p^(t-1)) + U x_p^t.
    leaving = torch.cat([torch.zeros_like(post[:, :1]), post[:, :-1]], dim=1).flatten(1, 2)
    driven = inputs.flatten(0, 1)
    used = torch.tensor([matrix_index(architecture, max(time, 1)) for time in range(steps)])
    used = used.repeat_interleave(patterns).to(pre.device)
    shared = (used[:, None] == used).to(leaving)
    covariance = prior.w / width * shared * (leaving @ leaving.mT) + prior.u * driven @ driven.mT
    residual = pre.flatten(1, 2) - driven @ input_.mT
    for index in range(architecture.weight_matrices):
        rows = used == index
        residual[:, rows] -= leaving[:, rows] @ recurrent[:, index].mT
    coefficients = torch.linalg.pinv(covariance, hermitian=True) @ residual
    for index in range(architecture.weight_matrices):
        rows = used == index
        change = coefficients[:, rows].mT @ leaving[:, rows]
        recurrent[:, index] += prior.w / width * change
    input_ += prior.u * coefficients.mT @ driven

    chosen, mask = supervised_outputs(posterior)
    mask = mask.double()
    phi = post.flatten(1, 2)[:, chosen]  # (c, s, i)
    targets = posterior.targets.flatten(1)[:, chosen].double()
    output = torch.einsum("csi,ci->cs", phi, readout) / width
    output = output + math.sqrt(posterior.kappa / width) * label_noise.double()
    # Off a chain's own supervised outputs its answer is 0.
    gram = mask[:, :, None] * mask[:, None, :] * (prior.v * phi @ phi.mT / width)
    gram = gram + posterior.kappa * torch.eye(len(chosen), dtype=gram.dtype, device=gram.device)
    answer = torch.linalg.solve(gram, (mask * (targets - output))[..., None])[..., 0]
    readout += prior.v * torch.einsum("cs,csi->ci", answer, phi)
    dtype = prior_weights.readout.dtype
    return Weights(recurrent.to(dtype), input_.to(dtype), readout.to(dtype))


def activities_from_prior(posterior: Posterior, width: int, deviates: Tensor) -> Tensor:
    """Pre-activations of untrained networks, without their weights: (chain, time, pattern, unit).

    Given all earlier activities, h^t of each unit is Gaussian with the blocks of C that their kernel
    Phi determines (THEORY 8): exact at any N. deviates: standard normal, (chain, unit, T P).
    """
    architecture = posterior.architecture
    steps, patterns, features = posterior.inputs.shape
    driven = posterior.inputs.reshape(-1, features).to(deviates)
    from_input = architecture.prior.u * driven @ driven.T
    pre = deviates.new_zeros(deviates.shape)
    post = torch.zeros_like(pre)
    for time in range(steps):
        now, before = slice(time * patterns, (time + 1) * patterns), slice(0, time * patterns)
        phi = post.mT @ post / width
        covariance = from_input + architecture.prior.w * masked(shift(phi, patterns), posterior)
        inverse = torch.linalg.pinv(covariance[:, before, before], hermitian=True)
        gain = covariance[:, now, before] @ inverse
        mean = pre[..., before] @ gain.mT
        spread = covariance[:, now, now] - gain @ covariance[:, before, now]
        pre[..., now] = mean + deviates[..., now] @ symmetric_root(spread)
        post[..., now] = activate(architecture.activation, pre[..., now])
    return by_time(pre.mT, steps)


def _sizes(architecture: Architecture, width: int, features: int) -> list[int]:
    return [architecture.weight_matrices * width * width, width * features, width]
