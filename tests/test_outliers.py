"""Spectra: the edge of pure noise against random matrices, outliers against drawn weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import KAPPA, PRIOR, assert_z, endpoint, lowest, rotation
from scipy import stats

from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.model.network import Weights
from weightsharing.model.tasks import EndpointTask
from weightsharing.sampling import initial, posterior
from weightsharing.theory import search, transition
from weightsharing.theory.outliers import noise_beyond, noise_edge, weight_eigenvalues
from weightsharing.theory.problem import LinearProblem, full_kernel, linear_problem, predict
from weightsharing.theory.transition import critical_signal

STRONG = [1.0, 1.0, -1.0, -1.0]


def lowest_kernel(problem: LinearProblem) -> Array:
    return full_kernel(problem, lowest(problem).kernel)


# --- outliers of the theory -------------------------------------------------------------------


def test_outlier_references() -> None:
    architecture = Architecture(kind="rnn", steps=4)
    problem = transition.endpoint_problem(2 * critical_signal(4, PRIOR, KAPPA), architecture, KAPPA)
    values = weight_eigenvalues(lowest_kernel(problem), "rnn")
    assert abs(values[0]) == pytest.approx(1.017, abs=5e-4)
    values = weight_eigenvalues(lowest_kernel(endpoint("rnn", 8, STRONG)), "rnn")
    assert values[0] == pytest.approx(1.315, abs=5e-4)
    assert (np.abs(values[1:]) < 1.0).all()


@pytest.mark.parametrize(("steps", "ratio"), [(3, 2.368), (4, 1.931)])
def test_the_outlier_leaves_the_disc_beyond_the_transition(steps: int, ratio: float) -> None:
    """Its modulus grows from 0 at lambda_c, and is 1 at the ratio that theory.md names."""
    architecture = Architecture(kind="rnn", steps=steps)

    def modulus(at: float) -> float:
        signal = at * critical_signal(steps, PRIOR, KAPPA)
        problem = transition.endpoint_problem(signal, architecture, KAPPA)
        return float(np.abs(weight_eigenvalues(lowest_kernel(problem), "rnn")).max())

    assert modulus(0.98) < 1e-5
    assert modulus(1.0001) < 0.05
    assert modulus(ratio - 1e-3) < 1.0 < modulus(ratio + 1e-3)


@pytest.mark.parametrize(
    ("supervised", "reference"),
    [(set(range(1, 11)), 0.807 + 0.587j), ({2, 4, 5, 7, 10}, 0.812 + 0.584j)],
)
def test_outliers_of_a_rotation_are_those_of_its_teacher(
    supervised: set[int], reference: complex
) -> None:
    steps = 10
    task, targets = rotation(steps, supervised)
    architecture = Architecture(kind="rnn", steps=steps, prior=Prior(w=0.5, u=1.0, v=1.0))
    problem = linear_problem(task, architecture, 0.01)
    point = lowest(problem)
    values = weight_eigenvalues(full_kernel(problem, point.kernel), "rnn")
    pair = sorted(values[:2], key=lambda value: value.imag)
    assert pair[1].real == pytest.approx(reference.real, abs=5e-4)
    assert pair[1].imag == pytest.approx(reference.imag, abs=5e-4)
    assert pair[0] == pytest.approx(pair[1].conjugate())
    missed = (targets - predict(problem, point.h)[0])[1:]
    assert 0.5 / steps * (missed @ missed) < 1.5e-4


def test_a_dnn_has_no_outliers() -> None:
    kernel = lowest_kernel(endpoint("dnn", 4, [2.0]))
    np.testing.assert_allclose(weight_eigenvalues(kernel, "dnn"), 0.0, atol=1e-6)


def weights_with_kernel(
    problem_kind: Kind, kernel: Array, labels: list[float], width: int
) -> Weights:
    """Weights drawn given activities of this kernel, for one network (Matheron's rule)."""
    steps = kernel.shape[-1]
    architecture = Architecture(kind=problem_kind, steps=steps)
    task = EndpointTask(labels=tuple(labels)).make(steps)
    target = posterior.build([task], architecture, KAPPA, torch.device("cpu"), torch.float64)
    stream = torch.Generator().manual_seed(5)
    memory = torch.randn(
        1, initial.weight_count(architecture, width, len(labels)), generator=stream,
        dtype=torch.float64,
    )  # fmt: skip
    normal = initial.weights_in(memory, architecture, width, len(labels))
    deviates = torch.randn(1, width, steps * len(labels), generator=stream, dtype=torch.float64)
    pre = initial.activities_from_kernel(kernel_matrix(kernel), deviates, target)
    noise = torch.zeros(1, len(labels), dtype=torch.float64)
    return initial.given_activities(pre, target, initial.from_prior(architecture, normal), noise)


@pytest.mark.parametrize(
    ("kind", "size", "expected"),
    [("rnn", 1.0, 1), ("rnn", 0.25, 0), ("dnn", 1.0, 0), ("dnn", 0.25, 0)],
)
def test_weights_with_the_theorys_kernel_have_its_outliers(
    kind: Kind, size: float, expected: int
) -> None:
    """Figure 3's four cells at N = 512, without any sampling: 1.315 and nothing else."""
    width, labels = 512, [size * label for label in STRONG]
    kernel = lowest_kernel(endpoint(kind, 8, labels))
    weights = weights_with_kernel(kind, kernel, labels, width)
    values = np.linalg.eigvals(weights.recurrent[0].numpy())
    edge = noise_edge(width, 1.0, 1e-3 / len(values))
    outside = values[np.abs(values) > edge]
    assert len(outside) == expected
    if expected:
        # Its fluctuation is of the order 1 / sqrt(N), as that of the edge.
        assert outside[0] == pytest.approx(1.315, abs=3.0 / np.sqrt(width))


def test_second_minimum_of_the_strong_rnn_turns() -> None:
    """Besides the coherent phase there is one whose activities turn by a right angle at each step."""
    problem = endpoint("rnn", 8, [2.0])
    points = [p for p in search.stationary_points(problem) if p.is_minimum]
    assert len(points) == 2
    assert all(point.converged for point in points)
    assert points[1].action > points[0].action + 0.05
    pair = weight_eigenvalues(full_kernel(problem, points[1].kernel), "rnn")[:2]
    assert pair[0] == pytest.approx(pair[1].conjugate(), abs=1e-6)
    assert abs(pair[0]) > 1.0
    np.testing.assert_allclose(np.abs(np.angle(pair)), np.pi / 2, atol=1e-3)


# --- edge of the noise ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "real"), [(2, 2**0.5), (3, 1 + 2**0.5 / 2), (4, 11 * 2**0.5 / 8)]
)
def test_all_eigenvalues_are_counted(width: int, real: float) -> None:
    """At radius 0: N = real + 2 pairs, with the mean numbers of real ones of Edelman et al. (1994)."""
    assert noise_beyond(1e-9, width, 1.0) == pytest.approx((width + real) / 2, rel=1e-6)


