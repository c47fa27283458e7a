"""The nonlinear kernel theory: reference values, exact limits, derivatives, quadrature errors."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import KAPPA, assert_z, endpoint, rotation
from scipy import special
from scipy.stats import qmc
from weightsharing.theory.linear import full_kernel
from weightsharing.theory.neuron import NonlinearProblem, covariance, nonlinear_problem
from weightsharing.theory.nonlinear import Quadrature
from weightsharing.theory.packed import pack

from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.tasks import EndpointTask, Task, make_task
from weightsharing.theory import integral, linear, nonlinear, saddle, search

STEPS = 10


def figure_2(kappa: float) -> tuple[NonlinearProblem, Array]:
    task, targets = rotation(STEPS, set(range(1, STEPS + 1)))
    architecture = Architecture(kind="rnn", activation="erf", steps=STEPS)
    return nonlinear_problem(task, architecture, kappa), targets


def mixed_task(steps: int = 3, patterns: int = 2) -> Task:
    """Inputs and supervision at several times, nothing special about it."""
    generator = np.random.default_rng(4)
    supervised = np.zeros((patterns, steps), dtype=bool)
    supervised[0, 1:] = supervised[1:, 0] = supervised[:, -1] = True
    return Task(
        generator.normal(size=(patterns, steps, 3)),
        generator.normal(size=(patterns, steps)),
        supervised,
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
    found = nonlinear.solve(problem)
    assert found.converged
    assert found.is_minimum
    assert found.fraction > 0.8
    assert found.action_error < 1e-4
    assert_z(
        np.asarray(found.action), action, np.hypot(found.action_error, 1e-5), found.scramblings - 1
    )

    c = np.zeros((STEPS, STEPS))
    c[1:, 1:] = found.phi[:-1, :-1]
    c[0, 0] = 1.0
    values, vectors = np.linalg.eigh(1.15 * found.h + 0.1 * c)
    root = (vectors * np.sqrt(values))[:, ::-1]
    inverse = np.linalg.inv(c)
    integrals, kernels, second = [], [], []
    for repeat in range(8):
        normal = special.ndtri(qmc.Halton(STEPS, scramble=True, seed=repeat).random(2**15))
        h = normal @ root.T
        phi = special.erf(0.5 * np.sqrt(np.pi) * h)
        exponent = ((phi @ found.q) * phi).sum(1) - ((h @ inverse) * h).sum(1) + (normal**2).sum(1)
        scale = np.sqrt(np.prod(values) / np.linalg.det(c))
        weight = scale * np.exp(0.5 * exponent)
        integrals.append(weight.mean())
        kernels.append((phi * weight[:, None]).T @ phi / weight.sum())
        second.append((h * weight[:, None]).T @ h / weight.sum())

    def error(values: list[Array]) -> Array:
        return np.asarray(np.std(values, axis=0, ddof=1) / np.sqrt(8))

    upper = np.triu_indices(STEPS)
    assert_z(
        np.mean(kernels, axis=0)[upper], found.phi[upper],
        np.hypot(error(kernels), found.phi_error)[upper], 7,
    )  # fmt: skip
    assert_z(
        np.mean(second, axis=0)[upper], found.h[upper],
        np.hypot(error(second), found.h_error)[upper], 7,
    )  # fmt: skip
    answer = np.linalg.solve(kappa * np.eye(STEPS) + found.phi, targets)
    value = 0.5 * targets @ answer + 0.5 * np.sum(found.q * found.phi) - np.log(np.mean(integrals))
    assert_z(
        np.asarray(value),
        found.action,
        np.hypot(error(integrals) / np.mean(integrals), found.action_error),
        7,
    )


def test_figure_2_has_one_stationary_point() -> None:
    problem, _ = figure_2(0.5)
    points = nonlinear.stationary_points(problem, Quadrature(points=2**14, scramblings=2))
    assert len(points) == 1
    assert points[0].converged


# --- exact limits -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_identity_is_the_linear_theory(kind: Kind) -> None:
    """Several supervised times and inputs. Second moments of the points are exact: so is the result.

    What is left is the proposal, which differs from H by the tolerance of its adaptation, times
    the quadrature error: below 1e-3 for Phi, the action is stationary and closer.
    """
    task = mixed_task()
    architecture = Architecture(kind=kind, steps=3)
    problem = linear.linear_problem(task, architecture, 0.3)
    expected = search.stationary_points(problem)[0]
    kernel = kernel_matrix(full_kernel(problem, expected.kernel))
    own = nonlinear_problem(task, architecture, 0.3)
    found = nonlinear.solve(own, Quadrature(points=2**14, scramblings=8))
    assert found.converged
    upper = np.triu_indices(6)
    floor = 1e-6  # of either solver
    assert_z(found.phi[upper], kernel[upper], np.hypot(found.phi_error, floor)[upper], 7)
    assert_z(np.asarray(found.action), expected.action, np.hypot(found.action_error, floor), 7)
    assert found.phi_error.max() < 1e-3
    assert found.action_error < 1e-4
    np.testing.assert_allclose(found.h, found.phi, atol=1e-8)
    np.testing.assert_allclose(
        nonlinear.predict(own, kernel), linear.predict(problem, expected.kernel), atol=1e-10
    )


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_ordered_branch_of_a_linear_network(kind: Kind) -> None:
    """Beyond the transition: the lowest solution, on the branch m > 0, and its action."""
    problem = endpoint(kind, 4, [np.sqrt(2 * 2.632238)])
    expected = search.stationary_points(problem)[0]
    task = make_task(EndpointTask(labels=(np.sqrt(2 * 2.632238),)), 4)
    own = nonlinear_problem(task, Architecture(kind=kind, steps=4), KAPPA)
    found = nonlinear.stationary_points(own, Quadrature(points=2**13, scramblings=4))[0]
    assert found.converged
    assert_z(np.asarray(found.action), expected.action, np.hypot(found.action_error, 1e-6), 3)
    upper = np.triu_indices(4)
    error = np.hypot(found.phi_error, 1e-5)[upper]
    assert_z(found.phi[upper], expected.kernel[upper], error, 3)


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


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
@pytest.mark.parametrize(("name", "closed"), [("erf", arcsine), ("relu", arccosine)])
def test_without_data_the_kernel_is_the_closed_recursion(
    kind: Kind, name: str, closed: object
) -> None:
    """Two patterns, the same input at all times. Quadrature error below 1e-4 at 2^16 points."""
    assert callable(closed)
    inputs = np.repeat(np.array([[[1.0, 0.2]], [[-0.4, 0.9]]]), 3, axis=1)
    task = Task(inputs, np.zeros((2, 3)), np.ones((2, 3), dtype=bool))
    architecture = Architecture(kind=kind, steps=3)
    problem = nonlinear_problem(task, architecture, KAPPA, name)
    flat = inputs.transpose(1, 0, 2).reshape(6, 2)
    mask = np.ones((6, 6)) if kind == "rnn" else np.kron(np.eye(3), np.ones((2, 2)))
    shift = np.eye(6, k=-2)
    c = flat @ flat.T
    for _ in range(3):
        phi = closed(c)
        c = mask * (shift @ phi @ shift.T) + flat @ flat.T
    np.testing.assert_allclose(integral.prior_kernel(problem), phi, rtol=0, atol=1e-4)


# --- derivatives ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_derivatives_match_finite_differences(kind: Kind) -> None:
    """At a random (F, q), fixed points: the error of central differences is of second order."""
    generator = np.random.default_rng(8)
    problem = nonlinear_problem(
        mixed_task(), Architecture(kind=kind, steps=3, activation="erf"), 0.3
    )
    size = 6
    kernel = integral.prior_kernel(problem, 1024) + 0.05 * np.eye(size)
    normal = integral.deviates(size, 1024, generator)
    points = integral.sample(problem, normal, covariance(problem, kernel))
    raw = generator.normal(size=(3, size, size))
    q, turn, lean = 0.1 * (raw + np.swapaxes(raw, 1, 2))
    local = integral.expand(problem, points, kernel, q)
    assert local.hessian is not None
    turn = 0.1 * turn

    def at(step: float) -> integral.Local:
        return integral.expand(problem, points, kernel + step * turn, q + step * lean)

    def packed(one: integral.Local) -> Array:
        return np.concatenate([pack(one.gradient), pack(one.gradient_q)])

    direction = np.concatenate([pack(turn), pack(lean)])
    slopes = [(at(s).action - at(-s).action) / (2 * s) for s in (1e-2, 1e-3)]
    gaps = [abs(slope - packed(local) @ direction) for slope in slopes]
    assert gaps[0] / gaps[1] == pytest.approx(100.0, rel=0.1)
    bends = [(packed(at(s)) - packed(at(-s))) / (2 * s) for s in (1e-2, 1e-3)]
    misses = [float(np.linalg.norm(bend - local.hessian @ direction)) for bend in bends]
    assert misses[0] / misses[1] == pytest.approx(100.0, rel=0.1)
    assert misses[1] < 1e-4 * np.linalg.norm(local.hessian @ direction)


def test_action_is_stationary_at_the_solution() -> None:
    """With fixed points: S changes by second order of a step in Phi and Q."""
    problem, _ = figure_2(0.5)
    normal = integral.deviates(problem.dimension, 4096, np.random.default_rng(1))
    kernel = integral.prior_kernel(problem, 4096)
    found = saddle.minimise(
        problem, normal, kernel, np.zeros_like(kernel), covariance(problem, kernel)
    )
    assert found is not None
    local, proposal = found
    assert max(local.residuals) < saddle.GRADIENT_TOLERANCE
    points = integral.sample(problem, normal, proposal)
    raw = np.random.default_rng(2).normal(size=(2, STEPS, STEPS))
    turn, lean = raw + np.swapaxes(raw, 1, 2)

    def change(step: float) -> float:
        ahead, behind = (
            integral.expand(
                problem, points, local.kernel + s * 0.02 * turn, local.conjugate + s * lean
            ).action
            for s in (step, -step)
        )
        return abs(ahead - behind) / (2 * step)

    # The central difference of a stationary function is of the third derivative alone.
    assert change(1e-3) / change(1e-2) == pytest.approx(0.01, rel=0.2)


# --- quadrature -------------------------------------------------------------------------------


def test_independent_scramblings_agree_and_errors_fall_faster_than_monte_carlo() -> None:
    problem, _ = figure_2(0.5)
    sizes = 2 ** np.arange(11, 17, 1)
    normal = integral.deviates(problem.dimension, 2**13, np.random.default_rng(0))
    kernel = integral.prior_kernel(problem, 2**13)
    reference = saddle.minimise(
        problem, normal, kernel, np.zeros_like(kernel), covariance(problem, kernel)
    )
    assert reference is not None
    local, proposal = reference
    spreads = []
    for size in sizes:
        means = []
        for seed in range(8):
            points = integral.sample(
                problem,
                integral.deviates(problem.dimension, int(size), np.random.default_rng(seed)),
                proposal,
            )
            means.append(integral.expand(problem, points, local.kernel, local.conjugate).moment)
        spreads.append(np.sqrt(np.var(means, axis=0, ddof=1).mean()))
    # 55 entries of 8 scramblings at 6 sizes: the exponent is known to about 0.05.
    exponent = np.polyfit(np.log(sizes), np.log(spreads), 1)[0]
    assert exponent < -0.65

    one, other = (
        nonlinear.solve(problem, Quadrature(points=2**14, scramblings=8, seed=s)) for s in (1, 2)
    )
    upper = np.triu_indices(STEPS)
    assert_z(one.phi[upper], other.phi[upper], np.hypot(one.phi_error, other.phi_error)[upper], 7)
    assert_z(
        np.asarray(one.action), other.action, np.hypot(one.action_error, other.action_error), 7
    )


# --- symmetries -------------------------------------------------------------------------------


def test_dnn_with_one_supervised_time_is_uncorrelated_between_times() -> None:
    task = make_task(EndpointTask(labels=(1.5,)), 4)
    problem = nonlinear_problem(task, Architecture(kind="dnn", steps=4, activation="erf"), KAPPA)
    found = nonlinear.solve(problem, Quadrature(points=2**14, scramblings=8))
    assert found.converged
    upper = np.triu_indices(4, k=1)
    assert_z(found.phi[upper], 0.0, found.phi_error[upper], 7)
    assert found.phi_error[upper].max() < 1e-3
    # Predictions are v Phi a with one a, the answer of the supervised time, of order 1.
    outputs = nonlinear.predict(problem, found.phi)[0]
    answer = 1.5 / (KAPPA + found.phi[-1, -1])
    assert_z(outputs[:-1], 0.0, answer * found.phi_error[:-1, -1], 7)


def test_permuted_patterns_permute_the_kernel() -> None:
    task = mixed_task()
    order = [1, 0]
    permuted = Task(task.inputs[order], task.targets[order], task.supervised[order])
    architecture = Architecture(kind="rnn", steps=3, activation="erf")
    quadrature = Quadrature(points=2**14, scramblings=8)
    one, other = (
        nonlinear.solve(nonlinear_problem(t, architecture, 0.3), quadrature)
        for t in (task, permuted)
    )
    index = np.array([1, 0, 3, 2, 5, 4])
    upper = np.triu_indices(6)
    error = np.hypot(one.phi_error[np.ix_(index, index)], other.phi_error)[upper]
    assert_z(one.phi[np.ix_(index, index)][upper], other.phi[upper], error, 7)
    assert_z(
        np.asarray(one.action), other.action, np.hypot(one.action_error, other.action_error), 7
    )


def test_unreachable_directions_are_removed() -> None:
    """Input at t = 1 only: h^0 = 0, and the rest is the shorter network with input at t = 0."""
    inputs = np.zeros((1, 4, 1))
    inputs[0, 1] = 1.0
    targets = np.array([[np.nan, np.nan, np.nan, 1.0]])
    late = Task(inputs, targets, np.isfinite(targets))
    early = Task(inputs[:, 1:], targets[:, 1:], np.isfinite(targets[:, 1:]))
    quadrature = Quadrature(points=2**12, scramblings=2)
    found = [
        nonlinear.solve(
            nonlinear_problem(
                task, Architecture(kind="rnn", steps=task.steps, activation="erf"), KAPPA
            ),
            quadrature,
        )
        for task in (late, early)
    ]
    np.testing.assert_array_equal(found[0].phi[0], 0.0)
    np.testing.assert_allclose(found[0].phi[1:, 1:], found[1].phi, atol=1e-8)
    assert found[0].action == pytest.approx(found[1].action, abs=1e-10)


# --- refusals ---------------------------------------------------------------------------------


def test_refusals() -> None:
    architecture = Architecture(kind="rnn", steps=3)
    task = mixed_task()
    with pytest.raises(ValueError, match="exact sampler"):
        nonlinear_problem(mixed_task(11), Architecture(kind="rnn", steps=11), KAPPA)
    with pytest.raises(ValueError, match="'sine'"):
        nonlinear_problem(task, architecture, KAPPA, "sine")
    zero = Task(np.zeros((2, 3, 1)), task.targets, task.supervised)
    with pytest.raises(ValueError, match="all zero"):
        nonlinear_problem(zero, architecture, KAPPA)
    inputs = np.zeros((1, 3, 1))
    inputs[0, 1] = 1.0
    silent = Task(inputs, np.zeros((1, 3)), np.ones((1, 3), dtype=bool))
    with pytest.raises(ValueError, match="not supported"):
        nonlinear_problem(silent, architecture, KAPPA, np.cos)
    with pytest.raises(ValueError, match="power of 2"):
        Quadrature(points=1000)
    problem = nonlinear_problem(task, architecture, KAPPA, "erf")
    with pytest.raises(ValueError, match="shape"):
        nonlinear.solve(problem, start=np.eye(3))
