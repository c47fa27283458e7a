"""The nonlinear kernel theory: reference values, exact limits, derivatives, quadrature errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from conftest import KAPPA, assert_z, given_task, lowest, rotation, second_order
from scipy import special, stats
from scipy.stats import qmc

from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.task import Task
from weightsharing.model.tasks import EndpointTask
from weightsharing.theory import integral, saddle
from weightsharing.theory.point import GRADIENT_TOLERANCE, StationaryPoint
from weightsharing.theory.problem import (
    NonlinearProblem,
    linear_problem,
    nonlinear_problem,
    predict,
)
from weightsharing.theory.search import QUADRATURE, Quadrature, descend, stationary_points
from weightsharing.theory.solve import solve
from weightsharing.theory.symmetric import pack

STEPS = 10
QUICK = Quadrature(points=2**14, scramblings=8)
KINDS = pytest.mark.parametrize("kind", ["rnn", "dnn"])


def network(kind: Kind, steps: int, activation: ActivationName = "erf") -> Architecture:
    return Architecture(kind=kind, activation=activation, steps=steps)


def figure_2(kappa: float) -> tuple[NonlinearProblem, Array]:
    task, targets = rotation(STEPS, set(range(1, STEPS + 1)))
    return nonlinear_problem(task, network("rnn", STEPS), kappa), targets


def mixed_task(steps: int = 3, patterns: int = 2) -> Task:
    """Inputs and supervision at several times, nothing special about it."""
    generator = np.random.default_rng(4)
    supervised = np.zeros((patterns, steps), dtype=bool)
    supervised[0, 1:] = supervised[1:, 0] = supervised[:, -1] = True
    inputs = generator.normal(size=(patterns, steps, 3))
    return Task(inputs, generator.normal(size=(patterns, steps)), supervised)


def minimum(problem: NonlinearProblem, points: int, seed: int) -> tuple[integral.Expansion, Array]:
    """The minimum from the prior kernel at fixed points, and its proposal."""
    normal = integral.deviates(problem.dimension, points, np.random.default_rng(seed))
    reached = saddle.minimise(problem, normal, integral.prior_kernel(problem, points))
    assert reached is not None
    return reached


def upper(matrix: Array) -> Array:
    """The independent entries of a kernel."""
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def assert_same(one: StationaryPoint, other: StationaryPoint) -> None:
    """Phi and S of two solutions within the errors of both, which 8 scramblings give."""
    assert_z(
        upper(one.phi), upper(other.phi), np.hypot(*map(upper, (one.phi_error, other.phi_error))), 7
    )
    assert_z(
        np.asarray(one.action), other.action, np.hypot(one.action_error, other.action_error), 7
    )


# --- figure 2 ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("kappa", "action"), [(0.5, 1.62367), (0.1, 1.84602)])
def test_figure_2_action_and_stationarity_by_an_independent_quadrature(
    kappa: float, action: float
) -> None:
    """Moments and S written out here: Halton points, a wider proposal, none of the module's code.

    The actions were found this way with 4 million points, to 1e-5. The saddle-point conditions
    are tested within the errors of both quadratures added in quadrature, S as well.
    """
    problem, targets = figure_2(kappa)
    point = descend(problem)
    assert point.converged
    assert point.is_minimum
    assert point.fraction > 0.8
    assert point.action_error < 1e-4
    error = np.hypot(point.action_error, 1e-5)
    assert_z(np.asarray(point.action), action, error, QUADRATURE.scramblings - 1)

    c = np.zeros((STEPS, STEPS))
    c[1:, 1:] = point.phi[:-1, :-1]
    c[0, 0] = 1.0
    values, vectors = np.linalg.eigh(1.15 * point.h + 0.1 * c)
    root = (vectors * np.sqrt(values))[:, ::-1]
    inverse = np.linalg.inv(c)
    integrals, kernels, second = [], [], []
    for repeat in range(8):
        normal = special.ndtri(qmc.Halton(STEPS, scramble=True, seed=repeat).random(2**15))
        h = normal @ root.T
        phi = special.erf(0.5 * np.sqrt(np.pi) * h)
        exponent = ((phi @ point.q) * phi).sum(1) - ((h @ inverse) * h).sum(1) + (normal**2).sum(1)
        scale = np.sqrt(np.prod(values) / np.linalg.det(c))
        weight = scale * np.exp(0.5 * exponent)
        integrals.append(weight.mean())
        kernels.append((phi * weight[:, None]).T @ phi / weight.sum())
        second.append((h * weight[:, None]).T @ h / weight.sum())

    for moments, expected, its_error in (
        (kernels, point.phi, point.phi_error), (second, point.h, point.h_error),
    ):  # fmt: skip
        error = np.hypot(stats.sem(moments), its_error)
        assert_z(upper(np.mean(moments, axis=0)), upper(expected), upper(error), 7)
    answer = np.linalg.solve(kappa * np.eye(STEPS) + point.phi, targets)
    value = 0.5 * targets @ answer + 0.5 * np.sum(point.q * point.phi) - np.log(np.mean(integrals))
    error = np.hypot(stats.sem(integrals) / np.mean(integrals), point.action_error)
    assert_z(np.asarray(value), point.action, error, 7)


def test_figure_2_has_one_stationary_point() -> None:
    (point,) = stationary_points(
        figure_2(0.5)[0], quadrature=Quadrature(points=2**14, scramblings=2)
    )
    assert point.converged


# --- exact limits -----------------------------------------------------------------------------


@KINDS
def test_identity_is_the_linear_theory(kind: Kind) -> None:
    """Several supervised times and inputs. Second moments of the points are exact: so is the result.

    The proposal remains, which differs from H by the tolerance of its adaptation, times the quadrature
    error: below 1e-3 for Phi. The action is stationary and closer.
    """
    task, architecture = mixed_task(), network(kind, 3, "linear")
    problem = linear_problem(task, architecture, 0.3)
    expected = lowest(problem)
    nonlinear = nonlinear_problem(task, architecture, 0.3)
    point = descend(nonlinear, QUICK)
    assert point.converged
    floor = 1e-6  # of either solver
    assert_z(upper(point.phi), upper(expected.phi), np.hypot(upper(point.phi_error), floor), 7)
    assert_z(np.asarray(point.action), expected.action, np.hypot(point.action_error, floor), 7)
    assert point.phi_error.max() < 1e-3
    assert point.action_error < 1e-4
    np.testing.assert_allclose(point.h, point.phi, atol=1e-8)
    np.testing.assert_allclose(point.q, expected.q, atol=0.01 * np.abs(expected.q).max())
    np.testing.assert_allclose(
        predict(nonlinear, expected.phi), predict(problem, expected.phi), atol=1e-10
    )


@KINDS
def test_ordered_branch_of_a_linear_network(kind: Kind) -> None:
    """Beyond the transition: the lowest solution, on the branch m > 0, and its action."""
    task = EndpointTask(labels=(np.sqrt(2 * 2.632238),)).make(4)
    architecture = network(kind, 4, "linear")
    expected = lowest(linear_problem(task, architecture, KAPPA))
    problem = nonlinear_problem(task, architecture, KAPPA)
    point = stationary_points(problem, quadrature=Quadrature(points=2**13, scramblings=4))[0]
    assert point.converged
    assert_z(np.asarray(point.action), expected.action, np.hypot(point.action_error, 1e-6), 3)
    error = np.hypot(upper(point.phi_error), 1e-5)
    assert_z(upper(point.phi), upper(expected.kernel), error, 3)


def arcsine(c: Array) -> Array:
    """E[erf(a') erf(b')] for Gaussian a, b of covariance c and a' = sqrt(pi)/2 a."""
    scaled = 0.25 * np.pi * c
    norm = np.sqrt(np.outer(1 + 2 * np.diag(scaled), 1 + 2 * np.diag(scaled)))
    return np.asarray(2 / np.pi * np.arcsin(2 * scaled / norm))


