"""The sign symmetry W -> -W: where it holds, and the phases and measures that follow it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from conftest import assert_z, draw, endpoint_run, exact_run

from weightsharing.measures.compare import compare
from weightsharing.measures.generalisation import generalisation_error
from weightsharing.model import symmetry
from weightsharing.model.activations import ACTIVATIONS, ActivationName
from weightsharing.model.architecture import Architecture, Prior
from weightsharing.model.axes import Array
from weightsharing.model.symmetry import reflection
from weightsharing.model.task import Task
from weightsharing.model.tasks import SinusoidTask
from weightsharing.sampling.initial import start_kernel
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import coherence, full_matrix, linear_problem, predict
from weightsharing.theory.search import stationary_points
from weightsharing.theory.solve import solve

RNN = Architecture(kind="rnn", steps=4)


def signs_by_trial(task: Task) -> list[Array]:
    """All D_p^t = s_p (-1)^t that leave inputs and labels as they are, of all 2^P, by the definition.

    An orthogonal matrix maps x_p^t to D_p^t x_p^t if their scalar products are the same.
    """
    rows = task.inputs.reshape(task.patterns * task.steps, -1)
    labels = np.where(task.supervised, task.targets, 0.0)
    alternating = (-1.0) ** np.arange(task.steps)
    kept = []
    for signs in itertools.product((1.0, -1.0), repeat=task.patterns):
        turned = np.multiply.outer(np.array(signs), alternating)
        image = turned.reshape(-1, 1) * rows
        same_inputs = np.allclose(image @ image.T, rows @ rows.T, rtol=0, atol=1e-9)
        if same_inputs and np.allclose(turned * labels, labels, rtol=0, atol=1e-9):
            kept.append(turned)
    return kept


def changes_m(turned: Array, task: Task) -> bool:
    """Whether D reverses m: e_p D_p^(T-1) D_p'^(T-2) e_p' is -e_p e_p'."""
    direction = symmetry.label_direction(task)
    image = np.outer(direction * turned[:, -1], direction * turned[:, -2])
    return bool(np.allclose(image, -np.outer(direction, direction)))


def random_task(generator: np.random.Generator) -> Task:
    """Few inputs along few axes, few labels: about half of these tasks have the symmetry."""
    patterns, steps, features = generator.integers(1, 4), 4, 4
    inputs = np.zeros((patterns, steps, features))
    for _ in range(generator.integers(1, 5)):
        place = tuple(int(generator.integers(size)) for size in inputs.shape)
        inputs[place] = generator.choice([1.0, -0.5])
    supervised = generator.random((patterns, steps)) < 0.35
    targets = generator.choice([0.0, 1.0, -2.0], size=(patterns, steps))
    return Task(inputs, targets, supervised)


def test_the_symmetry_is_found_exactly_where_it_is() -> None:
    generator, found = np.random.default_rng(3), 0
    for _ in range(400):
        task = random_task(generator)
        signs, trials = reflection(task, RNN), signs_by_trial(task)
        if signs is None:
            assert not any(changes_m(trial, task) for trial in trials)
        else:
            found += 1
            assert any(np.array_equal(signs, trial) for trial in trials)
            assert changes_m(signs, task)
    assert 100 < found < 300


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_network_and_its_image_have_the_same_loss(activation: ActivationName) -> None:
    """Two features in turn, a target of 0 at the other parity, and two patterns of unlike parity."""
    inputs = np.zeros((2, 4, 3))
    inputs[0, 0, 0] = inputs[0, 1, 1] = inputs[1, 0, 2] = 1.0
    targets = np.array([[0.0, 0.5, 0.0, 2.0], [1.5, 0.0, -0.7, 0.0]])
    task = Task(inputs, targets, np.ones((2, 4), dtype=bool))
    network = RNN.model_copy(update={"activation": activation})
    signs = reflection(task, network)
    assert (signs is not None) == ACTIVATIONS[activation].odd
    if signs is None:
        return
    generator = np.random.default_rng(0)
    matrix, into, readout = (generator.normal(size=s) for s in ((5, 5), (5, 3), 5))
    rows = inputs.reshape(8, 3)
    turn = np.linalg.pinv(rows) @ (signs.reshape(8, 1) * rows)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)

    def run(w: Array, u: Array) -> tuple[Array, Array]:
        pre = [inputs[:, 0] @ u.T]
        for time in range(1, 4):
            pre.append(network.phi(pre[-1]) @ w.T + inputs[:, time] @ u.T)
        return np.stack(pre, axis=1), np.stack([network.phi(h) @ readout for h in pre], axis=1)

    (pre, outputs), (image, reflected) = run(matrix, into), run(-matrix, into @ turn.T)
    np.testing.assert_allclose(image, signs[..., None] * pre, atol=1e-12)
    np.testing.assert_allclose(reflected, signs * outputs, atol=1e-12)
    losses = [np.sum((targets - output) ** 2) for output in (outputs, reflected)]
    assert losses[0] == pytest.approx(losses[1])


