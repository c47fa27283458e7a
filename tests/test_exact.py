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
    draw,
    endpoint_run,
    exact_run,
    prior_network_kernels,
    rotation,
)
from scipy import stats
from torch import Tensor

from weightsharing.measures.branches import branch_signs
from weightsharing.measures.estimate import Estimate, estimate
from weightsharing.measures.kernels import alignment
from weightsharing.model import network as networks
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.axes import Array, kernel_axes
from weightsharing.model.network import Weights
from weightsharing.model.symmetry import reflect_kernel, reflection
from weightsharing.model.task import Task
from weightsharing.model.tasks import EndpointTask, SinusoidTask
from weightsharing.sampling import initial, posterior
from weightsharing.sampling.exact import ExactSettings, adaptation, collective, marginal, units
from weightsharing.sampling.run import Run
from weightsharing.theory import finite_width, search
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import linear_problem, nonlinear_problem
from weightsharing.theory.transition import critical_signal

CPU = torch.device("cpu")
KINDS = pytest.mark.parametrize("kind", ["rnn", "dnn"])
ACTIVATIONS = pytest.mark.parametrize("activation", ["linear", "erf"])
NETWORKS = pytest.mark.parametrize(
    ("kind", "activation"), [(k, a) for k in ("rnn", "dnn") for a in ("linear", "erf")]
)
OTHER_PRIOR = Prior(w=0.7, u=1.3, v=0.8)


def density(
    task: Task, kind: Kind, activation: ActivationName, width: int, kappa: float = 0.3,
    prior: Prior = OTHER_PRIOR,
) -> marginal.Marginal:  # fmt: skip
    architecture = Architecture(kind=kind, activation=activation, steps=task.steps, prior=prior)
    target = posterior.build([task], architecture, kappa, CPU, torch.float64)
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


def whitened(target: marginal.Marginal, position: Tensor) -> tuple[Tensor, Tensor]:
    """The factor L of the units' own kernel, and z of g = z L^T."""
    kernel = position.mT @ position / target.width
    factor = adaptation.whitening(target, position, kernel, states=1)
    return factor, adaptation.whitened(position, factor)


def assert_gradient(target: marginal.Marginal, position: Tensor) -> None:
    """Against central differences of the energy along a random direction."""
    direction, step = normal(*position.shape, seed=1), 1e-5
    change = marginal.energy(target, position + step * direction)
    change = (change - marginal.energy(target, position - step * direction)) / (2 * step)
    slope = (marginal.gradient(target, position) * direction).sum((1, 2))
    torch.testing.assert_close(change, slope, rtol=1e-6, atol=1e-6)


TASKS = {
    "endpoint": EndpointTask(labels=(0.9, -0.4)).make(3),
    "sequence": rotation(4, {1, 2, 4})[0],
    "late input": Task(
        np.array([[[0.0], [1.0], [0.3]]]), np.array([[0.0, 0.5, -0.2]]), np.array([[False, True, True]])
    ),
}  # fmt: skip


# --- the density ------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
@pytest.mark.parametrize("activation", ["linear", "erf", "tanh", "relu"])
@KINDS
def test_gradient_matches_finite_differences(
    kind: Kind, activation: ActivationName, task: Task
) -> None:
    target = density(task, kind, activation, width=11)
    assert_gradient(target, untrained(target, 2))


@NETWORKS
def test_energy_is_that_of_one_layer_after_the_other(
    kind: Kind, activation: ActivationName
) -> None:
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


@KINDS
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


@ACTIVATIONS
def test_outputs_have_the_law_of_readouts_given_the_activities(activation: ActivationName) -> None:
    """Mean and covariance of drawn f, against readouts drawn with the weights."""
    task, width, count = rotation(4, {2, 3})[0], 16, 4000
    target = density(task, "rnn", activation, width)
    position = untrained(target, 1)
    pre, post = marginal.activations(target, position)
    phi = (post.mT @ post / width).expand(count, -1, -1)
    drawn = marginal.draw_outputs(target, phi, normal(count, 4, seed=3)[..., None])[..., 0].numpy()
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


# --- chains that are supervised at different outputs ------------------------------


SETS = ({1, 2, 4}, {3}, {2, 3})


def densities(
    kind: Kind, activation: ActivationName
) -> tuple[marginal.Marginal, list[marginal.Marginal]]:
    """The density of chains of one set each, and of each set alone."""
    tasks = [rotation(4, chosen)[0] for chosen in SETS]
    architecture = Architecture(kind=kind, activation=activation, steps=4, prior=OTHER_PRIOR)
    together = posterior.build(tasks, architecture, 0.3, CPU, torch.float64)
    alone = [density(task, kind, activation, 11) for task in tasks]
    return marginal.build(together, 11), alone


