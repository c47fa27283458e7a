"""The energy of the weights, its gradient and its curvature: what Langevin dynamics need (THEORY 2).

    E = N/(2w) |W|^2 + 1/(2u) |U|^2 + 1/(2v) |v|^2 + N/(2 kappa) sum_S (y - f)^2

The posterior is p(Theta | y) proportional to exp(-E). Gradients are times the prior variance s^2 of a
block (w/N, u, v); in these units weight decay has curvature 1. The gradient of the loss with respect to W
is a sum of (T - 1) P outer products, and is added to W without a matrix of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from weightsharing.model.architecture import Architecture
from weightsharing.model.network import (
    Activities,
    Weights,
    forward,
    matrix_index,
    outputs,
)
from weightsharing.sampling.posterior import Posterior, supervised_outputs


class LossGradient(NamedTuple):
    """The gradient of N/(2 kappa) sum_S (y - f)^2, in factors.

    activities: h and phi(h). error: y - f on S, 0 elsewhere, (chain, time, pattern). delta: the
    derivative with respect to h, (chain, time, pattern, unit). The derivative with respect to W^(t) is
    sum_p delta^t phi(h^(t-1))^T.
    """

    activities: Activities
    error: Tensor
    delta: Tensor


def energy(weights: Weights, posterior: Posterior) -> Tensor:
    """E(Theta) of each chain, (chain,)."""
    prior, width = posterior.architecture.prior, weights.readout.shape[-1]
    activities = forward(weights, posterior.inputs, posterior.architecture)
    error = posterior.supervised * (posterior.targets - outputs(weights, activities))
    return (
        0.5 * width / prior.w * weights.recurrent.square().sum((1, 2, 3))
        + 0.5 / prior.u * weights.input.square().sum((1, 2))
        + 0.5 / prior.v * weights.readout.square().sum(1)
        + 0.5 * width / posterior.kappa * error.square().sum((1, 2))
    )


def loss_gradient(weights: Weights, posterior: Posterior) -> LossGradient:
    """Forward and backward pass: the gradient of the loss, in factors."""
    architecture = posterior.architecture
    activities = forward(weights, posterior.inputs, architecture)
    error = posterior.supervised * (posterior.targets - outputs(weights, activities))
    # dE/df = -(N / kappa) (y - f) and df/dphi = v / N.
    direct = -error[..., None] * weights.readout[:, None, None, :] / posterior.kappa
    delta = backward(weights, activities, direct, architecture)
    return LossGradient(activities, error, delta)


def backward(
    weights: Weights, activities: Activities, direct: Tensor, architecture: Architecture
) -> Tensor:
    """The derivative with respect to h^t by backpropagation, (chain, time, pattern, unit).

    direct: the derivative with respect to phi(h^t) at fixed later h, of the same shape.
    """
    linear = architecture.activation == "linear"
    delta = [direct[:, -1]]
    if not linear:
        delta[0] = delta[0] * architecture.slope(activities.pre[:, -1])
    for time in range(architecture.steps - 1, 0, -1):
        matrix = weights.recurrent[:, matrix_index(architecture, time)]
        arriving = torch.baddbmm(direct[:, time - 1], delta[-1], matrix)
        if not linear:
            slope = architecture.slope(activities.pre[:, time - 1])
            arriving = arriving * slope
        delta.append(arriving)
    return torch.stack(delta[::-1], dim=1)


def add_loss_gradient(
    target: Weights, weights: Weights, posterior: Posterior, factor: float, keep: float = 1.0
) -> None:
    """target <- keep x target + factor x s^2 x gradient of the loss at ``weights``, in place.

    ``target`` may be ``weights`` itself. The gradient with respect to W, a sum of (T - 1) P outer
    products, is added in one pass over ``target``.
    """
    architecture, width = posterior.architecture, weights.readout.shape[-1]
    prior = architecture.prior
    grad = loss_gradient(weights, posterior)
    pull = factor * prior.w / width

    arriving, leaving = grad.delta[:, 1:], grad.activities.post[:, :-1]
    if architecture.kind == "rnn":
        target.recurrent[:, 0].baddbmm_(
            arriving.flatten(1, 2).mT, leaving.flatten(1, 2), beta=keep, alpha=pull
        )
    else:
        for index in range(architecture.weight_matrices):
            target.recurrent[:, index].baddbmm_(
                arriving[:, index].mT, leaving[:, index], beta=keep, alpha=pull
            )
    by_input = torch.matmul(grad.delta.flatten(1, 2).mT, posterior.inputs.flatten(0, 1))
    target.input.mul_(keep).add_(by_input, alpha=factor * prior.u)
    by_readout = (grad.error.flatten(1)[:, None] @ grad.activities.post.flatten(1, 2))[:, 0]
    target.readout.mul_(keep).add_(by_readout, alpha=-factor * prior.v / posterior.kappa)


def curvature(weights: Weights, posterior: Posterior) -> Tensor:
    """Largest curvature of E in units of the prior variances, (chain,), for the step-size check.

    1 + the largest eigenvalue of (N / kappa) J s^2 J^T, with J the derivative of the supervised
    outputs with respect to the weights. This is the Gauss-Newton matrix; the rest of the Hessian vanishes
    with y - f. If chains are supervised at different outputs, J has all of these and each chain a mask.
    """
    architecture, width = posterior.architecture, weights.readout.shape[-1]
    prior = architecture.prior
    activities = forward(weights, posterior.inputs, architecture)
    chosen, mask = supervised_outputs(posterior)
    if chosen.numel() == 0:
        return torch.ones_like(weights.readout[:, 0])
    number = posterior.inputs.shape[1]
    times, patterns = chosen // number, chosen % number
    chains, count = weights.readout.shape[0], times.numel()
    each = torch.arange(count, device=times.device)

    # One backward pass for each supervised output, on its own pattern: g = N df/dh, (c, t, s, i).
    pre, post = activities.pre[:, :, patterns], activities.post[:, :, patterns]
    direct = torch.zeros_like(post)
    direct[:, times, each] = weights.readout[:, None, :]
    g = backward(weights, Activities(pre, post), direct, architecture)
    inputs = posterior.inputs[:, patterns]

    by_readout = post[:, times, each]
    total = prior.v / width * by_readout @ by_readout.mT
    if architecture.kind == "rnn":
        gg = torch.einsum("ctsi,curi->ctusr", g[:, 1:], g[:, 1:])
        pp = torch.einsum("ctsi,curi->ctusr", post[:, :-1], post[:, :-1])
        total = total + prior.w / width**2 * (gg * pp).sum((1, 2))
    else:
        gg = torch.einsum("ctsi,ctri->ctsr", g[:, 1:], g[:, 1:])
        pp = torch.einsum("ctsi,ctri->ctsr", post[:, :-1], post[:, :-1])
        total = total + prior.w / width**2 * (gg * pp).sum(1)
    gg = torch.einsum("ctsi,curi->ctusr", g, g)
    xx = torch.einsum("tsa,ura->tusr", inputs, inputs)
    total = total + prior.u / width * (gg * xx).sum((1, 2))
    total = mask[:, :, None] * mask[:, None, :] * total
    matrix = total.reshape(chains, count, count).double()
    finite = torch.isfinite(matrix).all(dim=2).all(dim=1)
    largest = torch.linalg.eigvalsh(torch.nan_to_num(matrix))[:, -1]
    return torch.where(finite, 1.0 + largest / posterior.kappa, torch.inf)


def virial(weights: Weights, posterior: Posterior) -> Tensor:
    """Theta . grad E / number of weights of each chain, (chain,); its mean in equilibrium is 1.

    The prior contributes |Theta|^2 / s^2. By the chain rule, W and U contribute delta . h, and v
    contributes -(N / kappa) sum_S e f.
    """
    width = weights.readout.shape[-1]
    gradient = loss_gradient(weights, posterior)
    output = outputs(weights, gradient.activities)
    of_loss = (gradient.delta * gradient.activities.pre).sum((1, 2, 3), dtype=torch.float64)
    error = (gradient.error * output).sum((1, 2), dtype=torch.float64)
    of_loss = of_loss - width / posterior.kappa * error
    count = sum(block[0].numel() for block in weights)
    return kinetic_temperature(weights, posterior) + of_loss / count


def kinetic_temperature(velocities: Weights, posterior: Posterior) -> Tensor:
    """The mean of V^2 / s^2 over the weights of each chain, (chain,); 1 in equilibrium."""
    variances = posterior.architecture.prior.variances(velocities.readout.shape[-1])
    total = torch.zeros(
        len(velocities.readout), dtype=torch.float64, device=velocities.readout.device
    )
    for block, variance in zip(velocities, variances, strict=True):
        total += block.square().flatten(1).sum(1, dtype=torch.float64) / variance
    return total / sum(block[0].numel() for block in velocities)
