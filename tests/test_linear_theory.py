"""The linear kernel theory: reference values, derivatives, searches against each other."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import (
    KAPPA,
    PRIOR,
    assert_z,
    endpoint,
    posterior_mean,
    prior_network_kernels,
    rotation,
)
from scipy import optimize
from weightsharing.theory.linear import LinearProblem, StationaryPoint, full_kernel

from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array, kernel_axes, kernel_matrix
from weightsharing.model.tasks import Task
from weightsharing.theory import linear, search
from weightsharing.theory.finite_width import kernel_correction
from weightsharing.theory.transition import critical_signal

STRONG, WEAK = [1.0, -1.0, 1.0, -1.0], [0.25, -0.25, 0.25, -0.25]


def lowest(problem: LinearProblem) -> StationaryPoint:
    point = search.stationary_points(problem)[0]
    assert point.converged
    assert point.lowest_curvature > 0
    return point


def digits(value: Array | float, reference: Array | list[float] | float, unit: float) -> None:
    """Equal to every digit given: half a unit in the last place."""
    np.testing.assert_allclose(value, reference, rtol=0, atol=0.5 * unit * (1 + 1e-6))


# --- reference values -------------------------------------------------------------------------


def test_rnn_reference_at_twice_the_critical_signal() -> None:
    problem = endpoint("rnn", 4, [np.sqrt(2 * critical_signal(4, PRIOR, KAPPA))])
    point = lowest(problem)
    digits(point.action, 0.629914, 1e-6)
    digits(np.diag(point.kernel), [1.56676, 2.67437, 4.99098, 9.08761], 1e-5)
    digits(linear.coherence(problem, point.kernel), 4.56549, 1e-5)
    digits(point.kernel[1, 0], 0.53138, 1e-5)


def test_dnn_reference_at_twice_the_critical_signal() -> None:
    problem = endpoint("dnn", 4, [np.sqrt(2 * critical_signal(4, PRIOR, KAPPA))])
    point = lowest(problem)
    digits(np.diag(point.kernel), [1.66599, 2.77551, 4.62397, 7.70347], 1e-5)
    np.testing.assert_allclose(point.kernel - np.diag(np.diag(point.kernel)), 0.0, atol=1e-10)


def test_classification_reference_strong() -> None:
    rnn, dnn = endpoint("rnn", 8, STRONG), endpoint("dnn", 8, STRONG)
    point = lowest(rnn)
    digits(point.action, 0.261251, 1e-6)
    kernel = full_kernel(rnn, point.kernel)
    digits(np.diag(kernel[0, 0]), [1.04, 1.11, 1.25, 1.51, 1.99, 2.87, 4.42, 7.13], 1e-2)
    digits(kernel[0, 0, 7, 6], 4.54, 1e-2)
    digits(kernel[0, :, 7, 7], [7.13, -6.13, 6.13, -6.13], 1e-2)
    other = lowest(dnn)
    digits(other.action, 0.379219, 1e-6)
    digits(full_kernel(dnn, other.kernel)[0, :, 7, 7], [3.54, -2.54, 2.54, -2.54], 1e-2)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_classification_reference_weak(kind: Kind) -> None:
    digits(lowest(endpoint(kind, 8, WEAK)).action, 0.074429, 1e-6)


def test_several_supervised_steps_reference() -> None:
    """A rotation by 2 pi / 10 read out at {2, 4, 5, 7, 10}: action and error of the best solution."""
    steps = 10
    task, targets = rotation(steps, {2, 4, 5, 7, 10})
    problem = linear.linear_problem(task, Architecture(kind="rnn", steps=steps), KAPPA)
    point = lowest(problem)
    digits(point.action, 0.302055, 1e-6)
    missed = (targets - linear.predict(problem, point.kernel)[0])[1:]
    digits(0.5 / steps * (missed @ missed), 0.002979, 1e-6)


# --- derivatives ------------------------------------------------------------------------------


def mixed_task(generator: np.random.Generator) -> Task:
    """Two patterns, four steps, inputs and supervision at several times, nothing special about it."""
    inputs = generator.normal(size=(2, 4, 3))
    supervised = np.array([[False, True, False, True], [True, True, False, True]])
    return Task(inputs, generator.normal(size=(2, 4)), supervised)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_gradient_and_hessian_match_finite_differences(
    kind: Kind, generator: np.random.Generator
) -> None:
    problem = linear.linear_problem(mixed_task(generator), Architecture(kind=kind, steps=4), 0.3)
    kernel = linear.prior_kernel(problem) + 0.3 * search.random_start(problem, generator)
    frame = np.linalg.cholesky(kernel)
    raw = np.asarray(generator.standard_normal(kernel.shape))
    direction = frame @ (raw + raw.T) @ frame.T

    def slope(step: float) -> float:
        ahead = linear.action(problem, kernel + step * direction)
        return (ahead - linear.action(problem, kernel - step * direction)) / (2 * step)

    expected = float((linear.gradient(problem, kernel) * direction).sum())
    # The error of a central difference is of second order: a tenth of the step, a hundredth of it.
    errors = [abs(slope(step) - expected) for step in (1e-3, 1e-4)]
    assert errors[0] / errors[1] == pytest.approx(100.0, rel=0.1)
    assert errors[1] < 1e-5 * abs(expected)

    bend = linear.hessian_product(problem, kernel, direction)

    def turn(step: float) -> Array:
        ahead = linear.gradient(problem, kernel + step * direction)
        return (ahead - linear.gradient(problem, kernel - step * direction)) / (2 * step)

    gaps = [float(np.linalg.norm(turn(step) - bend)) for step in (1e-3, 1e-4)]
    assert gaps[0] / gaps[1] == pytest.approx(100.0, rel=0.1)
    assert gaps[1] < 1e-4 * np.linalg.norm(bend)


def test_hessian_matrix_is_symmetric_and_matches_products(generator: np.random.Generator) -> None:
    problem = linear.linear_problem(mixed_task(generator), Architecture(kind="dnn", steps=4), 0.3)
    kernel = search.random_start(problem, generator)
    hessian = linear.hessian_matrix(problem, kernel)
    np.testing.assert_allclose(hessian, hessian.T, rtol=0, atol=1e-9 * np.abs(hessian).max())
    vector = np.asarray(generator.standard_normal(hessian.shape[0]))
    direction = linear.unpack(problem, vector)
    product = linear.pack(problem, linear.hessian_product(problem, kernel, direction))
    np.testing.assert_allclose(hessian @ linear.pack(problem, direction), product, rtol=1e-8)


# --- independent solvers ----------------------------------------------------------------------


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 7, 8])
def test_random_search_and_continuation_agree_on_the_lowest_action(steps: int) -> None:
    critical = critical_signal(steps, PRIOR, KAPPA)
    generator = np.random.default_rng(steps)
    for ratio in (0.5, 0.9, 1.0, 1.2, 2.0, 4.0):
        problem = endpoint("rnn", steps, [np.sqrt(ratio * critical)])
        searched = min(
            linear.action(
                problem, linear.minimise(problem, search.random_start(problem, generator))
            )
            for _ in range(20)
        )
        branch = search.disordered_branch(problem)
        assert branch is not None
        continued = min(
            linear.action(problem, branch),
            linear.action(problem, search.branch_from_above(problem)),
        )
        assert searched == pytest.approx(continued, abs=1e-10), f"lambda = {ratio} lambda_c"


def test_minimum_matches_a_general_purpose_optimiser(generator: np.random.Generator) -> None:
    """BFGS on a Cholesky factor, which shares nothing with the solver but the action."""
    problem = linear.linear_problem(mixed_task(generator), Architecture(kind="rnn", steps=4), 0.3)
    lower = np.tril_indices(problem.dimension)

    def kernel_of(vector: Array) -> Array:
        factor = np.zeros((problem.dimension, problem.dimension))
        factor[lower] = vector
        return factor @ factor.T

    def value(vector: Array) -> tuple[float, Array]:
        factor = np.zeros((problem.dimension, problem.dimension))
        factor[lower] = vector
        kernel = factor @ factor.T
        return (
            linear.action(problem, kernel),
            (2 * linear.gradient(problem, kernel) @ factor)[lower],
        )

    start = np.linalg.cholesky(linear.prior_kernel(problem))[lower]
    found = optimize.minimize(value, start, jac=True, method="BFGS", options={"gtol": 1e-7})
    kernel = linear.minimise(problem, linear.prior_kernel(problem))
    assert linear.stationary_point(problem, kernel).converged
    np.testing.assert_allclose(kernel_of(found.x), kernel, rtol=0, atol=1e-5)


# --- limits and symmetries --------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_without_labels_the_theory_is_the_prior(kind: Kind) -> None:
    problem = endpoint(kind, 5, [0.0, 0.0])
    point = lowest(problem)
    np.testing.assert_allclose(point.kernel, linear.prior_kernel(problem), atol=1e-9)
    assert point.action == pytest.approx(0.0, abs=1e-12)


def test_prior_kernel_with_one_input_is_geometric() -> None:
    np.testing.assert_allclose(
        linear.prior_kernel(endpoint("rnn", 6, [1.0])), np.eye(6), atol=1e-14
    )


def test_weak_signal_rnn_and_dnn_coincide() -> None:
    actions = [lowest(endpoint(kind, 8, WEAK)).action for kind in ("rnn", "dnn")]
    assert actions[0] == pytest.approx(actions[1], abs=1e-9)


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
        found = full_kernel(turned, lowest(turned).kernel)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def test_unreachable_directions_are_removed() -> None:
    """Input at t = 1 only: h^0 = 0, and the rest is the shorter network with input at t = 0."""
    inputs = np.zeros((1, 5, 1))
    inputs[0, 1] = 1.0
    targets = np.full((1, 5), np.nan)
    targets[0, -1] = 2.0
    task = Task(inputs, targets, np.isfinite(targets))
    late = linear.linear_problem(task, Architecture(kind="rnn", steps=5), KAPPA)
    point = lowest(late)
    kernel = full_kernel(late, point.kernel)[0, 0]
    np.testing.assert_allclose(kernel[0], 0.0, atol=1e-12)
    early = endpoint("rnn", 4, [2.0])
    reference = lowest(early)
    assert point.action == pytest.approx(reference.action, abs=1e-10)
    np.testing.assert_allclose(kernel[1:, 1:], reference.kernel, atol=1e-6)


def test_more_patterns_than_features() -> None:
    """Repeated inputs span fewer directions than there are patterns; the theory still holds."""
    inputs = np.zeros((3, 4, 1))
    inputs[:, 0, 0] = [1.0, 1.0, -0.5]
    targets = np.full((3, 4), np.nan)
    targets[:, -1] = [1.0, 0.9, -0.6]
    problem = linear.linear_problem(
        Task(inputs, targets, np.isfinite(targets)), Architecture(kind="rnn", steps=4), KAPPA
    )
    assert problem.dimension == 4
    kernel = full_kernel(problem, lowest(problem).kernel)
    np.testing.assert_allclose(kernel[0, 0], kernel[1, 1], atol=1e-10)
    np.testing.assert_allclose(kernel[2, 2], 0.25 * kernel[0, 0], atol=1e-10)


def test_zero_inputs_and_wrong_activation_are_refused() -> None:
    task = Task(np.zeros((1, 3, 1)), np.ones((1, 3)), np.ones((1, 3), dtype=bool))
    with pytest.raises(ValueError, match="all zero"):
        linear.linear_problem(task, Architecture(kind="rnn", steps=3), KAPPA)
    with pytest.raises(ValueError, match="linear"):
        linear.linear_problem(task, Architecture(kind="rnn", steps=3, activation="erf"), KAPPA)


def test_prediction_interpolates_and_dnn_predicts_zero_where_unsupervised() -> None:
    steps, kappa = 10, 1e-3
    task, targets = rotation(steps, {2, 4, 5, 7, 10})
    trained = task.supervised[0]
    outputs = {}
    for kind in ("rnn", "dnn"):
        problem = linear.linear_problem(task, Architecture(kind=kind, steps=steps), kappa)
        outputs[kind] = linear.predict(problem, lowest(problem).kernel)[0]
        np.testing.assert_allclose(outputs[kind][trained], targets[trained], atol=0.02)
    np.testing.assert_allclose(outputs["dnn"][~trained], 0.0, atol=1e-8)
    missed = {kind: np.sum((outputs[kind] - targets)[1:] ** 2) for kind in outputs}
    assert missed["rnn"] < 0.1 * missed["dnn"]


@pytest.mark.parametrize("second_input", [0.0, 0.7])
def test_kernel_of_a_dnn_correlates_supervised_times(second_input: float) -> None:
    """A DNN's mask acts on C, not on H: the shared readout correlates the supervised steps.

    So do its shared input weights, if there is input at several times.

    Checked without the theory: untrained networks of width 48, reweighted to the posterior, have
    the kernel of the theory with its 1/N term, and one that is far from 0 between the two times.
    """
    inputs = np.zeros((1, 3, 1))
    inputs[0, :2, 0] = 1.0, second_input
    task = Task(inputs, np.array([[np.nan, 0.5, 0.6]]), np.array([[False, True, True]]))
    width, kappa = 48, 0.3
    problem = linear.linear_problem(task, Architecture(kind="dnn", steps=3), kappa)
    kernel = lowest(problem).kernel
    assert kernel[1, 2] > 0.15

    kernels = prior_network_kernels(task, "dnn", width, samples=20_000, seed=3)
    mean, error, size = posterior_mean(kernels, kernels, task, width, kappa)
    assert size > 1_000
    assert mean[1, 2] / error[1, 2] > 20
    upper = np.triu_indices(3)
    assert_z(
        mean[upper], (kernel + kernel_correction(problem, kernel) / width)[upper], error[upper]
    )


def test_kernel_axes_round_trip(generator: np.random.Generator) -> None:
    matrix = generator.normal(size=(6, 6))
    np.testing.assert_array_equal(kernel_matrix(kernel_axes(matrix, 2, 3)), matrix)
    assert kernel_axes(matrix, 2, 3)[1, 0, 2, 1] == matrix[2 * 2 + 1, 1 * 2 + 0]
