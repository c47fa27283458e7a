"""How chains start: weights and activities of the prior, with a kernel, and given each other.

THEORY 2 and 8. The exact sampler also draws the weights of its draws here.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.network import Weights, by_time, matrix_index
from weightsharing.sampling.posterior import (
    Posterior,
    labels,
    masked,
    shift,
    supervised_outputs,
)
from weightsharing.sampling.random import Streams


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
    """The symmetric R with R R = covariance, (..., d, d); the covariance may be singular.

    It is a continuous function of the covariance: the same deviates give the same draw on every machine,
    up to rounding. Signs and order of eigenvectors depend on the processor.
    """
    values, vectors = torch.linalg.eigh(0.5 * (covariance + covariance.mT))
    root: Tensor = (vectors * values.clamp(min=0).sqrt()[..., None, :]) @ vectors.mT
    return root


def activities_from_kernel(kernel: Array, deviates: Tensor, posterior: Posterior) -> Tensor:
    """Pre-activations with the law N(0, H) for each unit, (chain, time, pattern, unit).

    kernel: H, a matrix (T P, T P) of index t P + p, or one for each chain, (chain, T P, T P). deviates:
    standard normal, (chain, unit, T P); they are multiplied by the symmetric root of H.
    """
    kernels = np.broadcast_to(kernel, (len(deviates), *kernel.shape[-2:]))
    # One product for each chain: a batched product rounds small matrices differently.
    pre = torch.stack(
        [
            rows @ symmetric_root(torch.tensor(matrix)).to(rows)
            for rows, matrix in zip(deviates, kernels, strict=True)
        ]
    ).mT
    return by_time(pre, posterior.inputs.shape[0])


def noise_of_labels(posterior: Posterior, streams: Streams) -> Tensor:
    """Standard normal deviates at the supervised outputs of each chain, 0 elsewhere, (chain, chosen).

    A chain draws as many random numbers as it has such outputs, whatever the other chains have.
    """
    _, mask = supervised_outputs(posterior)
    noise = mask.new_zeros(len(streams), mask.shape[1])
    for row, chosen, stream in zip(noise, mask.bool().expand_as(noise), streams, strict=True):
        row[chosen] = torch.randn(
            int(chosen.sum()), generator=stream, dtype=row.dtype, device=row.device
        )
    return noise


def given_activities(
    pre: Tensor, posterior: Posterior, prior_weights: Weights, label_noise: Tensor
) -> Weights:
    """A draw of the weights given the pre-activations, and of the readout given y as well (THEORY 8).

    Both laws are Gaussian: a draw of the prior plus the correction that makes it produce h exactly
    (Matheron's rule), with the covariance C of each unit. The labels of the readout have noise of
    variance kappa / N. If no weights produce h, it is fitted by least squares.

    pre: h, (chain, time, pattern, unit). prior_weights: a draw of the prior. label_noise: that of
    ``noise_of_labels``, (chain, chosen).
    """
    post = posterior.architecture.phi(pre).double()
    recurrent, input_ = _given_transitions(pre.double(), post, posterior, prior_weights)
    readout = given_labels(
        post, posterior.double(), prior_weights.readout.double(), label_noise.double()
    )
    dtype = prior_weights.readout.dtype
    return Weights(recurrent.to(dtype), input_.to(dtype), readout.to(dtype))


def _given_transitions(
    pre: Tensor, post: Tensor, posterior: Posterior, prior_weights: Weights
) -> tuple[Tensor, Tensor]:
    """W and U given h and phi(h), each (chain, time, pattern, unit)."""
    architecture, width = posterior.architecture, pre.shape[-1]
    prior = architecture.prior
    steps, patterns, _ = posterior.inputs.shape
    inputs = posterior.inputs.double()
    recurrent, input_ = (block.double().clone() for block in prior_weights[:2])

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
    return recurrent, input_


def given_labels(
    post: Tensor, posterior: Posterior, prior_readout: Tensor, label_noise: Tensor
) -> Tensor:
    """A draw of v given phi(h), (chain, time, pattern, unit), and y, by Matheron's rule: (chain, unit).

    v = v_0 + v phi^T M^-1 (y - phi v_0 / N - (kappa/N)^(1/2) xi). prior_readout: v_0, a draw of the
    prior. label_noise: xi, that of ``noise_of_labels``, (chain, chosen).
    """
    prior, width = posterior.architecture.prior, post.shape[-1]
    known = labels(post, posterior)
    output = (known.post @ prior_readout[..., None])[..., 0] / width
    output = output + math.sqrt(posterior.kappa / width) * label_noise
    residual = known.mask * (known.targets - output)
    answer = torch.cholesky_solve(residual[..., None], known.factor)
    return prior_readout + prior.v * (known.post.mT @ answer.to(known.post))[..., 0]


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
        post[..., now] = architecture.phi(pre[..., now])
    return by_time(pre.mT, steps)


def _sizes(architecture: Architecture, width: int, features: int) -> list[int]:
    return [architecture.weight_matrices * width * width, width * features, width]


def start_kernel(start: str, points: xr.Dataset) -> Array:
    """H that the first activities are drawn from, (T P, T P), of the theory's stationary points.

    start: "lowest" takes the point of lowest action, "disordered" the one with the smallest order
    parameter. points: by increasing action, along the axis "point".
    """
    chosen = 0
    if start == "disordered":
        chosen = int(np.argmin(np.abs(points["order_parameter"].to_numpy())))
    return kernel_matrix(points["kernel"].isel(point=chosen).to_numpy())