@pytest.mark.parametrize("width", [8, 48])
def test_expected_number_beyond_a_radius_matches_random_matrices(width: int) -> None:
    generator, samples, w = np.random.default_rng(3), 4000, 0.5
    noise = generator.normal(size=(samples, width, width)) * np.sqrt(w / width)
    values = np.linalg.eigvals(noise)
    upper = values.imag >= 0
    for radius in np.sqrt(w) * np.array([0.7, 1.0, 1.1, 1.2]):
        counts = ((np.abs(values) > radius) & upper).sum(axis=1)
        error = counts.std(ddof=1) / np.sqrt(samples)
        assert_z(counts.mean(), noise_beyond(float(radius), width, w), error)


@pytest.mark.parametrize("width", [8, 48])
def test_pure_noise_stays_within_the_edge(width: int) -> None:
    """False alarms are no more frequent than stated, and not much rarer: the edge is sharp."""
    generator, samples, stated = np.random.default_rng(4), 4000, 0.05
    edge = noise_edge(width, 2.0, stated)
    noise = generator.normal(size=(samples, width, width)) * np.sqrt(2.0 / width)
    alarms = int((np.abs(np.linalg.eigvals(noise)).max(axis=1) > edge).sum())
    assert stats.binomtest(alarms, samples, stated, alternative="greater").pvalue > 1e-6
    assert alarms > 0.7 * stated * samples


def test_edge_shrinks_to_the_disc() -> None:
    distance = [noise_edge(width, 1.0, 0.01) - 1.0 for width in (64, 256, 1024, 4096)]
    exponents = np.diff(np.log(distance)) / np.log(4.0)
    assert (exponents < -0.45).all()
    assert (exponents > -0.6).all()
    assert noise_edge(256, 0.25, 0.01) == pytest.approx(0.5 * noise_edge(256, 1.0, 0.01))