@NETWORKS
def test_energies_and_gradients_of_chains_of_different_sets(
    kind: Kind, activation: ActivationName
) -> None:
    """Against each set alone, without a mask, and against finite differences."""
    together, alone = densities(kind, activation)
    first, second = untrained(together, 3), untrained(together, 3, seed=1)
    change = marginal.energy(together, second) - marginal.energy(together, first)
    slope = marginal.gradient(together, first)
    phi = marginal.kernels(together, first)[1]
    outputs = marginal.draw_outputs(together, phi, torch.zeros(3, 4, 1).double())
    for index, target in enumerate(alone):
        own = slice(index, index + 1)
        assert target.chosen.tolist() == [time - 1 for time in sorted(SETS[index])]
        expected = marginal.energy(target, second[own]) - marginal.energy(target, first[own])
        torch.testing.assert_close(change[own], expected)
        torch.testing.assert_close(slope[own], marginal.gradient(target, first[own]))
        mean = marginal.draw_outputs(target, phi[own], torch.zeros(1, 4, 1).double())
        torch.testing.assert_close(outputs[own], mean)
    assert_gradient(together, first)


def test_a_chain_draws_as_many_random_numbers_as_it_has_labels() -> None:
    together, alone = densities("rnn", "linear")
    streams = [torch.Generator().manual_seed(seed) for seed in range(3)]
    noise = initial.noise_of_labels(together.posterior, streams)
    torch.testing.assert_close(noise != 0, together.mask.bool())
    for index, target in enumerate(alone):
        stream = torch.Generator().manual_seed(index)
        own = initial.noise_of_labels(target.posterior, [stream])
        assert torch.equal(noise[index][noise[index] != 0], own[0])
        assert torch.equal(stream.get_state(), streams[index].get_state())


def test_tasks_of_different_inputs_cannot_share_a_batch() -> None:
    architecture = Architecture(kind="rnn", steps=3)
    tasks = [rotation(3, {1})[0], TASKS["late input"]]
    with pytest.raises(ValueError, match="inputs differ"):
        posterior.build(tasks, architecture, 0.3, CPU, torch.float64)


# --- the moves --------------------------------------------------------------------------------

MOVES = {"units": units, "collective": collective}
BOTH = pytest.mark.parametrize("move", MOVES)


def momenta(move: str, z: Tensor, seed: int) -> Tensor:
    """Momenta of unit mass."""
    if move == "units":
        return normal(*z.shape, seed=seed)
    return normal(len(z), collective.count(z.shape[-1]), seed=seed)


