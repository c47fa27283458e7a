"""Underdamped Langevin dynamics: the step against its definition, stationary laws."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import KAPPA, PRIOR, assert_z, draw, endpoint_run, exact_run, kinetic_run
from scipy import linalg
from test_exact import drawn_kernel
from test_langevin import PRIOR as OTHER_PRIOR
from test_langevin import WIDTH, both_energies, posterior, weights_of, zeros_like
from torch import Tensor

from weightsharing.errors import StepSizeError
from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Kind
from weightsharing.model.network import Weights
from weightsharing.sampling import langevin
from weightsharing.sampling.kinetic import step as kinetic
from weightsharing.sampling.posterior import Posterior
from weightsharing.theory.transition import critical_signal

VARIANCES = (OTHER_PRIOR.w / WIDTH, OTHER_PRIOR.u, OTHER_PRIOR.v)


def copy(weights: Weights) -> Weights:
    return Weights(*(block.clone() for block in weights))


def add(first: Weights, second: Weights, factor: float) -> Weights:
    return Weights(*(a + factor * b for a, b in zip(first, second, strict=True)))


@both_energies
@pytest.mark.parametrize("activation", ["linear", "erf", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_step_is_the_splitting_written_out(
    kind: Kind, activation: ActivationName, integrated: bool
) -> None:
    """B, A, O, A, one after the other, with the gradient by automatic differentiation."""
    target = posterior(kind, activation, integrated=integrated)
    weights, h, friction = weights_of(target.architecture), 0.03, 0.7
    velocities, noise = (weights_of(target.architecture, seed=seed) for seed in (2, 3))
    leaves = Weights(*(block.clone().requires_grad_() for block in weights))
    gradient = Weights(*torch.autograd.grad(langevin.energy(leaves, target).sum(), list(leaves)))
    force = Weights(*(-s2 * g for s2, g in zip(VARIANCES, gradient, strict=True)))
    moving = add(velocities, force, h)
    halfway = add(weights, moving, h / 2)
    velocities_before = copy(velocities)
    kept = math.exp(-friction * h)
    moving = Weights(
        *(
            kept * v + math.sqrt(s2 * (1 - kept**2)) * xi
            for v, s2, xi in zip(moving, VARIANCES, noise, strict=True)
        )
    )
    expected = add(halfway, moving, h / 2)
    free, freely = copy(weights), copy(velocities)
    kinetic.step(weights, velocities, noise, target, h, friction * h)
    for found, wanted in ((weights, expected), (velocities, moving)):
        for block, value in zip(found, wanted, strict=True):
            torch.testing.assert_close(block, value, rtol=1e-11, atol=1e-12)
    # Without friction nothing comes between the two drifts.
    kinetic.step(free, freely, None, target, h, friction * h)
    for block, value in zip(freely, add(velocities_before, force, h), strict=True):
        torch.testing.assert_close(block, value, rtol=1e-11, atol=1e-12)
    for block, value in zip(free, add(halfway, freely, h / 2), strict=True):
        torch.testing.assert_close(block, value, rtol=1e-11, atol=1e-12)


@both_energies
def test_friction_that_forgets_all_gives_sgld_with_averaged_noise(integrated: bool) -> None:
    """Theta - eta s^2 grad E + (2 eta s^2)^(1/2) (xi + xi') / 2, with xi of the step before."""
    target, eta = posterior("rnn", "erf", integrated=integrated), 0.03
    weights = weights_of(target.architecture)
    last, noise = (weights_of(target.architecture, seed=seed) for seed in (2, 3))
    leaves = Weights(*(block.clone().requires_grad_() for block in weights))
    gradient = torch.autograd.grad(langevin.energy(leaves, target).sum(), list(leaves))
    expected = [
        theta - eta * s2 * g + math.sqrt(2.0 * eta * s2) * (before + after) / 2.0
        for theta, s2, g, before, after in zip(
            weights, VARIANCES, gradient, last, noise, strict=True
        )
    ]
    velocities = Weights(*(math.sqrt(s2) * xi for s2, xi in zip(VARIANCES, last, strict=True)))
    kinetic.step(weights, velocities, noise, target, math.sqrt(2.0 * eta), math.inf)
    for block, value in zip(weights, expected, strict=True):
        torch.testing.assert_close(block, value, rtol=1e-11, atol=1e-12)
    for block, s2, xi in zip(velocities, VARIANCES, noise, strict=True):
        torch.testing.assert_close(block, math.sqrt(s2) * xi)


@pytest.mark.parametrize("refresh", [1, 3])
@pytest.mark.parametrize("step_size", [0.3, 1.5])
def test_variance_along_a_quadratic_direction_is_exact_at_any_step(
    step_size: float, refresh: int
) -> None:
    """The steps between two refreshments of the velocities, these included, are a matrix on
    (Theta, V); its stationary covariance solves Lyapunov's equation. With the readout alone moving, the
    energy is quadratic, of several curvatures.
    """
    target = posterior("rnn", "erf")
    weights = Weights(*(block[:1] for block in weights_of(target.architecture)))
    friction, size = 0.8, WIDTH
    target = Posterior(
        target.architecture, 1.5, target.inputs, 0.0 * target.targets, target.supervised
    )

    def flow(position: Tensor, velocity: Tensor) -> Tensor:
        for last in [False] * (refresh - 1) + [True]:
            now, moving = copy(weights), zeros_like(weights)
            now.readout[0], moving.readout[0] = position, velocity
            noise = zeros_like(weights) if last else None
            kinetic.step(now, moving, noise, target, step_size, friction * refresh * step_size)
            position, velocity = now.readout[0], moving.readout[0]
        return torch.cat([position, velocity])

    nothing = torch.zeros(size, dtype=torch.float64)
    basis = torch.eye(size, dtype=torch.float64)
    matrix = torch.stack(
        [flow(e, nothing) for e in basis] + [flow(nothing, e) for e in basis], dim=1
    ).numpy()
    # Noise enters the velocity, and by the last drift the position.
    strength = OTHER_PRIOR.v * (1 - math.exp(-2 * friction * refresh * step_size))
    drift = np.array([[step_size**2 / 4, step_size / 2], [step_size / 2, 1.0]])
    covariance = linalg.solve_discrete_lyapunov(matrix, strength * np.kron(drift, np.eye(size)))[
        :size, :size
    ]

    def energy(position: Tensor) -> Tensor:
        now = copy(weights)
        return langevin.energy(now._replace(readout=position[None]), target)[0]

    hessian = torch.autograd.functional.hessian(energy, nothing).numpy()
    assert np.linalg.eigvalsh(OTHER_PRIOR.v * hessian).max() > 1.2
    np.testing.assert_allclose(covariance, np.linalg.inv(hessian), rtol=1e-8, atol=1e-9)


@functools.cache
def exact_kernels(signal: float, kind: Kind) -> Estimate:
    """The same from the exact sampler at N = 64; drawn once for each kind."""
    return drawn_kernel(exact_run(signal, kind=kind, width=64, draws=1000))


# The step and friction of each energy: the loss of a sampled readout is stiff.
SAMPLED = {"readout": "sampled", "step_size": 0.05, "friction": 1.0, "duration": 400.0}
INTEGRATED = {"step_size": 0.2, "friction": 0.25, "duration": 800.0, "ramp": 5.0}
AVERAGED = {
    "method": "sgld", "noise": "averaged", "readout": "integrated", "step_size": 0.02,
    "duration": 400.0, "ramp": 5.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("rnn", SAMPLED), ("rnn", SAMPLED | {"refresh": 8}), ("dnn", SAMPLED | {"refresh": 8}),
        ("rnn", INTEGRATED), ("rnn", INTEGRATED | {"refresh": 4}),
        ("dnn", INTEGRATED | {"refresh": 4}), ("rnn", AVERAGED), ("dnn", AVERAGED),
    ],
    ids=str,
)  # fmt: skip
def test_dynamics_agree_with_the_exact_sampler(kind: Kind, settings: dict[str, Any]) -> None:
    """Above the transition at N = 64: kernels within errors, without an allowance for the step size."""
    signal = 2.0 * critical_signal(4, PRIOR, KAPPA)
    made = endpoint_run if settings.get("method") == "sgld" else kinetic_run
    run = made(
        signal, kind=kind, width=64, **{"burn_in": 20.0, "draws": 400, "chains": 4} | settings
    )
    found = drawn_kernel(run)
    exact = exact_kernels(signal, kind)
    assert (np.diag(found.rhat) < 1.05).all()
    upper = np.triu_indices(4)
    error = np.hypot(found.standard_error, exact.standard_error)[upper]
    assert_z(found.mean[upper], exact.mean[upper], error)


def test_step_beyond_half_the_stability_limit_is_refused_with_advice() -> None:
    run = kinetic_run(40.0, step_size=0.1, burn_in=20.0, readout="sampled")
    with pytest.raises(StepSizeError, match=r"step_size: 0\.1 .* use at most 0\.0"):
        draw(run)


def test_kinetic_needs_fewer_gradients_than_sgld_for_the_same_precision() -> None:
    """Gradients for one effective draw of H^(T-1,T-1), each at the step that its figures use."""
    cost = {}
    for name, run in (
        ("sgld", endpoint_run(2.0, burn_in=5.0, duration=25.0, draws=125, chains=4)),
        ("kinetic", kinetic_run(2.0, burn_in=5.0, duration=100.0, draws=500, chains=4)),
    ):
        size = estimate(draw(run)["kernel"].to_numpy()[:, :, 0, 0, -1, -1])
        steps = run.sampler.draw_every * run.sampler.draws * run.sampler.chains
        cost[name] = steps / float(size.effective_size)
    assert cost["sgld"] > 10 * cost["kinetic"]
