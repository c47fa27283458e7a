"""The linear kernel theory: reference values, derivatives, searches against each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pymanopt
import pytest
from conftest import (
    KAPPA,
    PRIOR,
    assert_z,
    endpoint,
    given_task,
    lowest,
    posterior_mean,
    prior_network_kernels,
    rotation,
    second_order,
)
from pymanopt.manifolds import SymmetricPositiveDefinite
from pymanopt.optimizers import ConjugateGradient
from scipy import optimize
from scipy.sparse.linalg import eigsh

from weightsharing.errors import SolverError
from weightsharing.model.activations import ActivationName
from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array, kernel_axes, kernel_matrix
from weightsharing.model.task import Task
from weightsharing.theory import action, minimiser, search
from weightsharing.theory.finite_width import kernel_correction
from weightsharing.theory.problem import (
    LinearProblem,
    coherence,
    full_kernel,
    linear_problem,
    predict,
)
from weightsharing.theory.symmetric import pack, unpack
from weightsharing.theory.transition import critical_signal

STRONG, WEAK = [1.0, -1.0, 1.0, -1.0], [0.25, -0.25, 0.25, -0.25]
KINDS = pytest.mark.parametrize("kind", ["rnn", "dnn"])


def digits(value: Array | float, reference: Array | list[float] | float, unit: float) -> None:
    """Equal to every digit given: half a unit in the last place."""
    np.testing.assert_allclose(value, reference, rtol=0, atol=0.5 * unit * (1 + 1e-6))


# --- reference values -------------------------------------------------------------------------


def test_references_at_twice_the_critical_signal() -> None:
    label = np.sqrt(2 * critical_signal(4, PRIOR, KAPPA))
    problem = endpoint("rnn", 4, [label])
    point = lowest(problem)
    digits(point.action, 0.629914, 1e-6)
    digits(np.diag(point.kernel), [1.56676, 2.67437, 4.99098, 9.08761], 1e-5)
    digits(coherence(problem, point.kernel), 4.56549, 1e-5)
    digits(point.kernel[1, 0], 0.53138, 1e-5)
    kernel = lowest(endpoint("dnn", 4, [label])).kernel
    digits(np.diag(kernel), [1.66599, 2.77551, 4.62397, 7.70347], 1e-5)
    np.testing.assert_allclose(kernel - np.diag(np.diag(kernel)), 0.0, atol=1e-10)


def test_references_of_classification() -> None:
    rnn, dnn = endpoint("rnn", 8, STRONG), endpoint("dnn", 8, STRONG)
    point = lowest(rnn)
    digits(point.action, 0.261251, 1e-6)
    kernel = full_kernel(rnn, point.kernel)
    digits(np.diag(kernel[0, 0]), [1.04, 1.11, 1.25, 1.51, 1.99, 2.87, 4.42, 7.13], 1e-2)
    digits(kernel[0, 0, 7, 6], 4.54, 1e-2)
    digits(kernel[0, :, 7, 7], [7.13, -6.13, 6.13, -6.13], 1e-2)
    point = lowest(dnn)
    digits(point.action, 0.379219, 1e-6)
    digits(full_kernel(dnn, point.kernel)[0, :, 7, 7], [3.54, -2.54, 2.54, -2.54], 1e-2)
    # At a weak signal RNN and DNN coincide.
    actions = [lowest(endpoint(kind, 8, WEAK)).action for kind in ("rnn", "dnn")]
    digits(np.array(actions), 0.074429, 1e-6)
    assert actions[0] == pytest.approx(actions[1], abs=1e-9)


def test_reference_of_several_supervised_steps() -> None:
    """A rotation by 2 pi / 10 read out at {2, 4, 5, 7, 10}: action and error of the best solution."""
    steps = 10
    task, targets = rotation(steps, {2, 4, 5, 7, 10})
    problem = linear_problem(task, Architecture(kind="rnn", steps=steps), KAPPA)
    point = lowest(problem)
    digits(point.action, 0.302055, 1e-6)
    missed = (targets - predict(problem, point.h)[0])[1:]
    digits(0.5 / steps * (missed @ missed), 0.002979, 1e-6)


# --- derivatives ------------------------------------------------------------------------------


def mixed_problem(kind: Kind, generator: np.random.Generator) -> LinearProblem:
    """Two patterns, four steps, inputs and supervision at several times, nothing special about it."""
    inputs = generator.normal(size=(2, 4, 3))
    supervised = np.array([[False, True, False, True], [True, True, False, True]])
    task = Task(inputs, generator.normal(size=(2, 4)), supervised)
    return linear_problem(task, Architecture(kind=kind, steps=4), 0.3)


@KINDS
def test_gradient_and_hessian_match_finite_differences(
    kind: Kind, generator: np.random.Generator
) -> None:
    problem = mixed_problem(kind, generator)
    kernel = action.prior_kernel(problem) + 0.3 * search.random_start(problem, generator)
    frame = np.linalg.cholesky(kernel)
    raw = np.asarray(generator.standard_normal(kernel.shape))
    direction = frame @ (raw + raw.T) @ frame.T
    local = action.expand(problem, kernel)
    slope = float((local.gradient * direction).sum())
    bend = local.hessian_product(direction)

    slope_error = second_order(lambda s: action.action(problem, kernel + s * direction), slope)
    assert slope_error < 1e-5 * abs(slope)
    bend_error = second_order(lambda s: action.gradient(problem, kernel + s * direction), bend)
    assert bend_error < 1e-4 * np.linalg.norm(bend)


def test_hessian_is_symmetric_and_matches_products(generator: np.random.Generator) -> None:
    problem = mixed_problem("dnn", generator)
    kernel = search.random_start(problem, generator)
    hessian = action.hessian(problem, kernel)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-9 * np.abs(hessian).max())
    vector = np.asarray(generator.standard_normal(hessian.shape[0]))
    np.testing.assert_allclose(pack(unpack(vector)), vector)
    product = pack(action.expand(problem, kernel).hessian_product(unpack(vector)))
    np.testing.assert_allclose(hessian @ vector, product, rtol=1e-8)


# --- independent solvers ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 7, 8])
def test_random_search_and_continuation_agree_on_the_lowest_action(steps: int) -> None:
    critical = critical_signal(steps, PRIOR, KAPPA)
    generator = np.random.default_rng(steps)
    for ratio in (0.5, 0.9, 1.0, 1.2, 2.0, 4.0):
        problem = endpoint("rnn", steps, [np.sqrt(ratio * critical)])
        starts = [search.random_start(problem, generator) for _ in range(20)]
        branch = search.disordered_branch(problem)
        assert branch is not None
        searched, continued = (
            min(action.action(problem, kernel) for kernel in kernels)
            for kernels in (
                [minimiser.minimise(problem, start) for start in starts],
                [branch, search.branch_from_above(problem)],
            )
        )
        assert searched == pytest.approx(continued, abs=1e-10), f"lambda = {ratio} lambda_c"


def by_bfgs(problem: LinearProblem, start: Array) -> Array:
    """The minimum by BFGS on a Cholesky factor."""
    lower = np.tril_indices(problem.dimension)

    def factor_of(vector: Array) -> Array:
        factor = np.zeros((problem.dimension, problem.dimension))
        factor[lower] = vector
        return factor

    def value(vector: Array) -> tuple[float, Array]:
        factor = factor_of(vector)
        kernel = factor @ factor.T
        return action.action(problem, kernel), (2 * action.gradient(problem, kernel) @ factor)[
            lower
        ]

    first = np.linalg.cholesky(start)[lower]
    result = optimize.minimize(value, first, jac=True, method="BFGS", options={"gtol": 1e-7})
    return np.asarray(factor_of(result.x) @ factor_of(result.x).T)


def by_riemannian_conjugate_gradients(problem: LinearProblem, start: Array) -> Array:
    """The minimum by pymanopt on the manifold of positive definite matrices."""
    manifold = SymmetricPositiveDefinite(problem.dimension)
    numpy = pymanopt.function.numpy(manifold)
    cost = numpy(lambda kernel: action.action(problem, kernel))
    gradient = numpy(lambda kernel: action.gradient(problem, kernel))
    optimiser = ConjugateGradient(verbosity=0, min_gradient_norm=1e-7)
    result = optimiser.run(
        pymanopt.Problem(manifold, cost, euclidean_gradient=gradient), initial_point=start
    )
    assert result.gradient_norm < 1e-7
    return np.asarray(result.point)


@pytest.mark.parametrize("optimiser", [by_bfgs, by_riemannian_conjugate_gradients])
def test_minimum_matches_general_purpose_optimisers(
    optimiser: Callable[[LinearProblem, Array], Array], generator: np.random.Generator
) -> None:
    """They share nothing with the solver but the action and its gradient."""
    problem = mixed_problem("rnn", generator)
    start = action.prior_kernel(problem)
    kernel = minimiser.minimise(problem, start)
    assert action.stationary_point(problem, kernel).converged
    np.testing.assert_allclose(optimiser(problem, start), kernel, rtol=0, atol=1e-5)


# --- limits and symmetries --------------------------------------------------------------------


def test_large_problems_are_solved_as_small_ones_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer starts, and curvatures by products with a Hessian that is not formed: the same points."""
    problem = endpoint("rnn", 6, [2.0])
    known = search.search_linear(problem, 4, 0)
    monkeypatch.setattr(search, "MOST_WITH_ALL_STARTS", 0)
    monkeypatch.setattr(action, "LARGEST_FORMED", 0)
    found = search.search_linear(problem, 4, 0)
    for name in ("action", "lowest_curvature"):
        expected = [getattr(point, name) for point in known]
        assert [getattr(point, name) for point in found] == pytest.approx(expected, abs=1e-8)


