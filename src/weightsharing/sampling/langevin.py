"""The energy of the weights, its gradient and its curvature: what Langevin dynamics need (THEORY 2).

    E = N/(2w) |W|^2 + 1/(2u) |U|^2 + 1/(2v) |v|^2 + L
    readout sampled       L = N/(2 kappa) sum_S (y - f)^2
    readout integrated    L = N/2 y^T M^-1 y + 1/2 ln det M,   M = kappa + v Phi_SS

The posterior is p(Theta | y) proportional to exp(-E). With the readout integrated out, exp(-E) is the
posterior of W and U, and v is an independent draw of the prior: ``initial.given_labels`` makes of it a
draw given W, U and y. Gradients are times the prior variance s^2 of a block (w/N, u, v); in these units
weight decay has curvature 1. The gradient of L with respect to W is a sum of (T - 1) P outer products,
and is added to W without a matrix of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from weightsharing.sampling.posterior import Posterior, labels, pairs, supervised_outputs


class LossGradient(NamedTuple):
    """The gradient of L, in factors.

    activities: h and phi(h). error: y - f on S, 0 elsewhere and if the readout is integrated out,
    (chain, time, pattern). delta: the derivative with respect to h, (chain, time, pattern, unit). The
    derivative with respect to W^(t) is sum_p delta^t phi(h^(t-1))^T.
    """

    activities: Activities
    error: Tensor
    delta: Tensor


def energy(weights: Weights, posterior: Posterior) -> Tensor:
    """E(Theta) of each chain, (chain,)."""
    prior, width = posterior.architecture.prior, weights.readout.shape[-1]
    activities = forward(weights, posterior.inputs, posterior.architecture)
    if posterior.integrated:
        known = labels(activities.post, posterior)
        # Of the outputs that a chain learns; the others have kappa on the diagonal of M.
        log_det = (known.mask * (known.factor.diagonal(dim1=1, dim2=2).log())).sum(1)
        loss = 0.5 * width * (known.targets * known.answer).sum(1) + log_det
    else:
        error = posterior.supervised * (posterior.targets - outputs(weights, activities))
        loss = 0.5 * width / posterior.kappa * error.square().sum((1, 2))
    return (
        0.5 * width / prior.w * weights.recurrent.square().sum((1, 2, 3))
        + 0.5 / prior.u * weights.input.square().sum((1, 2))
        + 0.5 / prior.v * weights.readout.square().sum(1)
        + loss
    )


def _given_kernel(activities: Activities, posterior: Posterior) -> Tensor:
    """The derivative of L with the readout integrated out with respect to phi(h), of its shape.

    dL/dphi_a = (v/N) sum_b (M^-1 - N a a^T)_ab phi_b on S.
    """
    known, width = labels(activities.post, posterior), activities.post.shape[-1]
    pull = torch.cholesky_inverse(known.factor)
    pull = pairs(known.mask) * (pull - width * known.answer[:, :, None] * known.answer[:, None])
    direct = torch.zeros_like(activities.post)
    given = (posterior.architecture.prior.v / width * pull).to(known.post) @ known.post
    direct.flatten(1, 2)[:, supervised_outputs(posterior)[0]] = given
    return direct


def loss_gradient(weights: Weights, posterior: Posterior) -> LossGradient:
    """Forward and backward pass: the gradient of L, in factors."""
    architecture = posterior.architecture
    activities = forward(weights, posterior.inputs, architecture)
    if posterior.integrated:
        direct = _given_kernel(activities, posterior)
        error = direct.new_zeros(direct.shape[:3])
    else:
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
    with y - f. If the readout is integrated out, M^-1 takes the place of 1 / kappa, and the outputs are
    v Phi a at fixed a = M^-1 y. If chains are supervised at different outputs, J has all of these and
    each chain a mask.
    """
    architecture, width = posterior.architecture, weights.readout.shape[-1]
    prior = architecture.prior
    activities = forward(weights, posterior.inputs, architecture)
    chosen = supervised_outputs(posterior)[0]
    if chosen.numel() == 0:
        return torch.ones_like(weights.readout[:, 0])
    known, count = labels(activities.post, posterior), len(chosen)

    # One backward pass for each supervised output a: g = N df_a/dh, (chain, time, a, pattern, unit).
    readout = weights.readout
    if posterior.integrated:
        answer = prior.v * known.answer.to(known.post)
        readout = (answer[:, None] @ known.post)[:, 0]
    direct = activities.post.new_zeros(len(readout), count, *activities.post.shape[1:])
    each = direct.flatten(2, 3)
    if posterior.integrated:
        for b, place in enumerate(chosen):
            each[:, :, place] = answer[:, b, None, None] * known.post
    each[:, range(count), chosen] += readout[:, None]
    copies = (part.repeat(1, 1, count, 1) for part in activities)
    g = backward(
        weights, Activities(*copies), direct.permute(0, 2, 1, 3, 4).flatten(2, 3), architecture
    ).unflatten(2, (count, -1))
    by_readout = 0.0 if posterior.integrated else prior.v / width * known.post @ known.post.mT
    total = by_readout + prior.u / width * _products(
        g.movedim(2, 1).flatten(2, 3), posterior.inputs.flatten(0, 1)[None]
    )
    for g_of, before in _by_matrix(
        g.movedim(2, 1)[:, :, 1:], activities.post[:, :-1], architecture
    ):
        total = total + prior.w / width**2 * _products(g_of, before)
    matrix = (pairs(known.mask) * total).double()
    if posterior.integrated:
        matrix = torch.linalg.solve_triangular(known.factor, matrix, upper=False)
        matrix = torch.linalg.solve_triangular(known.factor, matrix.mT, upper=False)
    else:
        matrix = matrix / posterior.kappa
    finite = torch.isfinite(matrix).all(dim=2).all(dim=1)
    largest = torch.linalg.eigvalsh(torch.nan_to_num(matrix))[:, -1]
    return torch.where(finite, 1.0 + largest, torch.inf)


