"""The exact posterior of the activities at finite width, weights integrated out (THEORY 8).

    U(h) = -ln p(h | y) = N/2 [tr(C^-1 H) + ln det C + y_S^T a] + 1/2 ln det(kappa + v Phi_SS)
    a = (kappa + v Phi_SS)^-1 y_S,   H = h^T h / N,   Phi = phi(h)^T phi(h) / N,
    C = w mask(shift(Phi)) + u x x^T

With D readouts, y_S and a have D columns, the loss is a sum over them, and ln det(kappa + v Phi_SS) has
the factor D. h is (N, T P). The range of C is the same for all h. With a basis B of it h = g B^T, and g
has a density. The gradient costs O(N (T P)^2):

    dU/dh = h C^-1 - phi'(h) * (phi [Q - (v/N) (kappa + v Phi_SS)^-1]),
    Q = v a a^T on S + w shift_back(mask(C^-1 H C^-1 - C^-1))
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from weightsharing.sampling.initial import activities_from_prior, symmetric_root
from weightsharing.sampling.posterior import (
    Posterior,
    masked,
    pairs,
    shift,
    shift_back,
    supervised_outputs,
)


@dataclass(frozen=True)
class Marginal:
    """The density of g on the d reachable directions.

    posterior: in float64. width: N. basis B: (T P, d). input_kernel: u x x^T, (T P, T P). chosen: indices
    t P + p of the outputs that any chain is supervised at. mask: 1 where a chain is supervised, else 0,
    (1 or chain, chosen). labels: y_S, 0 off the mask, (1 or chain, chosen, D).

    With the mask M as a diagonal matrix, kappa + v M Phi M takes the place of kappa + v Phi_SS. The
    answer a vanishes off the mask, and each masked output is a constant factor of the determinant.
    """

    posterior: Posterior
    width: int
    basis: Tensor
    input_kernel: Tensor
    chosen: Tensor
    mask: Tensor
    labels: Tensor

    @property
    def dimension(self) -> int:
        """Number d of reachable directions."""
        return int(self.basis.shape[1])

    @property
    def readouts(self) -> int:
        """Number of readouts D."""
        return int(self.labels.shape[-1])

    @property
    def complete(self) -> bool:
        """Whether all directions are reachable; then B = 1."""
        return self.dimension == self.basis.shape[0]


@dataclass(frozen=True)
class Moments:
    """The matrices that the energy at one h depends on, for each chain.

    covariance: C in the reachable directions, (chain, d, d). kernel: H there. activation_kernel: Phi,
    (chain, T P, T P). noisy: kappa + v Phi_SS, (chain, chosen, chosen).
    """

    covariance: Tensor
    kernel: Tensor
    activation_kernel: Tensor
    noisy: Tensor


def build(posterior: Posterior, width: int) -> Marginal:
    """The marginal density of the activities of networks of this width.

    The reachable directions are the range of C of untrained networks; training does not change it.
    """
    posterior = posterior.double()
    steps, patterns, features = posterior.inputs.shape
    driven = posterior.inputs.reshape(-1, features)
    input_kernel = posterior.architecture.prior.u * driven @ driven.T
    units = 8 * steps * patterns
    stream = torch.Generator(driven.device).manual_seed(0)
    deviates = torch.randn(
        1, units, steps * patterns, generator=stream, dtype=driven.dtype, device=driven.device
    )
    pre = activities_from_prior(posterior, units, deviates).flatten(1, 2)
    post = posterior.architecture.phi(pre)
    prior_kernel = (post @ post.mT / units)[0]
    covariance = input_kernel + posterior.architecture.prior.w * masked(
        shift(prior_kernel, patterns), posterior
    )
    values, vectors = torch.linalg.eigh(covariance)
    reachable = values > 1e-10 * values.max()
    basis = torch.eye(len(values)).to(vectors) if bool(reachable.all()) else vectors[:, reachable]
    chosen, mask = supervised_outputs(posterior)
    labels = posterior.targets.flatten(1, 2)[:, chosen]
    return Marginal(
        posterior=posterior,
        width=width,
        basis=basis,
        input_kernel=input_kernel,
        chosen=chosen,
        mask=mask,
        labels=labels if labels.ndim == 3 else labels[..., None],
    )


def activations(marginal: Marginal, position: Tensor) -> tuple[Tensor, Tensor]:
    """h and phi(h), each (chain, unit, T P), from g (chain, unit, d)."""
    pre = position if marginal.complete else position @ marginal.basis.T
    return pre, marginal.posterior.architecture.phi(pre)


def reachable(marginal: Marginal, matrix: Tensor) -> Tensor:
    """B^T M B, (chain, d, d), of M (chain, T P, T P)."""
    return matrix if marginal.complete else marginal.basis.T @ matrix @ marginal.basis


def in_full(marginal: Marginal, matrix: Tensor) -> Tensor:
    """B M B^T, (chain, T P, T P), of M (chain, d, d)."""
    return matrix if marginal.complete else marginal.basis @ matrix @ marginal.basis.T


def moments(marginal: Marginal, position: Tensor, post: Tensor) -> Moments:
    """C, H, Phi and kappa + v Phi_SS at g; ``post`` is phi(h)."""
    prior = marginal.posterior.architecture.prior
    patterns = marginal.posterior.inputs.shape[1]
    phi = post.mT @ post / marginal.width
    carried = masked(shift(phi, patterns), marginal.posterior)
    supervised = pairs(marginal.mask) * phi.index_select(1, marginal.chosen).index_select(
        2, marginal.chosen
    )
    noisy = prior.v * supervised + marginal.posterior.kappa * torch.eye(
        len(marginal.chosen), dtype=phi.dtype, device=phi.device
    )
    return Moments(
        covariance=reachable(marginal, marginal.input_kernel + prior.w * carried),
        # Without a basis and an activation function both are the same.
        kernel=phi if post is position else position.mT @ position / marginal.width,
        activation_kernel=phi,
        noisy=noisy,
    )


def energy(marginal: Marginal, position: Tensor) -> Tensor:
    """U(g) up to a constant, (chain,); infinite where C is not positive definite."""
    _, post = activations(marginal, position)
    at = moments(marginal, position, post)
    factor, fault = torch.linalg.cholesky_ex(at.covariance)
    noisy_factor, noisy_fault = torch.linalg.cholesky_ex(at.noisy)
    log_c = 2.0 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    log_noisy = 2.0 * noisy_factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    trace = torch.cholesky_solve(at.kernel, factor).diagonal(dim1=-2, dim2=-1).sum(-1)
    labels = marginal.labels.expand(len(noisy_factor), -1, -1)
    # y^T (L L^T)^-1 y = |L^-1 y|^2
    whitened = torch.linalg.solve_triangular(noisy_factor, labels, upper=False)
    loss = whitened.square().sum((1, 2))
    value = 0.5 * marginal.width * (trace + log_c + loss) + 0.5 * marginal.readouts * log_noisy
    return torch.where((fault == 0) & (noisy_fault == 0), value, torch.inf).nan_to_num(
        nan=torch.inf
    )


def gradient(marginal: Marginal, position: Tensor) -> Tensor:
    """dU/dg, (chain, unit, d)."""
    architecture = marginal.posterior.architecture
    prior, patterns = architecture.prior, marginal.posterior.inputs.shape[1]
    pre, post = activations(marginal, position)
    at = moments(marginal, position, post)
    # A diverging trajectory may make them singular; its proposal is then rejected, without an error.
    inverse = torch.linalg.inv_ex(at.covariance)[0]
    noisy_inverse = torch.linalg.inv_ex(at.noisy)[0]
    answer = noisy_inverse @ marginal.labels
    mismatch = in_full(marginal, inverse @ at.kernel @ inverse - inverse)
    conjugate = prior.w * shift_back(masked(mismatch, marginal.posterior), patterns)
    loss = prior.v * (answer @ answer.mT)
    loss = (
        loss - prior.v / marginal.width * marginal.readouts * pairs(marginal.mask) * noisy_inverse
    )
    size = conjugate.shape[-1]
    places = (size * marginal.chosen[:, None] + marginal.chosen).flatten()
    conjugate.flatten(1).index_add_(1, places, loss.flatten(1))
    if architecture.activation == "linear":
        linear: Tensor = position @ (inverse - reachable(marginal, conjugate))
        return linear
    pull = post @ conjugate * architecture.slope(pre)
    slope: Tensor = position @ inverse
    return slope - (pull if marginal.complete else pull @ marginal.basis)


def kernels(marginal: Marginal, position: Tensor) -> tuple[Tensor, Tensor]:
    """H and Phi at g, each (chain, T P, T P)."""
    _, post = activations(marginal, position)
    at = moments(marginal, position, post)
    return in_full(marginal, at.kernel), at.activation_kernel


def draw_units(position: Tensor, deviates: Tensor) -> Tensor:
    """A draw of all units of a linear network given its kernel, g, (chain, unit, d).

    The law of g depends on g^T g only. With any R that has this g^T g, g = O R, and O is uniform among
    matrices with orthonormal columns. position R: (chain, d, d). deviates: standard normal,
    (chain, unit, d).
    """
    orthonormal, triangle = torch.linalg.qr(deviates)
    # A positive diagonal of the triangle makes the decomposition unique, and O uniform.
    signs = triangle.diagonal(dim1=-2, dim2=-1).sign()
    drawn: Tensor = (orthonormal * signs[:, None, :]) @ position
    return drawn


def draw_outputs(marginal: Marginal, phi: Tensor, deviates: Tensor) -> Tensor:
    """A draw of the outputs f at all times given Phi and y, (chain, output_time, pattern).

    f is Gaussian with mean v Phi_(.,S) a and covariance [v Phi - v^2 Phi_(.,S) (kappa + v Phi_SS)^-1
    Phi_(S,.)] / N, independent for each readout. phi: (chain, T P, T P). deviates: standard normal,
    (chain, T P, D). Returns the axis of readouts only if there are several.
    """
    v = marginal.posterior.architecture.prior.v
    chosen = marginal.chosen
    seen = v * phi[:, :, chosen] * marginal.mask[:, None, :]
    noisy = marginal.mask[:, :, None] * seen[:, chosen] + marginal.posterior.kappa * torch.eye(
        len(chosen), dtype=phi.dtype, device=phi.device
    )
    mean = seen @ torch.linalg.solve(noisy, marginal.labels.expand(len(phi), -1, -1))
    covariance = (v * phi - seen @ torch.linalg.solve(noisy, seen.mT)) / marginal.width
    drawn = symmetric_root(covariance) @ deviates
    steps = marginal.posterior.inputs.shape[0]
    outputs: Tensor = (mean + drawn).unflatten(1, (steps, -1))
    return outputs[..., 0] if marginal.readouts == 1 else outputs