def test_a_curvature_that_is_not_found_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = endpoint("rnn", 6, [2.0])
    monkeypatch.setattr(action, "LARGEST_FORMED", 0)
    monkeypatch.setattr(action, "eigsh", partial(eigsh, maxiter=1, ncv=3))
    with pytest.raises(
        SolverError, match=r"^task: no lowest curvature .* in 6 reachable directions"
    ):
        action.lowest_curvature(problem, action.prior_kernel(problem))


@KINDS
def test_without_labels_the_theory_is_the_prior(kind: Kind) -> None:
    problem = endpoint(kind, 5, [0.0, 0.0])
    point = lowest(problem)
    # One input per pattern, of unit length: the prior kernel is geometric.
    np.testing.assert_allclose(action.prior_kernel(problem), np.eye(10), atol=1e-14)
    np.testing.assert_allclose(point.kernel, np.eye(10), atol=1e-9)
    np.testing.assert_allclose(point.q, 0.0, atol=1e-8)
    assert point.action == pytest.approx(0.0, abs=1e-12)


def test_permuted_and_rotated_patterns_permute_and_rotate_the_kernel(
    generator: np.random.Generator,
) -> None:
    labels = np.array([0.9, -0.4, 0.7])
    problem = endpoint("rnn", 4, list(labels))
    kernel = full_kernel(problem, lowest(problem).kernel)
    rotation_matrix, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    for matrix in (np.eye(3)[[2, 0, 1]], rotation_matrix):
        turned = endpoint("rnn", 4, list(matrix @ labels))
        expected = np.einsum("ap,pqst,bq->abst", matrix, kernel, matrix)
        np.testing.assert_allclose(full_kernel(turned, lowest(turned).kernel), expected, atol=1e-7)


