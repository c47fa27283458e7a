"""Measures: error bars that count autocorrelation, branches, verdicts."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from conftest import assert_z, endpoint_run, exact_run, kinetic_run
from scipy import signal, stats

from weightsharing.measures.branches import (
    BROKEN_BINDER,
    binder_cumulant,
    branch_signs,
    estimate_binder,
)
from weightsharing.measures.compare import compare
from weightsharing.measures.estimate import LARGEST_RHAT, estimate, estimate_ratio
from weightsharing.measures.kernels import (
    alignment,
    estimate_relative_error,
    estimate_scale,
    estimate_target_alignment,
    relative_error,
    target_alignment,
    temporal_coherence,
)
from weightsharing.measures.outputs import conditional_outputs
from weightsharing.model import symmetry
from weightsharing.model.architecture import Architecture, Kind
from weightsharing.model.axes import Array
from weightsharing.model.task import Task, label_kernels
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling.chain import sample
from weightsharing.sampling.run import Run
from weightsharing.theory.problem import linear_problem
from weightsharing.theory.search import stationary_points
from weightsharing.theory.solve import solve


def ar1(shape: tuple[int, ...], memory: float, generator: np.random.Generator) -> Array:
    """Stationary AR(1) chains of unit variance along the second axis."""
    noise = generator.normal(size=shape) * np.sqrt(1 - memory**2)
    noise[:, 0] /= np.sqrt(1 - memory**2)
    return np.asarray(signal.lfilter([1.0], [1.0, -memory], noise, axis=1))


def test_standard_error_counts_autocorrelation(generator: np.random.Generator) -> None:
    """z-scores of many means of correlated chains are standard normal; naive ones would not be."""
    draws = ar1((4, 2000, 300), 0.9, generator)
    estimated = estimate(draws)
    z = estimated.mean / estimated.standard_error
    assert stats.kstest(z, "norm").pvalue > 1e-4
    expected = 4 * 2000 * (1 - 0.9) / (1 + 0.9)
    assert np.median(estimated.effective_size) == pytest.approx(expected, rel=0.1)
    assert estimated.converged


def test_standard_error_of_oscillating_chains(generator: np.random.Generator) -> None:
    """Damped oscillations, of which effective sample sizes see the positive half only."""
    noise = generator.normal(size=(4, 900, 300))
    damped = [1.0, -2.0 * 0.95 * np.cos(0.3), 0.95**2]
    draws = np.asarray(signal.lfilter([1.0], damped, noise, axis=1))[:, 500:]
    estimated = estimate(draws)
    assert stats.kstest(estimated.mean / estimated.standard_error, "norm").pvalue > 1e-4
    naive = estimated.deviation / np.sqrt(estimated.effective_size)
    assert np.median(naive / estimated.standard_error) > 1.5


def test_error_of_a_deviation(generator: np.random.Generator) -> None:
    """Of correlated Gaussian draws, whose squares have the squared autocorrelation: z-scores."""
    memory = 0.8
    estimated = estimate(ar1((4, 2000, 300), memory, generator))
    z = (estimated.deviation - 1.0) / estimated.deviation_error
    assert stats.kstest(z, "norm").pvalue > 1e-4
    size = 4 * 2000 * (1.0 - memory**2) / (1.0 + memory**2)
    assert np.median(estimated.deviation_error) == pytest.approx(1.0 / np.sqrt(2.0 * size), rel=0.1)


def test_constant_draws_have_converged() -> None:
    estimated = estimate(np.zeros((4, 100, 2)))
    assert estimated.converged
    assert (estimated.effective_size == 400).all()
    assert (estimated.standard_error == 0.0).all()


def test_stuck_chains_have_not_converged(generator: np.random.Generator) -> None:
    draws = ar1((4, 500), 0.5, generator) + np.array([0.0, 0.0, 0.0, 2.0])[:, None]
    estimated = estimate(draws)
    assert estimated.rhat > LARGEST_RHAT
    assert not estimated.converged
    assert not estimate(ar1((4, 100), 0.99, generator)).converged


def random_kernels(generator: np.random.Generator) -> Array:
    root = generator.normal(size=(3, 7, 8, 8))
    gram = root @ np.swapaxes(root, -1, -2)
    return np.asarray(gram.reshape(3, 7, 4, 2, 4, 2).transpose(0, 1, 3, 5, 2, 4))


def test_binder_cumulant_tells_one_peak_from_two(generator: np.random.Generator) -> None:
    gaussian = generator.normal(size=400_000)
    # The standard deviation of the estimate, from the moments of a Gaussian, is sqrt(8/3 / n).
    error = np.array(np.sqrt(8 / 3 / gaussian.size))
    assert_z(np.array(binder_cumulant(gaussian)), 0.0, error)
    assert binder_cumulant(np.array([-2.0, 2.0])) == pytest.approx(2 / 3)


def test_error_bar_of_a_binder_cumulant(generator: np.random.Generator) -> None:
    """Its draws deviate as those of the jackknife do, and its z-scores are standard normal."""
    m = generator.normal(size=(2, 400)) + 0.8
    found = estimate_binder(m)
    assert found.mean == pytest.approx(binder_cumulant(m), abs=1e-12)
    count = m.size
    without = [binder_cumulant(np.delete(m, index)) for index in range(count)]
    pseudo = count * binder_cumulant(m) - (count - 1) * np.array(without)
    assert found.deviation == pytest.approx(pseudo.std(ddof=1), rel=0.02)
    # Of a Gaussian, whose cumulant is 0, in correlated chains.
    draws = ar1((2, 1000, 200), 0.6, generator)
    each = [estimate_binder(draws[..., index]) for index in range(200)]
    z = [float(one.mean / one.standard_error) for one in each]
    assert stats.kstest(z, "norm").pvalue > 1e-4


def test_draws_are_mapped_only_where_the_symmetry_is_broken(generator: np.random.Generator) -> None:
    task = endpoint_run(1.0).tasks[0]
    m = generator.normal(size=(2, 500))
    kernels = np.zeros((2, 500, 1, 1, 4, 4))
    for values, broken in ((m, False), (np.sign(m) * (3 + 0.3 * m), True)):
        kernels[..., 0, 0, -1, -2] = values
        found = branch_signs(kernels, task, Architecture(kind="rnn", steps=4))
        np.testing.assert_array_equal(found, np.sign(values) if broken else 1.0)
        # Networks without the symmetry have no branches, whatever their draws are.
        relu = Architecture(kind="rnn", activation="relu", steps=4)
        for other in (Architecture(kind="dnn", steps=4), relu):
            assert (branch_signs(kernels, task, other) == 1.0).all()


def test_temporal_coherence_of_equal_and_of_uncorrelated_steps() -> None:
    kernel = np.zeros((2, 2, 5, 5))
    kernel[0, 0] = 1.3
    above, below = temporal_coherence(kernel)
    assert above / below == pytest.approx(4.0)
    kernel[0, 0] = np.diag([1.0, 2.0, 3.0, 4.0, 5.0])
    assert temporal_coherence(kernel)[0] == 0.0


def test_error_bar_of_a_ratio(generator: np.random.Generator) -> None:
    """z-scores of ratios of correlated means, over many experiments, are standard normal."""
    below = 3.0 + ar1((2, 1000, 200), 0.8, generator)
    above = 0.7 * below + ar1((2, 1000, 200), 0.5, generator)
    found = [estimate_ratio(above[..., i], below[..., i]) for i in range(200)]
    z = [float((ratio.mean - 0.7) / ratio.standard_error) for ratio in found]
    assert stats.kstest(z, "norm").pvalue > 1e-4


def test_relative_error_of_a_mean(generator: np.random.Generator) -> None:
    """Its error bar covers the true value, and what sampling contributes is told apart."""
    reference = np.diag([3.0, 4.0])
    assert relative_error(1.1 * reference, reference) == pytest.approx(0.1)
    truth = reference + np.array([[0.5, 0.2], [0.2, -0.3]])
    exact = relative_error(truth, reference)
    z, noise = [], []
    for _ in range(200):
        draws = truth + 0.5 * ar1((4, 400, 2, 2), 0.7, generator)
        found = estimate_relative_error(draws, reference, estimate(draws).standard_error)
        z.append((found.value - exact) / found.standard_error)
        noise.append(found.noise)
    assert np.std(z) == pytest.approx(1.0, abs=0.25)
    assert abs(np.mean(z)) < 0.5
    # Four entries, each with variance 1/4 (1 + 0.7) / (1 - 0.7) / 1600.
    expected = np.sqrt(4 * 0.25 * (1.7 / 0.3) / 1600) / 5.0
    assert np.mean(noise) == pytest.approx(expected, rel=0.1)


def test_alignment_ignores_scale_and_constants_and_sees_the_rest(
    generator: np.random.Generator,
) -> None:
    root = generator.normal(size=(12, 12))
    reference = (root @ root.T).reshape(2, 6, 2, 6).transpose(0, 2, 1, 3)
    assert alignment(3.0 * reference, reference) == pytest.approx(1.0)
    assert alignment(reference + 2.0, reference) == pytest.approx(1.0)
    other = generator.normal(size=(12, 12))
    kernel = (other @ other.T).reshape(2, 6, 2, 6).transpose(0, 2, 1, 3)
    centre = np.eye(12) - 1 / 12
    first, second = centre @ other @ other.T @ centre, centre @ root @ root.T @ centre
    expected = np.trace(first @ second) / np.linalg.norm(first) / np.linalg.norm(second)
    assert alignment(kernel, reference) == pytest.approx(expected)
    batch = alignment(np.stack([kernel, reference]), reference)
    np.testing.assert_allclose(batch, [expected, 1.0])


def random_task(generator: np.random.Generator, supervised: list[list[int]]) -> Task:
    """Targets of two patterns at three times, of which some are trained on."""
    chosen = np.array(supervised, dtype=bool)
    return Task(np.ones((2, 3, 1)), generator.normal(size=(2, 3)), chosen)


@pytest.mark.parametrize(
    "supervised", [[[1, 0, 1], [0, 1, 0]], [[0, 0, 0], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]]
)
def test_outputs_given_the_kernel_are_those_of_the_readout(
    supervised: list[list[int]], generator: np.random.Generator
) -> None:
    """Bayesian regression in the space of the readout, for each of several networks of N = 5."""
    task, readout, kappa, width = random_task(generator, supervised), 0.7, 0.3, 5
    activity = generator.normal(size=(4, 2, 3, width))
    kernels = np.einsum("dptn,dqsn->dpqts", activity, activity) / width
    expected = []
    for one in activity:
        seen, labels = one[task.supervised], task.targets[task.supervised]
        # f = a . v / N, where v is of variance N v and the noise of variance kappa.
        precision = seen.T @ seen / (width**2 * kappa) + np.eye(width) / (width * readout)
        mean = np.linalg.solve(precision, seen.T @ labels / (width * kappa))
        expected.append(one @ mean / width)
    found = conditional_outputs(kernels, task, readout, kappa)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(conditional_outputs(kernels[1], task, readout, kappa), found[1])
    assert (not np.any(supervised)) == (not found.any())


def test_sampled_outputs_scatter_about_those_given_the_kernel() -> None:
    """Their mean difference vanishes within its error, and does not with another kappa."""
    run = exact_run(1.0)
    (task,), (samples,) = run.tasks, sample(run, [run.tasks[0]])
    measures = compare(run, task, None, samples)
    residual, error = (
        measures[f"readout_residual{end}"].to_numpy() for end in ("", "_standard_error")
    )
    assert_z(residual, 0.0, error)
    np.testing.assert_allclose(residual, measures["sampled_output"] - measures["output"])
    # The mean given the kernel is the more precise of both.
    errors = (measures[f"{name}_standard_error"][0, -1] for name in ("output", "sampled_output"))
    assert float(next(errors)) < 0.5 * float(next(errors))
    other = compare(run.model_copy(update={"kappa": 1.5 * run.kappa}), task, None, samples)
    z = other["readout_residual"] / other["readout_residual_standard_error"]
    assert abs(float(z[0, -1])) > 5.0


def test_alignment_with_the_targets(generator: np.random.Generator) -> None:
    """1 for the kernel of the targets, 0 if it is orthogonal to them, 1/sqrt(P T) for the identity."""
    task = random_task(generator, [[1, 1, 1], [1, 0, 1]])
    labels = task.targets
    own = np.einsum("pt,qs->pqts", labels, labels)
    assert target_alignment(3.0 * own, task) == pytest.approx(1.0)
    other = np.array([[labels[1, 0], 0.0, 0.0], [-labels[0, 0], 0.0, 0.0]])
    assert target_alignment(np.einsum("pt,qs->pqts", other, other), task) == pytest.approx(0.0)
    identity = np.einsum("pq,ts->pqts", np.eye(2), np.eye(3))
    assert target_alignment(identity, task) == pytest.approx(6**-0.5)
    # A missing target counts as 0.
    gaps = labels.copy()
    gaps[0, 1] = np.nan
    without = Task(task.inputs, gaps, np.isfinite(gaps))
    filled = Task(task.inputs, np.nan_to_num(gaps), np.ones((2, 3), dtype=bool))
    assert target_alignment(identity + own, without) == target_alignment(identity + own, filled)


def test_error_of_an_alignment_with_the_targets(generator: np.random.Generator) -> None:
    """Of two draws K + X and K - X in turns: the deviation is the derivative along X."""
    task = random_task(generator, [[1, 1, 1], [1, 1, 1]])
    root, shift = generator.normal(size=(2, 3, 9)), generator.normal(size=(2, 3, 2, 3))
    kernel = np.einsum("ptn,qsn->pqts", root, root)
    along = 0.1 * (shift + shift.transpose(2, 3, 0, 1)).transpose(0, 2, 1, 3)
    signs = np.tile([1.0, -1.0], (2, 50))
    found = estimate_target_alignment(kernel + signs[..., None, None, None, None] * along, task)
    assert found.mean == pytest.approx(target_alignment(kernel, task), abs=1e-12)
    slope = float(found.deviation) * (199 / 200) ** 0.5
    ends = [target_alignment(kernel + step * along, task) for step in (-1e-4, 1e-4)]
    assert abs(ends[1] - ends[0]) / 2e-4 == pytest.approx(slope, rel=1e-5)


def test_scale_of_a_kernel_sees_what_all_entries_share(generator: np.random.Generator) -> None:
    """2 % of the size; noise across the reference is not seen, and noise along it is its error."""
    reference = random_kernels(generator)[0, 0]
    size = (reference**2).sum()
    noise = generator.normal(size=(4, 500, *reference.shape))
    onto = np.einsum("...pqts,pqts->...", noise, reference) / size
    across = noise - onto[..., None, None, None, None] * reference
    assert estimate_scale(1.02 * reference + across, reference).mean == pytest.approx(1.02)
    found = estimate_scale(1.02 * reference + noise, reference)
    assert_z(found.mean, 1.02, found.standard_error)
    assert found.deviation == pytest.approx(onto.std(ddof=1))
    assert found.standard_error == pytest.approx((size * 2000) ** -0.5, rel=0.1)


def test_label_kernels() -> None:
    task = EndpointTask(labels=(2.0, -1.0)).make(3)
    temporal, samples = label_kernels(task)
    np.testing.assert_array_equal(temporal, np.diag([0.0, 0.0, 4.0]))
    np.testing.assert_array_equal(samples, [[4.0, -2.0], [-2.0, 1.0]])


def compared(run: Run, with_theory: bool = True) -> xr.Dataset:
    task = run.tasks[0]
    theory = solve(task, run.architecture, run.kappa) if with_theory else None
    return compare(run, task, theory, sample(run, [task])[0])


def test_comparison_names_the_scalars_that_did_not_converge() -> None:
    run = endpoint_run(5.0, burn_in=0.5, duration=1.0, draws=20)
    measures = compared(run)
    assert measures.attrs["converged"] == 0
    assert measures.attrs["faults"].startswith("order_parameter")
    assert measures.attrs["signal"] == pytest.approx(5.0)
    task = run.tasks[0]
    np.testing.assert_array_equal(measures["input"], task.inputs)
    np.testing.assert_array_equal(measures["target"], task.targets)
    assert float(measures["order_parameter"]) > 0
    problem = linear_problem(task, run.architecture, run.kappa)
    np.testing.assert_allclose(
        measures["kernel_theory"][0, 0], stationary_points(problem)[0].kernel
    )
    assert set(measures["nearest_point"].to_numpy()) == {0.0}
    assert int(measures["phases"]) == 1
    assert "eigenvalue" not in measures


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
def test_spectra_are_compared_with_the_edge_of_noise(kind: Kind) -> None:
    """After a time of 1 from the prior, W is still close to pure noise: nothing beyond the edge."""
    run = endpoint_run(0.5, kind=kind, burn_in=0.0, duration=1.0, draws=20, spectra=4)
    measures = compared(run)
    assert measures["eigenvalue"].shape == (2, 4, run.architecture.weight_matrices, 32, 2)
    assert float(measures["noise_edge"]) > 1.2
    np.testing.assert_array_equal(measures["outliers"], 0.0)
    assert measures["eigenvalue_theory"].shape == (3, 2)
    modulus = np.hypot(*np.moveaxis(measures["eigenvalue"].to_numpy(), -1, 0))
    assert float(measures["largest_modulus"]) == pytest.approx(modulus.max(axis=(2, 3)).mean())


def test_eigenvalues_follow_their_kernel_to_the_positive_branch() -> None:
    """W -> -W turns the spectrum by pi: with the kernel mapped, its outlier is positive."""
    run = kinetic_run(
        30.0, burn_in=28.0, ramp=8.0, duration=8.0, draws=40, spectra=4, chains=6, step_size=0.05
    )
    task = run.tasks[0]
    dataset = sample(run, [task])[0]
    measures = compare(run, task, None, dataset)
    m = symmetry.order_parameter(dataset["kernel"].to_numpy(), np.ones(1))
    assert measures["binder_cumulant"] > BROKEN_BINDER
    turned = np.sign(m[:, dataset["spectrum_draw"].to_numpy()])
    assert set(turned.ravel()) == {-1.0, 1.0}
    np.testing.assert_allclose(
        measures["eigenvalue"], dataset["eigenvalue"] * turned[:, :, None, None, None]
    )
    assert (measures["largest_eigenvalue"][..., 0] > 0.5).all()


def test_without_a_theory_the_experiment_is_measured_alone() -> None:
    run = endpoint_run(1.0, draws=20, duration=1.0, spectra=2)
    architecture = run.architecture.model_copy(update={"activation": "erf"})
    run = run.model_copy(update={"architecture": architecture})
    measures = compared(run, with_theory=False)
    assert "kernel" in measures
    assert "eigenvalue" in measures
    assert not [name for name in measures if "theory" in str(name)]


def test_z_scores_reject_what_is_wrong(generator: np.random.Generator) -> None:
    """``assert_z`` fails if one of five values deviates too much."""
    assert_z(np.zeros(5), 4.0, np.ones(5))
    with pytest.raises(AssertionError, match="exceeds"):
        assert_z(np.zeros(5), 6.0, np.ones(5))