def _by_matrix(
    g: Tensor, before: Tensor, architecture: Architecture
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each W: g (chain, a, index, unit) and phi of the step before, (chain, index, unit)."""
    if architecture.kind == "rnn":
        yield g.flatten(2, 3), before.flatten(1, 2)
    else:
        for index in range(architecture.weight_matrices):
            yield g[:, :, index], before[:, index]


def _products(left: Tensor, right: Tensor) -> Tensor:
    """sum_kl (left_ak . left_bl) (right_k . right_l), (chain, a, b), of G_a = sum_k left_ak right_k^T."""
    pulled = (right @ right.mT)[:, None] @ left
    return pulled.flatten(2) @ left.flatten(2).mT


class Virials(NamedTuple):
    """Theta . grad E / number of weights of each chain, (chain,); each has mean 1 in equilibrium.

    all: of all weights. input: of U alone, whose N x features weights fluctuate less than the N^2 of W.
    """

    all: Tensor
    input: Tensor


def virials(weights: Weights, posterior: Posterior) -> Virials:
    """``Virials`` at these weights.

    The prior contributes |Theta|^2 / s^2. By the chain rule, W and U contribute delta . h, U alone
    delta . U x, and a sampled readout -(N / kappa) sum_S e f.
    """
    width = weights.readout.shape[-1]
    gradient = loss_gradient(weights, posterior)
    output = outputs(weights, gradient.activities)
    of_loss = (gradient.delta * gradient.activities.pre).sum((1, 2, 3), dtype=torch.float64)
    error = (gradient.error * output).sum((1, 2), dtype=torch.float64)
    of_loss = of_loss - width / posterior.kappa * error
    driven = torch.einsum("cia,tpa->ctpi", weights.input, posterior.inputs)
    of_input = (gradient.delta * driven).sum((1, 2, 3), dtype=torch.float64)
    of_input += weights.input.square().sum((1, 2), dtype=torch.float64) / (
        posterior.architecture.prior.u
    )
    count = sum(block[0].numel() for block in weights)
    return Virials(
        kinetic_temperature(weights, posterior) + of_loss / count,
        of_input / weights.input[0].numel(),
    )


def kinetic_temperature(velocities: Weights, posterior: Posterior) -> Tensor:
    """The mean of V^2 / s^2 over the weights of each chain, (chain,); 1 in equilibrium."""
    variances = posterior.architecture.prior.variances(velocities.readout.shape[-1])
    total = torch.zeros_like(velocities.readout[:, 0], dtype=torch.float64)
    for block, variance in zip(velocities, variances, strict=True):
        # Norms of rows need no memory of the size of the weights.
        norms = torch.linalg.vector_norm(block, dim=-1).double()
        total += norms.square().reshape(len(norms), -1).sum(1) / variance
    return total / sum(block[0].numel() for block in velocities)
