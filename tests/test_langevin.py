"""SGLD: gradients, a closed-form stationary law with its step-size bias, the stability check."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_z
from scipy import stats
from torch import Tensor

from weightsharing.model import network as networks
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.axes import Array
from weightsharing.model.network import Weights
from weightsharing.model.task import Task
from weightsharing.sampling import initial, langevin
from weightsharing.sampling import posterior as posteriors
from weightsharing.sampling.posterior import Posterior
from weightsharing.sampling.sgld import step as sgld

WIDTH, STEPS, FEATURES, CHAINS = 7, 4, 2, 3
PRIOR = Prior(w=0.8, u=1.2, v=0.6)


# Whether the readout is sampled or integrated out.
both_energies = pytest.mark.parametrize("integrated", [False, True])


def posterior(
    kind: Kind, activation: ActivationName = "linear", seed: int = 0, integrated: bool = False
) -> Posterior:
    generator = np.random.default_rng(seed)
    supervised = np.array([[False, True, False, True], [True, False, False, True]])
    task = Task(
        generator.normal(size=(2, STEPS, FEATURES)), generator.normal(size=(2, STEPS)), supervised
    )
    architecture = Architecture(kind=kind, steps=STEPS, activation=activation, prior=PRIOR)
    target = posteriors.build([task], architecture, 0.3, torch.device("cpu"), torch.float64)
    return replace(target, integrated=integrated)


def weights_of(
    architecture: Architecture, width: int = WIDTH, chains: int = CHAINS, seed: int = 1
) -> Weights:
    size = initial.weight_count(architecture, width, FEATURES)
    memory = torch.randn(
        chains, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    # Views of one memory, as in a chain, so that a step that works on a copy by mistake is seen.
    weights = initial.weights_in(memory, architecture, width, FEATURES)
    for block, value in zip(weights, initial.from_prior(architecture, weights), strict=True):
        block.copy_(value)
    return weights


def zeros_like(weights: Weights) -> Weights:
    return Weights(*(torch.zeros_like(block) for block in weights))


def scale(weights: Weights, factors: tuple[float, float, float]) -> list[Tensor]:
    return [factor * block for factor, block in zip(factors, weights, strict=True)]


@both_energies
@pytest.mark.parametrize("activation", ["linear", "erf", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_step_without_noise_is_a_step_down_the_energy(
    kind: Kind, activation: ActivationName, integrated: bool
) -> None:
    """The hand-written gradient against automatic differentiation of the energy."""
    target = posterior(kind, activation, integrated=integrated)
    weights = weights_of(target.architecture)
    leaves = Weights(*(block.clone().requires_grad_() for block in weights))
    gradients = torch.autograd.grad(langevin.energy(leaves, target).sum(), list(leaves))
    variances = (PRIOR.w / WIDTH, PRIOR.u, PRIOR.v)
    eta = 1e-3
    expected = [
        block - eta * variance * gradient
        for block, variance, gradient in zip(weights, variances, gradients, strict=True)
    ]
    sgld.step(weights, zeros_like(weights), target, eta)
    for block, wanted in zip(weights, expected, strict=True):
        torch.testing.assert_close(block, wanted, rtol=1e-11, atol=1e-12)


def test_readout_is_integrated_out_of_the_energy() -> None:
    """exp(-E) integrated over v, written out: y is normal with covariance (kappa + v Phi) / N."""
    energies = {}
    for integrated in (False, True):
        target = posterior("rnn", "erf", integrated=integrated)
        weights = weights_of(target.architecture)
        energies[integrated] = langevin.energy(weights, target)
    activities = networks.forward(weights, target.inputs, target.architecture)
    chosen = target.supervised[0].bool()
    labels = target.targets[0][chosen].numpy()
    for chain in range(CHAINS):
        phi = activities.post[chain][chosen].numpy()
        readout = weights.readout[chain].numpy()
        error = labels - phi @ readout / WIDTH
        of_readout = WIDTH / (2.0 * target.kappa) * (error**2).sum()
        covariance = (target.kappa * np.eye(len(phi)) + PRIOR.v * phi @ phi.T / WIDTH) / WIDTH
        law = stats.multivariate_normal(cov=covariance)
        # The normalisation of the covariance at Phi = 0, which E leaves out with kappa^(1/2).
        marginal = -law.logpdf(labels) - 0.5 * len(labels) * np.log(2.0 * np.pi / WIDTH)
        difference = (energies[True] - energies[False])[chain].item()
        assert difference == pytest.approx(marginal - of_readout, rel=1e-10)


@both_energies
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_energy_gradient_matches_finite_differences(kind: Kind, integrated: bool) -> None:
    """Independent of automatic differentiation: the error of central differences is of second order."""
    target = posterior(kind, "erf", integrated=integrated)
    weights = weights_of(target.architecture)
    direction = weights_of(target.architecture, seed=2)
    start = Weights(*(block.clone() for block in weights))
    sgld.step(weights, zeros_like(weights), target, 1.0)
    variances = (PRIOR.w / WIDTH, PRIOR.u, PRIOR.v)
    slope = sum(
        ((before - after) / variance * move).flatten(1).sum(1)
        for before, after, variance, move in zip(start, weights, variances, direction, strict=True)
    )

    def difference(step: float) -> Tensor:
        ahead, behind = (
            Weights(*(b + sign * step * d for b, d in zip(start, direction, strict=True)))
            for sign in (1.0, -1.0)
        )
        return (langevin.energy(ahead, target) - langevin.energy(behind, target)) / (2 * step)

    errors = [(difference(step) - slope).abs() for step in (1e-2, 1e-3)]
    assert ((errors[0] / errors[1]) > 90).all()
    assert ((errors[0] / errors[1]) < 110).all()


def test_noise_enters_with_the_variance_of_the_prior() -> None:
    target = posterior("rnn")
    weights, still = weights_of(target.architecture), weights_of(target.architecture)
    ones = Weights(*(torch.ones_like(block) for block in weights))
    sgld.step(weights, ones, target, 0.02)
    sgld.step(still, zeros_like(still), target, 0.02)
    for moved, unmoved, variance in zip(
        weights, still, (PRIOR.w / WIDTH, PRIOR.u, PRIOR.v), strict=True
    ):
        expected = torch.full_like(moved, (2 * 0.02 * variance) ** 0.5)
        torch.testing.assert_close(moved - unmoved, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_without_data_sgld_is_an_ornstein_uhlenbeck_chain(kind: Kind) -> None:
    """Variance s^2 / (1 - eta/2) and autocorrelation (1 - eta)^k, the step-size bias included.

    eta = 0.5 makes the bias a third of the variance, which the test would not miss.
    """
    eta, steps = 0.5, 400
    target = posterior(kind)
    target = Posterior(
        target.architecture, target.kappa, target.inputs, target.targets, 0.0 * target.supervised
    )
    weights = weights_of(target.architecture)
    stream = torch.Generator().manual_seed(4)
    kept: list[list[Array]] = [[], [], []]
    for index in range(steps + 40):
        noise = Weights(*(torch.randn(b.shape, generator=stream, dtype=b.dtype) for b in weights))
        sgld.step(weights, noise, target, eta)
        if index >= 40:
            for store, block in zip(kept, weights, strict=True):
                store.append(block.flatten().numpy().copy())
    for store, variance in zip(kept, (PRIOR.w / WIDTH, PRIOR.u, PRIOR.v), strict=True):
        path = np.stack(store)
        expected = variance / (1.0 - eta / 2.0)
        # Squares of an AR(1) chain decorrelate by (1 - eta)^2 each step; the weights are independent.
        squares = (path**2).mean(axis=0)
        error = expected * np.sqrt(2.0 * (1 + (1 - eta) ** 2) / (1 - (1 - eta) ** 2) / steps)
        total = np.array([squares.mean()])
        assert_z(total, expected, error / np.sqrt(path.shape[1]))
        for lag in (1, 3):
            products = (path[lag:] * path[:-lag]).mean(axis=0)
            error = products.std(ddof=1) / np.sqrt(products.size)
            assert_z(products.mean(), expected * (1 - eta) ** lag, error, products.size - 1)


@both_energies
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_curvature_is_that_of_the_gauss_newton_matrix(kind: Kind, integrated: bool) -> None:
    target = posterior(kind, "erf", integrated=integrated)
    weights = weights_of(target.architecture)
    chosen, labels = target.supervised[0].bool(), target.targets[0][target.supervised[0].bool()]
    identity = torch.eye(len(labels), dtype=torch.float64)
    factors = ((PRIOR.w / WIDTH) ** 0.5, PRIOR.u**0.5, PRIOR.v**0.5)
    found = langevin.curvature(weights, target)
    for chain in range(CHAINS):
        blocks = [block[chain : chain + 1] for block in weights]

        def gram(*own: Tensor) -> Tensor:
            activities = networks.forward(Weights(*own), target.inputs, target.architecture)
            phi = activities.post[0][chosen]
            return PRIOR.v * phi @ phi.T / WIDTH

        def output(*own: Tensor) -> Tensor:
            own_weights = Weights(*own)
            activities = networks.forward(own_weights, target.inputs, target.architecture)
            return networks.outputs(own_weights, activities)[0][chosen]

        metric = target.kappa * identity
        jacobian = torch.autograd.functional.jacobian(output, tuple(blocks))
        if integrated:
            metric = metric + gram(*blocks)
            answer = torch.linalg.solve(metric, labels)
            jacobian = torch.autograd.functional.jacobian(gram, tuple(blocks))
            jacobian = tuple(torch.einsum("ab...,b->a...", part, answer) for part in jacobian)
        rows = torch.cat(
            [factor * part.flatten(1) for factor, part in zip(factors, jacobian, strict=True)],
            dim=1,
        )
        largest = np.linalg.eigvals(WIDTH * torch.linalg.solve(metric, rows @ rows.T).numpy())
        assert found[chain].item() == pytest.approx(1.0 + largest.real.max(), rel=1e-9)


@both_energies
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_weights_and_curvatures_of_chains_of_different_sets(kind: Kind, integrated: bool) -> None:
    """Curvature, energy, gradient, weights given activities and labels: together as each set alone."""
    generator = np.random.default_rng(0)
    inputs, targets = generator.normal(size=(2, STEPS, FEATURES)), generator.normal(size=(2, STEPS))
    sets = [[(0, 1), (1, 0), (1, 3)], [(0, 1)], [(0, 3), (1, 2)]]
    tasks = []
    for chosen in sets:
        supervised = np.zeros((2, STEPS), dtype=bool)
        supervised[tuple(np.transpose(chosen))] = True
        tasks.append(Task(inputs, targets, supervised))
    architecture = Architecture(kind=kind, steps=STEPS, activation="erf", prior=PRIOR)
    rest = (architecture, 0.3, torch.device("cpu"), torch.float64)
    together = replace(posteriors.build(tasks, *rest), integrated=integrated)
    weights = weights_of(architecture)
    pre = networks.forward(weights_of(architecture, seed=3), together.inputs, architecture).pre
    streams = [torch.Generator().manual_seed(seed) for seed in range(3)]
    noise = initial.noise_of_labels(together, streams)
    drawn = initial.given_activities(pre, together, weights, noise)
    curvature, energy = langevin.curvature(weights, together), langevin.energy(weights, together)
    for index, task in enumerate(tasks):
        own = slice(index, index + 1)
        alone = replace(posteriors.build([task], *rest), integrated=integrated)
        mine = Weights(*(block[own] for block in weights))
        delta = langevin.loss_gradient(mine, alone).delta
        torch.testing.assert_close(langevin.loss_gradient(weights, together).delta[own], delta)
        torch.testing.assert_close(curvature[own], langevin.curvature(mine, alone))
        torch.testing.assert_close(energy[own], langevin.energy(mine, alone))
        own_noise = initial.noise_of_labels(alone, [torch.Generator().manual_seed(index)])
        expected = initial.given_activities(pre[own], alone, mine, own_noise)
        for block, value in zip(drawn, expected, strict=True):
            torch.testing.assert_close(block[own], value, rtol=1e-8, atol=1e-9)


def test_stability_limit_is_at_step_size_times_curvature_two() -> None:
    """A disturbance of trained weights dies out below the limit and grows beyond it.

    At small kappa the labels are fitted and the Gauss-Newton matrix is the Hessian.
    """
    target = posterior("rnn")
    target = posteriors.Posterior(
        target.architecture, 1e-4, target.inputs, target.targets, target.supervised
    )
    trained = weights_of(target.architecture)
    for _ in range(5_000):
        eta = 0.5 / float(langevin.curvature(trained, target).max())
        sgld.step(trained, zeros_like(trained), target, eta)
    stiffest = float(langevin.curvature(trained, target)[0])
    growth = {}
    for factor in (1.8, 2.2):
        pair = [Weights(*(block[:1].clone() for block in trained)) for _ in range(2)]
        pair[1].readout.mul_(1 + 1e-9)
        gaps = []
        for _ in range(60):
            for weights in pair:
                sgld.step(weights, zeros_like(weights), target, factor / stiffest)
            gaps.append(float((pair[0].readout - pair[1].readout).norm()))
        growth[factor] = gaps[-1] / gaps[0]
    assert growth[1.8] < 1
    assert growth[2.2] > 10


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_weights_from_a_kernel_produce_it_and_fit_the_labels(kind: Kind) -> None:
    target = posterior(kind)
    width, chains = 400, 2
    steps, patterns, _ = target.inputs.shape
    # Only kernels a network can have: here those of an untrained one.
    source = weights_of(target.architecture, width, 1, seed=8)
    pre = networks.forward(source, target.inputs, target.architecture).pre[0]
    matrix = (pre.flatten(0, 1) @ pre.flatten(0, 1).T / width).numpy()
    stream = torch.Generator().manual_seed(5)
    deviates = torch.randn(chains, width, steps * patterns, generator=stream, dtype=torch.float64)
    prior = weights_of(target.architecture, width, chains, seed=6)
    wanted_pre = initial.activities_from_kernel(matrix, deviates, target)
    chosen = target.supervised[0].bool()
    noise = torch.randn(chains, int(chosen.sum()), generator=stream, dtype=torch.float64)
    weights = initial.given_activities(wanted_pre, target, prior, noise)
    activities = networks.forward(weights, target.inputs, target.architecture)
    flat = activities.pre.flatten(1, 2)
    # The activities are exactly the deviates times root(H), hence their kernel is H up to 1/sqrt(N).
    values, vectors = np.linalg.eigh(matrix)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    wanted = deviates.numpy() @ root
    np.testing.assert_allclose(flat.mT.numpy(), wanted, atol=1e-8 * np.abs(root).max())
    # The readout is the prior's plus ridge regression of the labels less a draw of their noise e:
    # y - f - e = kappa (kappa + v Phi)^-1 (y - f_prior - e).
    drawn = (target.kappa / width) ** 0.5 * noise
    error = (target.targets - networks.outputs(weights, activities))[:, chosen]
    before = networks.outputs(prior, activities)[:, chosen]
    phi = activities.post[:, chosen]
    gram = PRIOR.v * phi @ phi.mT / width + target.kappa * torch.eye(int(chosen.sum())).double()
    missed = (target.targets[0, chosen] - before - drawn)[..., None]
    left = target.kappa * torch.linalg.solve(gram, missed)
    torch.testing.assert_close(error - drawn, left[..., 0], rtol=1e-8, atol=1e-10)


def test_curvature_of_overflowing_activities_is_infinite() -> None:
    target = posterior("rnn")
    weights = weights_of(target.architecture)
    weights.recurrent.mul_(1e200)
    assert torch.isinf(langevin.curvature(weights, target)).all()
