"""Measures: error bars that count autocorrelation, branches, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_z, endpoint_run
from scipy import signal, stats

from weightsharing import measures, symmetry
from weightsharing.commands.sample import samples_dataset
from weightsharing.commands.theory import points_dataset
from weightsharing.records import Array, Task
from weightsharing.sampling.chain import sample
from weightsharing.tasks import make_task
from weightsharing.theory.linear import linear_problem, stationary_points


def ar1(shape: tuple[int, ...], memory: float, generator: np.random.Generator) -> Array:
    """Stationary AR(1) chains of unit variance along the second axis."""
    noise = generator.normal(size=shape) * np.sqrt(1 - memory**2)
    noise[:, 0] /= np.sqrt(1 - memory**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -memory], noise, axis=1))


def test_standard_error_counts_autocorrelation(generator: np.random.Generator) -> None:
    """z-scores of many means of correlated chains are standard normal; naive ones would not be."""
    draws = ar1((4, 2000, 300), 0.9, generator)
    found = measures.estimate(draws)
    z = found.mean / found.standard_error
    assert stats.kstest(z, "norm").pvalue > 1e-4
    expected = 4 * 2000 * (1 - 0.9) / (1 + 0.9)
    assert np.median(found.effective_size) == pytest.approx(expected, rel=0.1)
    assert found.converged


def test_stuck_chains_have_not_converged(generator: np.random.Generator) -> None:
    draws = ar1((4, 500), 0.5, generator) + np.array([0.0, 0.0, 0.0, 2.0])[:, None]
    found = measures.estimate(draws)
    assert found.rhat > measures.LARGEST_RHAT
    assert not found.converged
    assert not measures.estimate(ar1((4, 100), 0.99, generator)).converged


def random_kernels(generator: np.random.Generator) -> Array:
    root = generator.normal(size=(3, 7, 8, 8))
    gram = root @ np.swapaxes(root, -1, -2)
    return np.asarray(gram.reshape(3, 7, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4))


def test_alignment_makes_the_order_parameter_positive_and_keeps_even_blocks(
    generator: np.random.Generator,
) -> None:
    kernels, direction = random_kernels(generator), np.array([0.6, -0.8])
    aligned = symmetry.to_positive_branch(kernels, direction)
    before = symmetry.order_parameter(kernels, direction)
    np.testing.assert_allclose(symmetry.order_parameter(aligned, direction), np.abs(before))
    assert 0 < (before < 0).mean() < 1
    np.testing.assert_array_equal(symmetry.to_positive_branch(aligned, direction), aligned)
    even = np.add.outer(np.arange(4), np.arange(4)) % 2 == 0
    np.testing.assert_array_equal(aligned[..., even], kernels[..., even])
    np.testing.assert_allclose(np.abs(aligned), np.abs(kernels))
    # It is a congruence by diag(1, -1, 1, ...), so kernels stay kernels.
    matrix = aligned[0, 0].transpose(2, 0, 3, 1).reshape(8, 8)
    assert np.linalg.eigvalsh(matrix).min() > 0


@pytest.mark.parametrize(
    ("input_times", "output_times", "symmetric"),
    [
        ([0], [4], True),
        ([0, 2], [1, 3], True),
        ([0, 1], [4], False),
        ([0], [3, 4], False),
        ([1], [2], True),
    ],
)
def test_sign_symmetry_needs_inputs_and_targets_of_one_parity(
    input_times: list[int], output_times: list[int], symmetric: bool
) -> None:
    """Checked on a network: W -> -W with suitable signs of U and v leaves the outputs alone."""
    inputs, supervised = np.zeros((1, 4, 1)), np.zeros((1, 4), dtype=bool)
    inputs[0, input_times] = 1.0
    supervised[0, np.array(output_times) - 1] = True
    task = Task(inputs, np.ones((1, 4)), supervised)
    assert symmetry.is_sign_symmetric(task) == symmetric

    generator = np.random.default_rng(0)
    matrix, into, readout = (generator.normal(size=s) for s in ((5, 5), (5, 1), 5))

    def outputs(sign: float) -> Array:
        activity, values = np.zeros(5), []
        for time in range(4):
            activity = sign * matrix @ activity + into @ inputs[0, time]
            values.append(readout @ activity)
        return np.asarray(np.array(values)[supervised[0]])

    same = any(np.allclose(outputs(-1.0), overall * outputs(1.0)) for overall in (1.0, -1.0))
    assert same == symmetric


def test_only_rnns_are_mapped_and_outputs_go_with_their_kernels() -> None:
    """A network and its image under W -> -W, with U and v turned so that it fits the same label."""
    task = make_task(endpoint_run(1.0).task, 4)
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
    assert measures.on_one_branch(kernels, outputs, task, shared=False)[1] is outputs
    mapped, predicted = measures.on_one_branch(kernels, outputs, task, shared=True)
    assert (mapped[..., 0, 0, -1, -2] > 0).all()
    np.testing.assert_allclose(mapped[0, 0], mapped[0, 1])
    np.testing.assert_allclose(predicted[0, 0], predicted[0, 1])
    np.testing.assert_array_equal(predicted[..., -1], outputs[..., -1])
    assert np.abs(outputs[0, 0] - outputs[0, 1]).max() > 0.1


def test_comparison_states_what_did_not_converge() -> None:
    run = endpoint_run(5.0, burn_in=0.5, duration=1.0, draws=20)
    task = make_task(run.task, 4)
    problem = linear_problem(task, run.architecture, run.kappa)
    theory = points_dataset(problem, stationary_points(problem))
    samples = samples_dataset(sample(run, task), run.sampler)
    compared = measures.compare(run, task, theory, samples)
    assert compared.attrs["converged"].startswith("no: order_parameter")
    assert compared.attrs["signal"] == pytest.approx(5.0)
    assert float(compared["order_parameter"]) > 0
    np.testing.assert_allclose(
        compared["kernel_theory"][0, 0], stationary_points(problem)[0].kernel
    )


def test_relative_error() -> None:
    kernel = np.diag([3.0, 4.0])
    assert measures.relative_error(1.1 * kernel, kernel) == pytest.approx(0.1)


def test_z_scores_reject_what_is_wrong(generator: np.random.Generator) -> None:
    """The suite's own yardstick fails when it should."""
    assert_z(np.zeros(5), 4.0, np.ones(5))
    with pytest.raises(AssertionError, match="exceeds"):
        assert_z(np.zeros(5), 6.0, np.ones(5))
