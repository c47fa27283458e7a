"""Underdamped Langevin dynamics of the weights, in plain PyTorch (THEORY 2).

Citation: Leimkuhler & Matthews, "Rational construction of stochastic numerical methods for molecular
sampling", Applied Mathematics Research eXpress 2013 (the BAOAB splitting). With velocities V of the
weights, the prior variances s^2 as inverse masses, E of ``langevin`` and friction g,

    dTheta = V dt,   dV = -s^2 grad E dt - g V dt + sqrt(2 g s^2) dB

has the stationary law p(Theta | y) proportional to exp(-E), V ~ N(0, s^2). In these units weight decay
has frequency 1, and a direction of curvature k the frequency sqrt(k). Steps are stable for h sqrt(k) < 2;
those of SGLD are stable for eta k < 2. Along a quadratic direction the variance of Theta is exact at any
stable step. Terms beyond the quadratic add a bias of order h^2.

Friction and noise (O) may act at every m-th step only, for the time m h at once: [B A A]^(m-1) B A O A.
Between two drifts, the leapfrog A B A leaves the same law invariant as O does. The variance stays exact
for any m, and noise, the larger part of a step on a CPU, is drawn m times less often.
"""

from __future__ import annotations

import math

from weightsharing.model.network import Weights
from weightsharing.sampling.langevin import add_loss_gradient
from weightsharing.sampling.posterior import Posterior


def step(
    weights: Weights,
    velocities: Weights,
    noise: Weights | None,
    posterior: Posterior,
    step_size: float,
    damping: float,
) -> None:
    """One step, in place: the kicks of two half steps (B), then drift, friction and noise, drift (A O A).

    The step ends between the last A and B of BAOAB, where the law of the weights is most accurate.
    noise: standard normal deviates of the weights' shapes, None for a step without friction (B A A).
    damping: friction times the time since the last one with it.
    """
    for velocity, block in zip(velocities, weights, strict=True):
        velocity.add_(block, alpha=-step_size)
    add_loss_gradient(velocities, weights, posterior, -step_size)
    if noise is None:
        for velocity, block in zip(velocities, weights, strict=True):
            block.add_(velocity, alpha=step_size)
        return
    kept = math.exp(-damping)
    variances = posterior.architecture.prior.variances(weights.readout.shape[-1])
    for velocity, block, deviates, variance in zip(
        velocities, weights, noise, variances, strict=True
    ):
        block.add_(velocity, alpha=0.5 * step_size)
        velocity.mul_(kept).add_(deviates, alpha=math.sqrt((1.0 - kept**2) * variance))
        block.add_(velocity, alpha=0.5 * step_size)


def move(
    weights: Weights, velocities: Weights | None, noise: Weights | None, posterior: Posterior,
    step_size: float, damping: float,
) -> None:  # fmt: skip
    """``step`` as a ``protocol.Move``: underdamped dynamics have velocities."""
    assert velocities is not None
    step(weights, velocities, noise, posterior, step_size, damping)
