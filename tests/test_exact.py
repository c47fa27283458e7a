"""The exact sampler: density, dynamics, and law against untrained networks, SGLD and theory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import (
    KAPPA,
    PRIOR,
    assert_z,
    endpoint_run,
    exact_run,
    prior_network_kernels,
    rotation,
)
from scipy import stats
from torch import Tensor

from weightsharing import networks
from weightsharing.measures import Estimate, alignment, branch_signs, estimate
from weightsharing.networks import Weights
from weightsharing.records import (
    Activation,
    Architecture,
    EndpointTask,
    ExactSettings,
    Kind,
    Prior,
    Run,
    SinusoidTask,
    Task,
    kernel_axes,
)
from weightsharing.sampling import initial, marginal, posterior
from weightsharing.sampling.chain import Samples, sample
from weightsharing.symmetry import reflect_kernel
from weightsharing.tasks import make_task
from weightsharing.theory import finite_width, linear, nonlinear
from weightsharing.theory.transition import critical_signal

CPU = torch.device("cpu")
OTHER_PRIOR = Prior(w=0.7, u=1.3, v=0.8)


def density(
    task: Task, kind: Kind, activation: Activation, width: int, kappa: float = 0.3,
    prior: Prior = OTHER_PRIOR,
) -> marginal.Marginal:  # fmt: skip
    architecture = Architecture(kind=kind, activation=activation, steps=task.steps, prior=prior)
    target = posterior.build(task, architecture, kappa, CPU, torch.float64)
    return marginal.build(target, width)


def normal(*shape: int, seed: int = 0) -> Tensor:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=stream, dtype=torch.float64)


def untrained(target: marginal.Marginal, chains: int, seed: int = 0) -> Tensor:
    """Activities g of untrained networks, (chain, unit, d)."""
    rows = target.basis.shape[0]
    deviates = normal(chains, target.width, rows, seed=seed)
    pre = initial.activities_from_prior(target.posterior, target.width, deviates)
    return pre.flatten(1, 2).mT @ target.basis


TASKS = {
    "endpoint": make_task(EndpointTask(labels=(0.9, -0.4)), 3),
    "sequence": rotation(4, {1, 2, 4})[0],
    "late input": Task(
        np.array([[[0.0], [1.0], [0.3]]]), np.array([[0.0, 0.5, -0.2]]), np.array([[False, True, True]])
    ),
}  # fmt: skip


# --- the density ------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
@pytest.mark.parametrize("activation", ["linear", "erf"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_gradient_matches_finite_differences(
    kind: Kind, activation: Activation, task: Task
) -> None:
    target = density(task, kind, activation, width=11)
    position = untrained(target, 2)
    direction = normal(*position.shape, seed=1)
    step = 1e-5
    change = marginal.energy(target, position + step * direction)
    change = (change - marginal.energy(target, position - step * direction)) / (2 * step)
    slope = (marginal.gradient(target, position) * direction).sum((1, 2))
    torch.testing.assert_close(change, slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("activation", ["linear", "erf"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_energy_is_that_of_one_layer_after_the_other(kind: Kind, activation: Activation) -> None:
    """Product of the conditional laws of h^t given what came before, and the evidence of y.

    Written out for each unit from the weights' prior, without C. Densities of several h may differ from
    the energies by one constant only.
    """
    width, kappa = 9, 0.3
    task = TASKS["sequence"]
    target = density(task, kind, activation, width, kappa)
    positions = untrained(target, 4) * torch.tensor([0.8, 1.0, 1.2, 1.5])[:, None, None]
    values = []
    for position in positions:
        pre, post = (x.numpy() for x in marginal.activations(target, position))
        log_density = 0.0
        for time in range(task.steps):
            # h^t = W phi^(t-1) + U x^t; with a shared W, earlier steps tell of W and U.
            x = task.inputs[0, :, 0]
            phi = np.concatenate([np.zeros((width, 1)), post[:, :-1]], axis=1)
            joint = OTHER_PRIOR.u * np.outer(x, x)
            gram = OTHER_PRIOR.w / width * phi.T @ phi
            joint = joint + (gram if kind == "rnn" else np.diag(np.diag(gram)))
            past = slice(0, time)
            gain = joint[time, past] @ np.linalg.pinv(joint[past, past])
            spread = joint[time, time] - gain @ joint[past, time]
            mean = pre[:, past] @ gain
            log_density += stats.norm(mean, np.sqrt(spread)).logpdf(pre[:, time]).sum()
        chosen = np.flatnonzero(task.supervised[0])
        seen = post[:, chosen]
        evidence = (OTHER_PRIOR.v * seen.T @ seen / width + kappa * np.eye(chosen.size)) / width
        law = stats.multivariate_normal(np.zeros(chosen.size), evidence)
        values.append(log_density + law.logpdf(task.targets[0, chosen]))
    found = -marginal.energy(target, positions).numpy()
    np.testing.assert_allclose(found - found[0], np.array(values) - values[0], rtol=1e-9, atol=1e-8)


def test_unreachable_directions_are_left_out() -> None:
    assert density(TASKS["late input"], "rnn", "linear", 9).dimension == 2
    assert density(TASKS["endpoint"], "rnn", "linear", 9).dimension == 6


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_activities_from_the_prior_are_those_of_untrained_networks(kind: Kind) -> None:
    """At N = 12, where finite width matters, against networks with weights; kernel and its square."""
    task, width, samples = rotation(4, set())[0], 12, 4000
    target = density(task, kind, "linear", width, prior=PRIOR)
    drawn = untrained(target, samples)
    found = (target.basis @ (drawn.mT @ drawn / width) @ target.basis.T).numpy()
    reference = prior_network_kernels(task, kind, width, samples, seed=2)
    upper = np.triu_indices(4)
    for power in (1, 2):
        first, second = (x[:, *upper] ** power for x in (found, reference))
        error = np.sqrt((first.var(axis=0) + second.var(axis=0)) / samples)
        assert_z(first.mean(axis=0), second.mean(axis=0), error)


@pytest.mark.parametrize("activation", ["linear", "erf"])
def test_outputs_have_the_law_of_readouts_given_the_activities(activation: Activation) -> None:
    """Mean and covariance of drawn f, against readouts drawn with the weights."""
    task, width, count = rotation(4, {2, 3})[0], 16, 4000
    target = density(task, "rnn", activation, width)
    position = untrained(target, 1)
    pre, post = marginal.activations(target, position)
    phi = (post.mT @ post / width).expand(count, -1, -1)
    drawn = marginal.draw_outputs(target, phi, normal(count, 4, seed=3))[..., 0].numpy()
    size = initial.weight_count(target.posterior.architecture, width, 1)
    prior = initial.from_prior(
        target.posterior.architecture,
        initial.weights_in(normal(count, size, seed=4), target.posterior.architecture, width, 1),
    )
    h = pre.mT.unflatten(1, (4, 1)).expand(count, -1, -1, -1)
    weights = initial.given_activities(h, target.posterior, prior, normal(count, 2, seed=5))
    reference = (weights.readout @ post[0] / width).numpy()
    error = np.sqrt((drawn.var(axis=0) + reference.var(axis=0)) / count)
    assert_z(drawn.mean(axis=0), reference.mean(axis=0), error)
    covariance = np.cov(reference.T)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) * 4 / count)
    assert_z(np.cov(drawn.T), covariance, scale)


# --- the dynamics -----------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["linear", "erf"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_trajectories_are_reversible(kind: Kind, activation: Activation) -> None:
    target = density(TASKS["sequence"], kind, activation, 12)
    position = untrained(target, 3)
    factor = marginal.whitening(target, position)
    z = torch.linalg.solve_triangular(factor, position.mT, upper=False).mT
    momentum, step = normal(*z.shape, seed=1), torch.tensor([0.05, 0.1, 0.2], dtype=torch.float64)
    there, arriving = marginal.leapfrog(target, z, momentum, factor, step, 10)
    assert (there - z).norm() > 0.1
    back, leaving = marginal.leapfrog(target, there, -arriving, factor, step, 10)
    torch.testing.assert_close(back, z, rtol=0, atol=1e-9)
    torch.testing.assert_close(-leaving, momentum, rtol=0, atol=1e-9)


@pytest.mark.parametrize("activation", ["linear", "erf"])
def test_energy_error_is_of_second_order(activation: Activation) -> None:
    """Fitted over steps that halve while the trajectory keeps its length."""
    target = density(TASKS["sequence"], "rnn", activation, 20)
    position = untrained(target, 8)
    factor = marginal.whitening(target, position)
    z = torch.linalg.solve_triangular(factor, position.mT, upper=False).mT
    momentum = normal(*z.shape, seed=1)
    before = marginal.hamiltonian(target, z, momentum, factor)
    errors = []
    counts = (40, 80, 160, 320)
    for count in counts:
        step = torch.full((8,), 0.8 / count, dtype=torch.float64)
        after = marginal.leapfrog(target, z, momentum, factor, step, count)
        errors.append(float((marginal.hamiltonian(target, *after, factor) - before).abs().mean()))
    order = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
    assert order == pytest.approx(2.0, abs=0.1)


def test_trajectories_preserve_volume() -> None:
    """The determinant of the map of (z, p), by central differences at the smallest possible size."""
    target = density(rotation(2, {1, 2})[0], "rnn", "erf", 3)
    factor = torch.linalg.cholesky(torch.tensor([[1.5, 0.2], [0.2, 0.8]], dtype=torch.float64))[
        None
    ]
    step = torch.tensor([0.3], dtype=torch.float64)

    def flow(state: Tensor) -> Tensor:
        z, momentum = state.view(2, 1, 3, 2)
        return torch.cat(
            [x.flatten() for x in marginal.leapfrog(target, z, momentum, factor, step, 3)]
        )

    point, h = normal(12, seed=9), 1e-5
    columns = [
        (flow(point + h * e) - flow(point - h * e)) / (2 * h) for e in torch.eye(12).double()
    ]
    assert float(torch.linalg.det(torch.stack(columns))) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("activation", ["linear", "erf"])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_joint_law_of_activities_and_labels_is_left_alone(
    kind: Kind, activation: Activation
) -> None:
    """Geweke's (2004) joint test: networks from the prior, labels drawn from them, then trajectories.

    Given their labels the activities are a draw of the posterior, so after any number of accepted or
    refused trajectories each network, its labels forgotten, is again one from the prior. 3000 networks at
    N = 8; kernels and their squares, paired with where each network began.
    """
    networks_, width, kappa = 3000, 8, 0.5
    target = density(rotation(4, {2, 4})[0], kind, activation, width, kappa, PRIOR)
    position = untrained(target, networks_)
    # The mass must not depend on the state, or the proposals were not reversible.
    factor = marginal.whitening(target, untrained(target, 1, seed=20)).expand(networks_, -1, -1)
    found = marginal.moments(target, position, marginal.activations(target, position)[1])
    root = torch.linalg.cholesky(found.noisy / width)
    labels = (root @ normal(networks_, 2, 1, seed=7))[..., 0]
    target = replace(target, labels=labels)
    z = torch.linalg.solve_triangular(factor, position.mT, upper=False).mT
    step = torch.full((networks_,), 0.35, dtype=torch.float64)
    accepted = 0.0
    for sweep in range(6):
        momentum = normal(*z.shape, seed=30 + sweep)
        before = marginal.hamiltonian(target, z, momentum, factor)
        proposal, arriving = marginal.leapfrog(target, z, momentum, factor, step, 3)
        after = marginal.hamiltonian(target, proposal, arriving, factor)
        uniform = torch.rand(
            networks_, generator=torch.Generator().manual_seed(sweep), dtype=torch.float64
        )
        taken = uniform < (before - after).exp()
        accepted += float(taken.double().mean()) / 6
        z = torch.where(taken[:, None, None], proposal, z)
    assert 0.3 < accepted < 0.97
    upper = np.triu_indices(target.dimension)
    first = found.kernel.numpy()[:, *upper]
    moved = z @ factor.mT
    second = (moved.mT @ moved / width).numpy()[:, *upper]
    assert np.abs(first - second).mean() > 0.1
    for power in (1, 2):
        change = second**power - first**power
        assert_z(change.mean(axis=0), 0.0, change.std(axis=0) / np.sqrt(networks_))


# --- its law ----------------------------------------------------------------------------------


def drawn_kernel(run: Run) -> Estimate:
    task = make_task(run.task, run.architecture.steps)
    samples = sample(run, task)
    signs = branch_signs(samples.kernel, task, shared=run.architecture.kind == "rnn")
    return estimate(reflect_kernel(samples.kernel, signs)[:, :, 0, 0])


@pytest.mark.parametrize("ratio", [0.5, 4.0])
@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_exact_sampler_agrees_with_the_theory_to_order_one_over_n(kind: Kind, ratio: float) -> None:
    """Both phases at N = 256: H within errors of theory + D/N, up to a remainder of 8 D/N^2."""
    width = 256
    run = exact_run(
        ratio * critical_signal(4, PRIOR, KAPPA), kind=kind, width=width, warm_up=150, draws=500,
        leapfrog_steps=16,
    )  # fmt: skip
    problem = linear.linear_problem(make_task(run.task, 4), run.architecture, run.kappa)
    kernel = linear.stationary_points(problem)[0].kernel
    correction = finite_width.kernel_correction(problem, kernel)
    found = drawn_kernel(run)
    assert (np.diag(found.rhat) < 1.05).all()
    upper = np.triu_indices(4)
    error = found.standard_error + 8.0 / 3.0 * np.abs(correction) / width**2
    assert_z(found.mean[upper], (kernel + correction / width)[upper], error[upper])


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_exact_sampler_agrees_with_sgld(kind: Kind) -> None:
    """The same posterior at N = 64, kappa = 1, from two samplers that share no algorithm."""
    signal = 2.0 * critical_signal(4, PRIOR, 1.0)
    exact = drawn_kernel(exact_run(signal, kind=kind, kappa=1.0, width=64, draws=1000))
    sgld = drawn_kernel(
        endpoint_run(
            signal,
            kind=kind,
            kappa=1.0,
            width=64,
            step_size=4e-3,
            burn_in=10.0,
            duration=160.0,
            draws=400,
            chains=4,
        )
    )
    upper = np.triu_indices(4)
    # The step-size bias of a free weight is eta / 2 of its variance, t + 1 of which enter H^(tt).
    bias = 0.5 * 4e-3 * (1.0 + np.arange(4)) * np.diag(exact.mean)
    error = np.hypot(exact.standard_error, sgld.standard_error) + np.diag(bias)
    assert_z(sgld.mean[upper], exact.mean[upper], error[upper])


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_weights_given_the_activities_produce_them(kind: Kind) -> None:
    run = exact_run(3.0, kind=kind, draws=8, spectra=4, keep_weights=True)
    task = make_task(run.task, 4)
    samples = sample(run, task)
    assert samples.weights is not None
    weights = Weights(*(torch.as_tensor(block)[None] for block in samples.weights))
    target = posterior.build(task, run.architecture, run.kappa, CPU, torch.float64)
    activities = networks.forward(weights, target.inputs, run.architecture)
    kernel = networks.kernel(activities.pre)[0].numpy()
    np.testing.assert_allclose(kernel, samples.kernel[0, -1], atol=1e-9)
    assert samples.eigenvalues.shape == (4, 4, run.architecture.weight_matrices, 32, 2)
    assert np.abs(samples.eigenvalues).max() > 0.5


def test_step_size_adapts_to_the_acceptance_aimed_at() -> None:
    for aimed in (0.6, 0.9):
        run = exact_run(3.0, steps=6, width=64, warm_up=300, draws=200, acceptance=aimed)
        samples = sample(run, make_task(run.task, 6))
        assert samples.acceptance == pytest.approx(aimed, abs=0.12)


# --- nonlinear networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def figure_2() -> tuple[nonlinear.Solution, dict[int, Samples]]:
    """Theory and exact sampler for the erf network of figure 2 at three widths."""
    architecture = Architecture(kind="rnn", activation="erf", steps=10)
    task = make_task(SinusoidTask(), 10)
    problem = nonlinear.nonlinear_problem(task, architecture, 0.5)
    solution = nonlinear.solve(problem, nonlinear.Quadrature(points=2**15, scramblings=4))
    drawn = {}
    for width in (64, 256, 1024):
        settings = ExactSettings(
            method="exact", width=width, warm_up=100, thinning=2, leapfrog_steps=8, draws=300,
            chains=4, start="lowest",
        )  # fmt: skip
        run = Run(
            id="test/fig2", seed=5, device="cpu", architecture=architecture, kappa=0.5,
            task=SinusoidTask(), sampler=settings,
        )  # fmt: skip
        drawn[width] = sample(run, task, start_kernel=solution.h)
    return solution, drawn


def test_kernel_of_activations_tends_to_the_nonlinear_theory(
    figure_2: tuple[nonlinear.Solution, dict[int, Samples]],
) -> None:
    """Phi at N = 1024 against the saddle point: two codes that share neither method nor formula.

    The 1/N term is taken from N = 64, an estimate of it whose own error counts.
    """
    solution, drawn = figure_2
    coarse, fine = (estimate(drawn[width].activation_kernel[:, :, 0, 0]) for width in (64, 1024))
    upper = np.triu_indices(10)
    correction = (coarse.mean - solution.phi) * 64 / 1024
    error = np.hypot(fine.standard_error, coarse.standard_error * 64 / 1024)
    error = np.hypot(error, solution.phi_error)
    assert_z(fine.mean[upper], (solution.phi + correction)[upper], error[upper])


def test_alignment_with_the_theory_tends_to_one_as_one_over_n(
    figure_2: tuple[nonlinear.Solution, dict[int, Samples]],
) -> None:
    solution, drawn = figure_2
    reference = kernel_axes(solution.phi, 1, 10)
    found = [estimate(alignment(drawn[n].activation_kernel, reference)) for n in drawn]
    missing = [1.0 - float(one.mean) for one in found]
    exponent = np.polyfit(np.log(list(drawn)), np.log(missing), 1)[0]
    assert exponent == pytest.approx(-1.0, abs=0.1)