def test_unreachable_directions_are_removed() -> None:
    """Input at t = 1 only: h^0 = 0, and the rest is the shorter network with input at t = 0."""
    task = given_task(np.eye(5)[1].reshape(1, 5, 1), np.array([[np.nan] * 4 + [2.0]]))
    late = lowest(linear_problem(task, Architecture(kind="rnn", steps=5), KAPPA))
    early = lowest(endpoint("rnn", 4, [2.0]))
    np.testing.assert_allclose(late.h[0], 0.0, atol=1e-12)
    assert late.action == pytest.approx(early.action, abs=1e-10)
    np.testing.assert_allclose(late.h[1:, 1:], early.kernel, atol=1e-6)


def test_more_patterns_than_features() -> None:
    """Repeated inputs span fewer directions than there are patterns; the theory still holds."""
    inputs = np.zeros((3, 4, 1))
    inputs[:, 0, 0] = [1.0, 1.0, -0.5]
    targets = np.full((3, 4), np.nan)
    targets[:, -1] = [1.0, 0.9, -0.6]
    network = Architecture(kind="rnn", steps=4)
    problem = linear_problem(given_task(inputs, targets), network, KAPPA)
    assert problem.dimension == 4
    kernel = full_kernel(problem, lowest(problem).kernel)
    np.testing.assert_allclose(kernel[0, 0], kernel[1, 1], atol=1e-10)
    np.testing.assert_allclose(kernel[2, 2], 0.25 * kernel[0, 0], atol=1e-10)


