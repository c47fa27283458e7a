"""Stochastic gradient Langevin dynamics (SGLD) of the weights, in plain PyTorch (THEORY 2).

Citation: Welling & Teh, "Bayesian learning via stochastic gradient Langevin dynamics", ICML 2011
(here with the full gradient). With s^2 the prior variance of a block (w/N, u, v), one step is

    Theta <- Theta - eta s^2 grad E + sqrt(2 eta s^2) xi,   xi ~ N(0, 1)

with E of ``langevin``. It targets p(Theta | y) proportional to exp(-E) up to a bias of order eta. A
direction of curvature k has the stationary variance 1/(k (1 - eta k/2)): it is unstable for eta k >= 2.

With (xi + xi') / 2 for xi, where xi' is the noise of the step before, the variance is 1/k at any
stable step, and the bias is of order eta^2 (Leimkuhler & Matthews, "Rational construction of stochastic
numerical methods for molecular sampling", Applied Mathematics Research eXpress 2013). It is the step of
underdamped dynamics with h^2 / 2 = eta whose friction forgets all of the velocity: ``kinetic.step``
makes it.
"""

from __future__ import annotations

import math

from weightsharing.model.network import Weights
from weightsharing.sampling.langevin import add_loss_gradient
from weightsharing.sampling.posterior import Posterior


def step(weights: Weights, noise: Weights, posterior: Posterior, step_size: float) -> None:
    """One SGLD step, in place; ``noise`` holds standard normal deviates of the weights' shapes."""
    add_loss_gradient(weights, weights, posterior, -step_size, keep=1.0 - step_size)
    variances = posterior.architecture.prior.variances(weights.readout.shape[-1])
    for block, deviates, variance in zip(weights, noise, variances, strict=True):
        block.add_(deviates, alpha=math.sqrt(2.0 * step_size * variance))


def move(
    weights: Weights, velocities: Weights | None, noise: Weights | None, posterior: Posterior,
    step_size: float, damping: float,
) -> None:  # fmt: skip
    """``step`` as a ``protocol.Move``: noise at every step, neither velocities nor friction."""
    assert noise is not None
    step(weights, noise, posterior, step_size)