def arccosine(c: Array) -> Array:
    """E[relu(a) relu(b)] for Gaussian a, b of covariance c."""
    scale = np.sqrt(np.outer(np.diag(c), np.diag(c)))
    angle = np.arccos(np.clip(c / scale, -1.0, 1.0))
    return np.asarray(scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi))


@KINDS
@pytest.mark.parametrize(("name", "closed"), [("erf", arcsine), ("relu", arccosine)])
def test_without_data_the_kernel_is_the_closed_recursion(
    kind: Kind, name: ActivationName, closed: Callable[[Array], Array]
) -> None:
    """Two patterns, the same input at all times. Quadrature error below 1e-4 at 2^16 points."""
    inputs = np.repeat(np.array([[[1.0, 0.2]], [[-0.4, 0.9]]]), 3, axis=1)
    task = given_task(inputs, np.zeros((2, 3)))
    problem = nonlinear_problem(task, network(kind, 3, name), KAPPA)
    flat = inputs.transpose(1, 0, 2).reshape(6, 2)
    mask = np.ones((6, 6)) if kind == "rnn" else np.kron(np.eye(3), np.ones((2, 2)))
    shift = np.eye(6, k=-2)
    c = flat @ flat.T
    for _ in range(3):
        phi = closed(c)
        c = mask * (shift @ phi @ shift.T) + flat @ flat.T
    np.testing.assert_allclose(integral.prior_kernel(problem), phi, rtol=0, atol=1e-4)