def test_networks_without_it_and_tasks_that_nearly_have_it() -> None:
    task = endpoint_run(1.0).tasks[0]
    assert reflection(task, RNN) is not None
    assert reflection(task, Architecture(kind="dnn", steps=4)) is None
    # cos(pi / 2) is 6e-17; a label of 1e-6 is one, and so is a product of inputs.
    rounded = SinusoidTask(period=4.0, supervised=(1, 4)).make(4)
    assert 0.0 < abs(rounded.targets[0, 0]) < 1e-15
    assert reflection(rounded, RNN) is not None
    targets = rounded.targets.copy()
    targets[0, 0] = 1e-6
    assert reflection(Task(rounded.inputs, targets, rounded.supervised), RNN) is None
    inputs = np.zeros((1, 4, 2))
    inputs[0, 0], inputs[0, 1] = (1.0, 0.0), (0.0, 1.0)
    assert reflection(Task(inputs, task.targets, task.supervised), RNN) is not None
    inputs[0, 1] = (1e-6, 1.0)
    assert reflection(Task(inputs, task.targets, task.supervised), RNN) is None


def test_reflection_makes_the_order_parameter_positive_and_keeps_even_blocks(
    generator: np.random.Generator,
) -> None:
    root = generator.normal(size=(3, 7, 8, 8))
    gram = root @ np.swapaxes(root, -1, -2)
    kernels = gram.reshape(3, 7, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4)
    direction, signs = np.array([0.6, -0.8]), np.multiply.outer(np.ones(2), [1.0, -1.0, 1.0, -1.0])
    before = symmetry.order_parameter(kernels, direction)
    aligned = symmetry.reflect_kernel(kernels, symmetry.branch(kernels, direction), signs)
    np.testing.assert_allclose(symmetry.order_parameter(aligned, direction), np.abs(before))
    assert 0 < (before < 0).mean() < 1
    even = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    np.testing.assert_array_equal(aligned[..., even], kernels[..., even])
    # It is a congruence, so kernels stay kernels.
    matrix = aligned[0, 0].transpose(2, 0, 3, 1).reshape(8, 8)
    assert np.linalg.eigvalsh(matrix).min() > 0


def test_outputs_go_with_their_kernels() -> None:
    """A network and its image under W -> -W, with U and v turned so that it fits the same label."""
    task = endpoint_run(1.0).tasks[0]
    generator = np.random.default_rng(2)
    matrix, into, readout = (generator.normal(size=s) for s in ((5, 5), 5, 5))

    def network(sign: float) -> tuple[Array, Array]:
        activities = [into]
        for _ in range(3):
            activities.append(sign * matrix @ activities[-1])
        pre = np.stack(activities)
        # v -> -v where the supervised step t = 3 changes sign.
        return (pre @ pre.T)[None, None], (sign * pre @ readout)[None]

    draws = [network(sign) for sign in (1.0, -1.0)]
    kernels = np.stack([kernel for kernel, _ in draws])[None]
    outputs = np.stack([output for _, output in draws])[None]
    signs = symmetry.branch(kernels, np.ones(1))
    assert sorted(signs[0]) == [-1.0, 1.0]
    reflection = symmetry.reflection(task, RNN)
    mapped = symmetry.reflect_kernel(kernels, signs, reflection)
    predicted = symmetry.reflect_outputs(outputs, signs, reflection)
    assert (mapped[..., 0, 0, -1, -2] > 0).all()
    np.testing.assert_allclose(mapped[0, 0], mapped[0, 1])
    np.testing.assert_allclose(predicted[0, 0], predicted[0, 1])
    np.testing.assert_array_equal(predicted[..., -1], outputs[..., -1])
    assert np.abs(outputs[0, 0] - outputs[0, 1]).max() > 0.1