@pytest.mark.parametrize(
    ("activation", "fault"), [("linear", "all zero"), ("erf", "linear theory needs 'linear'")]
)
def test_zero_inputs_and_wrong_activation_are_refused(
    activation: ActivationName, fault: str
) -> None:
    task = given_task(np.zeros((1, 3, 1)), np.ones((1, 3)))
    with pytest.raises(ValueError, match=fault):
        linear_problem(task, Architecture(kind="rnn", steps=3, activation=activation), KAPPA)


def test_prediction_interpolates_and_dnn_predicts_zero_where_unsupervised() -> None:
    steps, kappa = 10, 1e-3
    task, targets = rotation(steps, {2, 4, 5, 7, 10})
    trained = task.supervised[0]
    outputs = {}
    for kind in ("rnn", "dnn"):
        problem = linear_problem(task, Architecture(kind=kind, steps=steps), kappa)
        outputs[kind] = predict(problem, lowest(problem).h)[0]
        np.testing.assert_allclose(outputs[kind][trained], targets[trained], atol=0.02)
    np.testing.assert_allclose(outputs["dnn"][~trained], 0.0, atol=1e-8)
    missed = {kind: np.sum((outputs[kind] - targets)[1:] ** 2) for kind in outputs}
    assert missed["rnn"] < 0.1 * missed["dnn"]


@pytest.mark.parametrize("second_input", [0.0, 0.7])
def test_kernel_of_a_dnn_correlates_supervised_times(second_input: float) -> None:
    """A DNN's mask acts on C, not on H: the shared readout correlates the supervised steps.

    Shared input weights do the same if there is input at several times. The check needs no theory:
    untrained networks of width 48 are reweighted to the posterior. They have the kernel of the
    theory with its 1/N term, and it is far from 0 between the two times.
    """
    inputs = np.array([1.0, second_input, 0.0]).reshape(1, 3, 1)
    task = given_task(inputs, np.array([[np.nan, 0.5, 0.6]]))
    width, kappa = 48, 0.3
    problem = linear_problem(task, Architecture(kind="dnn", steps=3), kappa)
    kernel = lowest(problem).kernel
    assert kernel[1, 2] > 0.15

    kernels = prior_network_kernels(task, "dnn", width, samples=20_000, seed=3)
    mean, error, size = posterior_mean(kernels, kernels, task, width, kappa)
    assert size > 1_000
    assert mean[1, 2] / error[1, 2] > 20
    upper = np.triu_indices(3)
    expected = kernel + kernel_correction(problem, kernel) / width
    assert_z(mean[upper], expected[upper], error[upper])


def test_kernel_axes_round_trip(generator: np.random.Generator) -> None:
    matrix = generator.normal(size=(6, 6))
    np.testing.assert_array_equal(kernel_matrix(kernel_axes(matrix, 2, 3)), matrix)
    assert kernel_axes(matrix, 2, 3)[1, 0, 2, 1] == matrix[2 * 2 + 1, 1 * 2 + 0]