# --- derivatives ------------------------------------------------------------------------------


@KINDS
def test_derivatives_match_finite_differences(kind: Kind) -> None:
    """At a random (F, q), fixed points: the error of central differences is of second order."""
    generator = np.random.default_rng(8)
    problem = nonlinear_problem(mixed_task(), network(kind, 3), 0.3)
    size = 6
    kernel = integral.prior_kernel(problem, 1024) + 0.05 * np.eye(size)
    normal = integral.deviates(size, 1024, generator)
    points = integral.sample(problem, normal, integral.covariance(problem, kernel))
    raw = generator.normal(size=(3, size, size))
    q, turn, lean = 0.1 * (raw + np.swapaxes(raw, 1, 2))
    local = integral.expand(problem, points, kernel, q)
    assert local.hessian is not None
    turn = 0.1 * turn

    def at(step: float) -> integral.Expansion:
        return integral.expand(problem, points, kernel + step * turn, q + step * lean)

    def packed(one: integral.Expansion) -> Array:
        return np.concatenate([pack(one.gradient), pack(one.gradient_q)])

    direction = np.concatenate([pack(turn), pack(lean)])
    bend = local.hessian @ direction
    second_order(lambda s: at(s).action, packed(local) @ direction, 1e-2)
    assert second_order(lambda s: packed(at(s)), bend, 1e-2) < 1e-4 * np.linalg.norm(bend)


def test_action_is_stationary_at_the_solution() -> None:
    """With fixed points: S changes by second order of a step in Phi and Q."""
    problem, _ = figure_2(0.5)
    local, proposal = minimum(problem, 4096, seed=1)
    assert local.residual < GRADIENT_TOLERANCE
    normal = integral.deviates(problem.dimension, 4096, np.random.default_rng(1))
    points = integral.sample(problem, normal, proposal)
    raw = np.random.default_rng(2).normal(size=(2, STEPS, STEPS))
    turn, lean = raw + np.swapaxes(raw, 1, 2)

    def value(step: float) -> float:
        kernel, conjugate = local.kernel + step * 0.02 * turn, local.conjugate + step * lean
        return integral.expand(problem, points, kernel, conjugate).action

    # The central difference of a stationary function contains the third derivative only.
    second_order(value, 0.0, 1e-2, rel=0.2)


# --- quadrature -------------------------------------------------------------------------------


def test_independent_scramblings_agree_and_errors_fall_faster_than_monte_carlo() -> None:
    problem, _ = figure_2(0.5)
    sizes = 2 ** np.arange(11, 17, 1)
    local, proposal = minimum(problem, 2**13, seed=0)
    spreads = []
    for size in sizes:
        means = []
        for seed in range(8):
            normal = integral.deviates(problem.dimension, int(size), np.random.default_rng(seed))
            points = integral.sample(problem, normal, proposal)
            means.append(integral.expand(problem, points, local.kernel, local.conjugate).moment)
        spreads.append(np.sqrt(np.var(means, axis=0, ddof=1).mean()))
    # 55 entries of 8 scramblings at 6 sizes: the exponent is known to about 0.05.
    exponent = np.polyfit(np.log(sizes), np.log(spreads), 1)[0]
    assert exponent < -0.65
    assert_same(*(descend(problem, Quadrature(2**14, scramblings=8, seed=s)) for s in (1, 2)))


# --- symmetries -------------------------------------------------------------------------------