# --- phases -----------------------------------------------------------------------------------


def solved(
    steps: int, period: float, kappa: float, w: float, supervised: tuple[int, ...]
) -> tuple[list[StationaryPoint], float]:
    """The stationary points, and the generalisation error of the mean output over both branches."""
    task = SinusoidTask(period=period, supervised=supervised).make(steps)
    network = Architecture(kind="rnn", steps=steps, prior=Prior(w=w, u=1.0, v=1.0))
    problem = linear_problem(task, network, kappa)
    points = stationary_points(problem)
    outputs = predict(problem, full_matrix(problem, points[0].kernel))
    mixed = symmetry.mix_outputs(outputs, task, network)
    return points, float(generalisation_error(mixed, task.targets))


@pytest.mark.parametrize(("case", "error"), [
    ((8, 4.0, 0.1, 1.0, (1, 8)), 0.2512), ((10, 4.0, 0.01, 0.5, (3, 6, 10)), 0.3681),
    ((10, 4.0, 0.01, 0.5, (1, 2, 6)), 0.3891), ((10, 4.0, 0.01, 1.0, (1, 8)), 0.4345),
    ((12, 12.0, 0.1, 1.0, (3, 12)), 0.2151),
])  # fmt: skip
def test_two_mirror_images_are_one_phase(
    case: tuple[int, float, float, float, tuple[int, ...]], error: float
) -> None:
    """Targets of 0 at times of the other parity. Values of an independent referee."""
    points, found = solved(*case)
    assert found == pytest.approx(error, abs=6e-5)
    actions = [point.action for point in points]
    assert np.diff(actions).min() > 1e-6
    if case[0] == 8:
        assert actions[0] == pytest.approx(0.16407639, abs=1e-8)


def test_two_features_in_turn() -> None:
    inputs, targets = np.zeros((1, 4, 2)), np.full((1, 4), np.nan)
    inputs[0, 0], inputs[0, 1], targets[0, 3] = (1.0, 0.0), (0.0, 1.0), math.sqrt(10.0)
    problem = linear_problem(Task(inputs, targets, np.isfinite(targets)), RNN, 0.1)
    lowest, *others = stationary_points(problem)
    assert lowest.action == pytest.approx(0.68937581, abs=1e-8)
    assert coherence(problem, lowest.kernel) == pytest.approx(6.739, abs=5e-4)
    assert all(point.action > lowest.action + 1e-3 for point in others)


def test_exact_sampler_has_the_mirrored_phase_of_the_theory() -> None:
    """{1, 8} at T = 8: |m| and the generalisation error, with the theory's 1/N term, at N = 1024.

    At N = 128 a saddle of little more action is visited as well, and |m| is 17 % smaller.
    """
    run = exact_run(1.0, steps=8, width=1024, warm_up=100, draws=300, thinning=4, start="lowest")
    task = SinusoidTask(period=4.0, supervised=(1, 8))
    run = run.model_copy(update={"task": task})
    arrays = task.make(8)
    theory = solve(arrays, run.architecture, run.kappa)
    samples = draw(run, start_kernel("lowest", theory))
    measured = compare(run, arrays, theory, samples)
    assert measured.attrs["sign_symmetric"] == measured.attrs["converged"] == 1
    assert_z(
        np.array([measured["order_parameter"], measured["generalisation_error"]]),
        np.array(
            [
                abs(measured["kernel_finite_width"].to_numpy()[0, 0, -1, -2]),
                float(measured["generalisation_error_finite_width"]),
            ]
        ),
        np.array(
            [
                measured["order_parameter_standard_error"],
                measured["generalisation_error_standard_error"],
            ]
        ),
    )