def trajectory(
    move: str, target: marginal.Marginal, z: Tensor, momentum: Tensor, factor: Tensor, root: Tensor,
    step: Tensor, count: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Where a trajectory ends, its momentum there, the growth of volume, and the error of the energy."""
    before = MOVES[move].hamiltonian(target, z, momentum, factor)
    growth = torch.zeros_like(before)
    if move == "units":
        z, momentum = units.leapfrog(target, z, momentum, factor, step, count)
    else:
        z, momentum, growth = collective.leapfrog(target, z, momentum, factor, root, step, count)
    return (
        z,
        momentum,
        growth,
        MOVES[move].hamiltonian(target, z, momentum, factor) - before - growth,
    )


@NETWORKS
@BOTH
def test_trajectories_are_reversible_and_of_second_order(
    move: str, kind: Kind, activation: ActivationName
) -> None:
    """Fitted over steps that halve while the trajectory keeps its length; each chain has its own step."""
    target = density(TASKS["sequence"], kind, activation, 24)
    factor, z = whitened(target, untrained(target, 8))
    root, start = collective.preconditioner(target, z, factor), momenta(move, z, 6)
    length, tolerance = (0.8, 1e-9) if move == "units" else (1.0, 1e-6)
    lengths = length * torch.linspace(0.8, 1.2, 8, dtype=torch.float64)
    counts, errors = (20, 40, 80, 160), []
    for count in counts:
        rest = (factor, root, lengths / count, count)
        there, arriving, growth, error = trajectory(move, target, z, start, *rest)
        back, leaving, shrinking, _ = trajectory(move, target, there, -arriving, *rest)
        torch.testing.assert_close(back, z, rtol=0, atol=tolerance)
        torch.testing.assert_close(-leaving, start, rtol=0, atol=tolerance)
        torch.testing.assert_close(-shrinking, growth)
        errors.append(float(error.abs().mean()))
    assert (there - z).norm() > 0.1
    assert (there.mT @ there - z.mT @ z).norm() > 1.0
    assert -np.polyfit(np.log(counts), np.log(errors), 1)[0] == pytest.approx(2.0, abs=0.1)


@BOTH
def test_volume_grows_as_stated(move: str) -> None:
    """The determinant of the map of (z, momentum), by central differences at the smallest size."""
    target = density(rotation(2, {1, 2})[0], "rnn", "erf", 3)
    factor, z = whitened(target, untrained(target, 1))
    root, momentum = collective.preconditioner(target, z, factor), momenta(move, z, 9)
    step = torch.tensor([0.3], dtype=torch.float64)

    def flow(state: Tensor) -> tuple[Tensor, float]:
        parts = state[: z.numel()].view_as(z), state[z.numel() :].view_as(momentum)
        *ends, growth, _ = trajectory(move, target, *parts, factor, root, step, 3)
        return torch.cat([end.flatten() for end in ends]), float(growth)

    point, h = torch.cat([z.flatten(), momentum.flatten()]), 1e-5
    basis = torch.eye(len(point)).double()
    columns = [(flow(point + h * e)[0] - flow(point - h * e)[0]) / (2 * h) for e in basis]
    growth = float(torch.linalg.slogdet(torch.stack(columns)).logabsdet)
    assert (abs(growth) > 0.01) == (move == "collective")
    tolerance = 1e-7 if move == "units" else 1e-6
    assert growth == pytest.approx(flow(point)[1], abs=tolerance)


@NETWORKS
@BOTH
def test_joint_law_of_activities_and_labels_is_left_alone(
    move: str, kind: Kind, activation: ActivationName
) -> None:
    """Geweke's (2004) joint test: networks from the prior, labels drawn from them, then trajectories.

    Given their labels the activities are a draw of the posterior. After any number of accepted or
    rejected trajectories each network, its labels forgotten, is again one from the prior. 3000 networks
    at N = 8; kernels and their squares, paired with where each network began.
    """
    networks_, width, kappa = 3000, 8, 0.5
    target = density(rotation(4, {2, 4})[0], kind, activation, width, kappa, PRIOR)
    position = untrained(target, networks_)
    # Proposals are reversible only if the mass does not depend on the state.
    factor = whitened(target, untrained(target, 1, seed=20))[0].expand(networks_, -1, -1)
    found = marginal.moments(target, position, marginal.activations(target, position)[1])
    noise = torch.linalg.cholesky(found.noisy / width)
    target = replace(target, labels=noise @ normal(networks_, 2, 1, seed=7))
    root = torch.eye(collective.count(target.dimension)).double() / (2 * width) ** 0.5
    z = adaptation.whitened(position, factor)
    step = torch.full((networks_,), 0.35, dtype=torch.float64)
    accepted = 0.0
    for sweep in range(6):
        proposal, _, _, error = trajectory(
            move, target, z, momenta(move, z, 30 + sweep), factor, root.expand(networks_, -1, -1), step, 3
        )  # fmt: skip
        stream = torch.Generator().manual_seed(sweep)
        taken = torch.rand(networks_, generator=stream, dtype=torch.float64) < (-error).exp()
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


# --- collective moves -------------------------------------------------------------------------


def test_components_are_those_along_an_orthonormal_basis() -> None:
    first, second = normal(2, 4, 4)
    symmetric = 0.5 * (first + first.mT)
    found = collective.to_components(first)
    assert found.shape == (collective.count(4),)
    torch.testing.assert_close(collective.to_matrix(found, 4), symmetric)
    inner = found @ collective.to_components(second)
    torch.testing.assert_close(inner, (symmetric * second).sum())


@pytest.mark.parametrize("activation", ["linear", "erf", "relu"])
@KINDS
def test_collective_force_is_the_slope_of_the_energy_and_the_volume(
    kind: Kind, activation: ActivationName
) -> None:
    """By central differences along z exp(s X) with a random symmetric X."""
    target = density(TASKS["sequence"], kind, activation, 12)
    factor, z = whitened(target, untrained(target, 3))
    components = normal(collective.count(target.dimension), seed=4)
    matrix, step = collective.to_matrix(components, target.dimension), 1e-5

    def value(s: float) -> Tensor:
        moved = z @ torch.linalg.matrix_exp(s * matrix) @ factor.mT
        return marginal.energy(target, moved) - s * target.width * matrix.trace()

    slope = -(value(step) - value(-step)) / (2 * step)
    found = collective.force(target, z, factor) @ components
    torch.testing.assert_close(found, slope, rtol=1e-6, atol=1e-6)


@KINDS
def test_few_rows_stand_for_all_units_of_a_linear_network(kind: Kind) -> None:
    """Force, energy and trajectory of z depend on z^T z only, and units drawn for it have that."""
    target = density(TASKS["sequence"], kind, "linear", 40)
    factor, z = whitened(target, untrained(target, 3))
    rows = torch.linalg.cholesky(z.mT @ z).mT
    assert rows.shape == (3, 4, 4)
    ends = []
    for each in (z, rows):
        root, step = collective.preconditioner(target, each, factor), torch.full((3,), 0.1).double()
        velocity = momenta("collective", z, 6)
        ends.append(trajectory("collective", target, each, velocity, factor, root, step, 5))
    (there, *first, error), (there_, *second, error_) = ends
    torch.testing.assert_close(there.mT @ there, there_.mT @ there_)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(error, error_, rtol=0, atol=1e-8)
    drawn = marginal.draw_units(there_, normal(3, 40, 4, seed=8))
    assert drawn.shape == there.shape
    torch.testing.assert_close(drawn.mT @ drawn, there.mT @ there)


def test_units_drawn_for_a_kernel_are_uniform() -> None:
    """Every entry of O has mean 0 and variance 1 / N, and fourth moment 3 / (N (N + 2))."""
    width, count = 6, 20000
    drawn = marginal.draw_units(torch.eye(2).double(), normal(count, width, 2, seed=2)).numpy()
    for power, expected in ((1, 0.0), (2, 1 / width), (4, 3 / (width * (width + 2)))):
        values = drawn**power
        assert_z(values.mean(axis=0), expected, values.std(axis=0) / np.sqrt(count))


@ACTIVATIONS
def test_mass_is_the_curvature_of_the_energy(activation: ActivationName) -> None:
    """<X, A X> against second differences along z exp(s X), where all curvatures are positive."""
    target = density(TASKS["sequence"], "rnn", activation, 400, kappa=5.0)
    factor, z = whitened(target, untrained(target, 2))
    z = collective.orthonormal(z) * target.width**0.5
    torch.testing.assert_close(z.mT @ z, 400.0 * torch.eye(4).double().expand(2, -1, -1))
    mass = torch.linalg.inv(collective.preconditioner(target, z, factor)).matrix_power(2)
    assert torch.linalg.eigvalsh(mass).min() > 5 * collective.SMALLEST_CURVATURE * 2 * target.width
    components = normal(collective.count(4), seed=4)
    matrix, step = collective.to_matrix(components, 4), 1e-3
    ahead, here, behind = (
        marginal.energy(target, z @ torch.linalg.matrix_exp(s * matrix) @ factor.mT)
        for s in (step, 0.0, -step)
    )
    found = torch.einsum("i,cij,j->c", components, mass, components)
    torch.testing.assert_close(found, (ahead - 2 * here + behind) / step**2, rtol=1e-4, atol=0.0)


# --- its law ----------------------------------------------------------------------------------


def drawn_kernel(run: Run) -> Estimate:
    task, kernels = run.tasks[0], draw(run)["kernel"].to_numpy()
    signs = branch_signs(kernels, task, run.architecture)
    reflected = reflect_kernel(kernels, signs, reflection(task, run.architecture))
    return estimate(reflected[:, :, 0, 0])


@pytest.mark.parametrize("ratio", [0.5, 4.0])
@KINDS
def test_exact_sampler_agrees_with_the_theory_to_order_one_over_n(kind: Kind, ratio: float) -> None:
    """Both phases at N = 256: H within errors of theory + D/N, up to a remainder of 8 D/N^2."""
    width = 256
    run = exact_run(
        ratio * critical_signal(4, PRIOR, KAPPA), kind=kind, width=width, warm_up=150, draws=500,
        leapfrog_steps=16,
    )  # fmt: skip
    problem = linear_problem(run.tasks[0], run.architecture, run.kappa)
    kernel = search.stationary_points(problem)[0].kernel
    correction = finite_width.kernel_correction(problem, kernel)
    found = drawn_kernel(run)
    assert (np.diag(found.rhat) < 1.05).all()
    upper = np.triu_indices(4)
    error = found.standard_error + 8.0 / 3.0 * np.abs(correction) / width**2
    assert_z(found.mean[upper], (kernel + correction / width)[upper], error[upper])


@KINDS
def test_exact_sampler_agrees_with_sgld(kind: Kind) -> None:
    """The same posterior at N = 64, kappa = 1, from two samplers that share no algorithm.

    SGLD's standard errors are several times those of the exact sampler's 400 draws of each chain.
    """
    signal = 2.0 * critical_signal(4, PRIOR, 1.0)
    exact = drawn_kernel(exact_run(signal, kind=kind, kappa=1.0, width=64))
    run = endpoint_run(
        signal, kind=kind, kappa=1.0, width=64, step_size=4e-3, burn_in=10.0, duration=40.0, draws=200,
        chains=4,
    )  # fmt: skip
    sgld = drawn_kernel(run)
    upper = np.triu_indices(4)
    # The step-size bias of a free weight is eta / 2 of its variance, t + 1 of which enter H^(tt).
    bias = 0.5 * 4e-3 * (1.0 + np.arange(4)) * np.diag(exact.mean)
    error = np.hypot(exact.standard_error, sgld.standard_error) + np.diag(bias)
    assert_z(sgld.mean[upper], exact.mean[upper], error[upper])


@KINDS
def test_weights_given_the_activities_produce_them(kind: Kind) -> None:
    run = exact_run(3.0, kind=kind, draws=8, spectra=4, keep_weights=2)
    task, samples = run.tasks[0], draw(run)
    names = ("recurrent", "input_weights", "readout")
    weights = Weights(*(torch.as_tensor(samples[name][:, -1].to_numpy()) for name in names))
    target = posterior.build([task], run.architecture, run.kappa, CPU, torch.float64)
    activities = networks.forward(weights, target.inputs, run.architecture)
    kernel = networks.kernel(activities.pre).numpy()
    np.testing.assert_allclose(kernel, samples["kernel"][:, -1], atol=1e-9)
    output = networks.outputs(weights, activities).mT.numpy()
    np.testing.assert_allclose(output, samples["output"][:, -1], atol=1e-9)
    np.testing.assert_array_equal(samples["kept_draw"], [3, 7])
    assert samples["eigenvalue"].shape == (4, 4, run.architecture.weight_matrices, 32, 2)
    assert np.abs(samples["eigenvalue"]).max() > 0.5


def test_step_size_adapts_to_the_acceptance_aimed_at() -> None:
    for aimed in (0.6, 0.9):
        # Chains differ much in the steps they find; sixteen of them average over that.
        run = exact_run(
            3.0, steps=6, width=16, warm_up=300, draws=200, acceptance=aimed, leapfrog_steps=3, chains=16
        )  # fmt: skip
        assert draw(run).attrs["acceptance"] == pytest.approx(aimed, abs=0.12)


# --- nonlinear networks -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def figure_2() -> tuple[StationaryPoint, dict[int, Array]]:
    """Theory and exact sampler for the erf network of figure 2 at three widths."""
    architecture = Architecture(kind="rnn", activation="erf", steps=10)
    task = SinusoidTask().make(10)
    problem = nonlinear_problem(task, architecture, 0.5)
    solution = search.descend(problem, search.Quadrature(points=2**15, scramblings=4))
    drawn = {}
    for width in (64, 256, 1024):
        settings = ExactSettings(
            method="exact", width=width, warm_up=100, thinning=2, leapfrog_steps=8, draws=150,
            chains=4, start="lowest",
        )  # fmt: skip
        run = Run(
            id="test/fig2", seed=5, device="cpu", architecture=architecture, kappa=0.5,
            task=SinusoidTask(), sampler=settings,
        )  # fmt: skip
        drawn[width] = draw(run, solution.h)["activation_kernel"].to_numpy()
    return solution, drawn


def test_kernel_of_activations_tends_to_the_nonlinear_theory(
    figure_2: tuple[StationaryPoint, dict[int, Array]],
) -> None:
    """Phi at N = 1024 against the saddle point: two codes that share neither method nor formula.

    The 1/N term is taken from N = 64, an estimate of it whose own error counts.
    """
    solution, drawn = figure_2
    coarse, fine = (estimate(drawn[width][:, :, 0, 0]) for width in (64, 1024))
    upper = np.triu_indices(10)
    correction = (coarse.mean - solution.phi) * 64 / 1024
    error = np.hypot(fine.standard_error, coarse.standard_error * 64 / 1024)
    error = np.hypot(error, solution.phi_error)
    assert_z(fine.mean[upper], (solution.phi + correction)[upper], error[upper])


def test_alignment_with_the_theory_tends_to_one_as_one_over_n(
    figure_2: tuple[StationaryPoint, dict[int, Array]],
) -> None:
    solution, drawn = figure_2
    reference = kernel_axes(solution.phi, 1, 10)
    found = [estimate(alignment(drawn[n], reference)) for n in drawn]
    missing = [1.0 - float(one.mean) for one in found]
    exponent = np.polyfit(np.log(list(drawn)), np.log(missing), 1)[0]
    assert exponent == pytest.approx(-1.0, abs=0.1)