def test_dnn_with_one_supervised_time_is_uncorrelated_between_times() -> None:
    task = EndpointTask(labels=(1.5,)).make(4)
    problem = nonlinear_problem(task, network("dnn", 4), KAPPA)
    point = descend(problem, QUICK)
    assert point.converged
    between = np.triu_indices(4, k=1)
    assert_z(point.phi[between], 0.0, point.phi_error[between], 7)
    assert point.phi_error[between].max() < 1e-3
    # Predictions are v Phi a with one a, the answer of the supervised time, of order 1.
    outputs = predict(problem, point.phi)[0]
    answer = 1.5 / (KAPPA + point.phi[-1, -1])
    assert_z(outputs[:-1], 0.0, answer * point.phi_error[:-1, -1], 7)


def test_permuted_patterns_permute_the_kernel() -> None:
    task, order = mixed_task(), [1, 0]
    permuted = Task(task.inputs[order], task.targets[order], task.supervised[order])
    one, other = (
        descend(nonlinear_problem(t, network("rnn", 3), 0.3), QUICK) for t in (task, permuted)
    )
    index = np.ix_(*[[1, 0, 3, 2, 5, 4]] * 2)
    assert_same(replace(one, phi=one.phi[index], phi_error=one.phi_error[index]), other)


def test_unreachable_directions_are_removed() -> None:
    """Input at t = 1 only: h^0 = 0, and the rest is the shorter network with input at t = 0."""
    inputs, targets = np.eye(4)[1].reshape(1, 4, 1), np.array([[np.nan, np.nan, np.nan, 1.0]])
    late, early = (
        descend(
            nonlinear_problem(task, network("rnn", task.steps), KAPPA),
            Quadrature(points=2**12, scramblings=2),
        )
        for task in (given_task(inputs, targets), given_task(inputs[:, 1:], targets[:, 1:]))
    )
    np.testing.assert_array_equal(late.phi[0], 0.0)
    np.testing.assert_allclose(late.phi[1:, 1:], early.phi, atol=1e-8)
    assert late.action == pytest.approx(early.action, abs=1e-10)


# --- refusals ---------------------------------------------------------------------------------


SILENT = given_task(np.eye(3)[1].reshape(1, 3, 1), np.zeros((1, 3)))
NO_INPUT = given_task(np.zeros((2, 3, 1)), np.ones((2, 3)))


@pytest.mark.parametrize(
    ("task", "activation", "fault"),
    [
        (mixed_task(11), None, "exact sampler"),
        (NO_INPUT, None, "all zero"),
        (SILENT, np.cos, "not supported"),
    ],
)
def test_problems_without_a_theory_are_refused(
    task: Task, activation: Callable[[Array], Array] | None, fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        nonlinear_problem(task, network("rnn", task.steps, "linear"), KAPPA, activation)


def test_refused_quadrature_and_start() -> None:
    with pytest.raises(ValueError, match="power of 2"):
        Quadrature(points=1000)
    with pytest.raises(ValueError, match="at least 2"):
        Quadrature(scramblings=1)
    problem = nonlinear_problem(mixed_task(), network("rnn", 3), KAPPA)
    with pytest.raises(ValueError, match="shape"):
        descend(problem, start=np.eye(3))
    with pytest.raises(ValueError, match="positive definite"):
        descend(problem, start=-np.eye(6))


def test_error_of_the_outputs_follows_from_that_of_the_kernel() -> None:
    """Against the spread of the outputs of kernels with independent errors of that size."""
    task, rnn = mixed_task(), network("rnn", 3)
    solved = solve(task, rnn, 0.3)
    phi, error = (
        kernel_matrix(solved[f"activation_kernel{end}"].to_numpy()[0]) for end in ("", "_error")
    )
    problem, generator = nonlinear_problem(task, rnn, 0.3), np.random.default_rng(2)
    drawn = []
    for _ in range(2000):
        noise = np.triu(generator.standard_normal(phi.shape) * error)
        drawn.append(predict(problem, phi + noise + np.triu(noise, 1).T))
    expected = solved["prediction_error"].to_numpy()[0]
    assert (expected > 0).all()
    # Standard deviations of 2000 draws have errors of 1.6 %.
    np.testing.assert_allclose(np.std(drawn, axis=0), expected, rtol=0.08)
