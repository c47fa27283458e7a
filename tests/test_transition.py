"""The phase transition: closed forms, order and exponent, Landau curve, finite width."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import KAPPA, PRIOR, endpoint, lowest, posterior_mean, prior_network_kernels, rotation
from scipy import special, stats

from weightsharing.figures.results import NoDataError, Scan
from weightsharing.model.architecture import Architecture, Kind, Prior
from weightsharing.model.axes import Array
from weightsharing.model.tasks import EndpointTask
from weightsharing.theory import action, curves, finite_width, minimiser, search, transition
from weightsharing.theory.law import OrderParameterLaw
from weightsharing.theory.problem import LinearProblem as Problem
from weightsharing.theory.problem import coherence, linear_problem
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import critical_signal

OTHER_PRIOR = Prior(w=0.7, u=1.3, v=0.8)


def rnn(steps: int, prior: Prior = PRIOR) -> Architecture:
    return Architecture(kind="rnn", steps=steps, prior=prior)


def problem_at(ratio: float, steps: int, prior: Prior = PRIOR, kappa: float = KAPPA) -> Problem:
    """The problem at lambda = ``ratio`` lambda_c."""
    signal = ratio * critical_signal(steps, prior, kappa)
    return transition.endpoint_problem(signal, rnn(steps, prior), kappa)


def disordered(signal: float, steps: int, prior: Prior = PRIOR, kappa: float = KAPPA) -> Array:
    """The kernel of the disordered branch."""
    growth = transition.diagonal_growth(signal, steps, prior, kappa)
    return np.diag(transition.diagonal_kernel(growth, steps, prior))


@pytest.mark.parametrize("steps", [3, 4, 7])
def test_action_to_second_order_in_correlations_of_neighbours(
    steps: int, generator: np.random.Generator
) -> None:
    """The quadratic form from which THEORY 5 derives r_c = (T - 1) / (T - 2), at another r as well."""
    problem = problem_at(0.7, steps, OTHER_PRIOR)
    growth = transition.diagonal_growth(
        0.7 * critical_signal(steps, OTHER_PRIOR, KAPPA), steps, OTHER_PRIOR, KAPPA
    )
    diagonal = transition.diagonal_kernel(growth, steps, OTHER_PRIOR)
    z = generator.standard_normal(steps - 1)

    def kernel(size: float) -> Array:
        off = size * z * np.sqrt(diagonal[:-1] * diagonal[1:])
        return np.asarray(np.diag(diagonal) + np.diag(off, 1) + np.diag(off, -1))

    before = np.concatenate([[0.0], z[:-1]])
    form = ((growth - 0.5) * before**2 - growth * before * z + 0.5 * z**2).sum()
    size = 1e-3
    both = sum(action.action(problem, kernel(sign * size)) for sign in (-1, 1))
    measured = (both - 2.0 * action.action(problem, kernel(0.0))) / (2.0 * size**2)
    assert measured == pytest.approx(form, abs=1e-4 * (1.0 + float(z @ z)))


@pytest.mark.parametrize(
    ("steps", "prior", "kappa", "reference", "unit"),
    [
        (3, PRIOR, KAPPA, 8.20125, 1e-5), (4, PRIOR, KAPPA, 2.632238, 1e-6),
        (5, PRIOR, KAPPA, 1.472122, 1e-6), (8, PRIOR, KAPPA, 0.605855, 1e-6),
        (4, OTHER_PRIOR, 0.2, 1.11402, 1e-5),
    ],
)  # fmt: skip
def test_critical_signal_reference(
    steps: int, prior: Prior, kappa: float, reference: float, unit: float
) -> None:
    assert critical_signal(steps, prior, kappa) == pytest.approx(reference, rel=0, abs=0.5 * unit)


def test_growth_reference() -> None:
    signal = 2 * critical_signal(4, PRIOR, KAPPA)
    assert transition.diagonal_growth(signal, 4, PRIOR, KAPPA) == pytest.approx(1.665987, abs=5e-7)


def test_no_transition_for_two_steps() -> None:
    with pytest.raises(ValueError, match="linear RNNs of 3 steps or more"):
        critical_signal(2, PRIOR, KAPPA)
    problem = endpoint("rnn", 2, [np.sqrt(50.0)])
    assert action.lowest_curvature(problem, disordered(50.0, 2))[0] > 0


@pytest.mark.parametrize("prior", [PRIOR, OTHER_PRIOR])
@pytest.mark.parametrize("kappa", [0.01, 1.0])
@pytest.mark.parametrize("steps", [3, 4, 6])
def test_disordered_branch_in_closed_form(steps: int, kappa: float, prior: Prior) -> None:
    """It is stationary for the RNN at every lambda, and loses stability exactly at lambda_c."""
    for ratio in (0.3, 0.999, 1.001, 3.0):
        signal = ratio * critical_signal(steps, prior, kappa)
        kernel = disordered(signal, steps, prior, kappa)
        point = action.stationary_point(problem_at(ratio, steps, prior, kappa), kernel)
        assert point.converged
        assert point.is_minimum == (ratio < 1)


@pytest.mark.parametrize("steps", [3, 4])
@pytest.mark.parametrize("kappa", [0.01, 0.1, 1.0])
def test_second_order_with_exponent_one_half(steps: int, kappa: float) -> None:
    critical = critical_signal(steps, PRIOR, kappa)
    branch = transition.ordered_branch(rnn(steps), kappa, 1.5 * critical)
    assert branch.stable.all()
    assert np.all(np.diff(branch.signal) > 0)
    assert transition.critical_exponent(branch, critical) == pytest.approx(0.5, abs=0.005)
    assert transition.coexistence_signal(branch, rnn(steps), kappa) is None


@pytest.mark.parametrize("steps", [5, 6, 8])
def test_first_order_with_both_branches(steps: int) -> None:
    critical = critical_signal(steps, PRIOR, KAPPA)
    branch = transition.ordered_branch(rnn(steps), KAPPA, 1.2 * critical)
    # It leaves lambda_c backwards and unstable, folds, and returns stable at a finite m.
    assert branch.signal[0] < critical
    assert not branch.stable[0]
    assert branch.stable[-1]
    fold = int(branch.signal.argmin())
    np.testing.assert_array_equal(branch.stable[: fold - 1], False)
    np.testing.assert_array_equal(branch.stable[fold + 1 :], True)
    with pytest.raises(ValueError, match="exponent"):
        transition.critical_exponent(branch, critical)
    coexistence = transition.coexistence_signal(branch, rnn(steps), KAPPA)
    assert coexistence is not None
    assert branch.signal[fold] < coexistence < critical
    # Both phases are minima there, and a search from many starts finds both.
    problem = transition.endpoint_problem(coexistence, rnn(steps), KAPPA)
    minima = [p for p in search.stationary_points(problem, random_starts=10) if not p.faults]
    assert len(minima) == 2
    assert minima[0].action == pytest.approx(minima[1].action, abs=2e-5)


@pytest.mark.parametrize("steps", [3, 4, 5])
def test_ordered_branch_agrees_with_the_minimiser(steps: int) -> None:
    critical = critical_signal(steps, PRIOR, KAPPA)
    branch = transition.ordered_branch(rnn(steps), KAPPA, 3 * critical)
    for index in np.flatnonzero(branch.stable)[[-40, -1]]:
        problem = transition.endpoint_problem(float(branch.signal[index]), rnn(steps), KAPPA)
        kernel = minimiser.minimise(problem, branch.kernel[index] * 1.001)
        m = branch.order_parameter[index]
        assert coherence(problem, kernel) == pytest.approx(m, rel=1e-5)
        assert action.action(problem, kernel) == pytest.approx(branch.action[index], abs=1e-11)


def test_landau_curve_has_the_stationary_points_as_extrema() -> None:
    for ratio in (0.6, 1.0, 2.0):
        problem = problem_at(ratio, 4)
        curve = transition.landau_curve(problem, np.linspace(0.0, 6.0, 241))
        point = search.stationary_points(problem)[0]
        m = abs(coherence(problem, point.kernel))
        assert curve.action.min() == pytest.approx(point.action, abs=1e-5)
        assert curve.order_parameter[curve.action.argmin()] == pytest.approx(m, abs=0.0251)
        # dF/dm = 2 dS/dH^(T-1,T-2) at the constrained minimum, for both of its entries.
        slopes = np.gradient(curve.action, curve.order_parameter, edge_order=2)
        forces = [2 * action.gradient(problem, kernel)[-1, -2] for kernel in curve.kernel]
        np.testing.assert_allclose(slopes[1:-1], forces[1:-1], atol=1e-4)


@pytest.mark.parametrize(("steps", "ratio"), [(4, 8.0), (5, 3.0), (8, 3.0)])
def test_landau_curve_leaves_the_disordered_kernel_where_that_is_a_saddle(
    steps: int, ratio: float
) -> None:
    """Far beyond the transition other correlations appear even at m = 0."""
    problem = problem_at(ratio, steps)
    point = search.stationary_points(problem)[0]
    m = coherence(problem, point.kernel)
    grid = np.linspace(0.0, 1.2 * m, 61)
    curve = transition.landau_curve(problem, grid)
    diagonal = disordered(ratio * critical_signal(steps, PRIOR, KAPPA), steps)
    assert curve.action[0] < action.action(problem, diagonal) - 1e-4
    # The lowest point of the curve is the lowest minimum of S, which was found independently.
    nearest = int(np.abs(grid - m).argmin())
    assert curve.action.argmin() == nearest
    assert -1e-12 <= curve.action[nearest] - point.action < 1e-3 * abs(point.action)
    assert (np.linalg.eigvalsh(curve.kernel) > 0).all()


def test_landau_curve_does_not_depend_on_its_grid() -> None:
    """Where steps at distance 2 are correlated already at m = 0, at a high temperature and small w."""
    prior = Prior(w=0.5, u=1.0, v=1.0)
    network = Architecture(kind="rnn", steps=8, prior=prior)
    problem = transition.endpoint_problem(1.1 * critical_signal(8, prior, 0.3), network, 0.3)
    coarse = transition.landau_curve(problem, np.linspace(0.0, 6.0, 31))
    fine = transition.landau_curve(problem, np.linspace(0.0, 6.0, 121))
    assert coarse.kernel[0, -1, -3] > 0.1
    np.testing.assert_allclose(coarse.action, fine.action[::4], atol=1e-10)


def test_landau_curve_refuses_a_grid_that_does_not_start_at_zero() -> None:
    with pytest.raises(ValueError, match="start at 0"):
        transition.landau_curve(problem_at(1.0, 4), [0.1, 0.2])


@pytest.mark.parametrize(
    ("steps", "order"), [(3, "second"), (4, "second"), (5, "first"), (6, "first")]
)
def test_sign_of_the_quartic_term_decides_the_order(steps: int, order: str) -> None:
    m = np.linspace(0.0, 0.15 * transition.critical_growth(steps) ** steps, 16)
    gain = transition.landau_curve(problem_at(1.0, steps), m).action
    gain = gain - gain[0]
    quadratic, quartic, _ = np.linalg.lstsq(np.stack([m**2, m**4, m**6], 1), gain, rcond=None)[0]
    assert abs(quadratic) < 1e-2 * abs(quartic) * m[-1] ** 2
    assert (quartic > 0) == (order == "second")


# --- finite width -----------------------------------------------------------------------------


def test_subleading_gradient_matches_finite_differences(generator: np.random.Generator) -> None:
    problem = endpoint("rnn", 3, [0.8, -0.5], kappa=0.3)
    kernel = search.random_start(problem, generator)
    raw = generator.normal(size=kernel.shape)
    direction = 1e-4 * kernel @ (raw + raw.T) @ kernel / np.linalg.norm(kernel) ** 2
    change = finite_width.subleading_action(problem, kernel + direction)
    change -= finite_width.subleading_action(problem, kernel - direction)
    expected = 2 * (finite_width.subleading_gradient(problem, kernel) * direction).sum()
    assert change == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kind", ["rnn", "dnn"])
@pytest.mark.parametrize("several_times", [False, True])
def test_gradient_of_the_fluctuations_matches_finite_differences(
    kind: Kind, several_times: bool, generator: np.random.Generator
) -> None:
    """d ln det S''/dG in closed form; the central difference is exact to about 1e-8."""
    problem = endpoint(kind, 3, [1.2, -0.7], 0.2, OTHER_PRIOR)
    if several_times:
        architecture = Architecture(kind=kind, steps=4, prior=OTHER_PRIOR)
        problem = linear_problem(rotation(4, {1, 2, 4})[0], architecture, 0.2)
    kernel = search.random_start(problem, generator)
    direction = generator.normal(size=kernel.shape)
    direction = 1e-5 * (direction + direction.T)
    inverse = np.linalg.inv(action.hessian(problem, kernel))
    gradient = finite_width.fluctuation_gradient(problem, kernel, inverse)
    np.testing.assert_allclose(gradient, gradient.T, atol=1e-10 * np.abs(gradient).max())

    def log_determinant(shift: Array) -> float:
        return float(np.linalg.slogdet(action.hessian(problem, kernel + shift))[1])

    change = log_determinant(direction) - log_determinant(-direction)
    assert change == pytest.approx(2 * (gradient * direction).sum(), rel=1e-5)


def test_correction_makes_the_error_second_order_in_one_over_n() -> None:
    """Mean kernels of the exact posterior at width N, by reweighting untrained networks.

    The remainder after the 1/N term has to fall like 1/N^2. Diagonal entries, T = 3, two widths; the
    leading error is resolved by more than eight standard errors, the rest is not at the largest N.
    """
    task = EndpointTask(labels=(0.4**0.5,)).make(3)
    problem = linear_problem(task, rnn(3), 0.3)
    kernel = search.stationary_points(problem)[0].kernel
    correction = np.diag(finite_width.kernel_correction(problem, kernel))
    for width, samples in ((12, 60_000), (24, 40_000)):
        kernels = prior_network_kernels(task, "rnn", width, samples, seed=width)
        diagonal = kernels[:, range(3), range(3)]
        mean, error, size = posterior_mean(diagonal, kernels, task, width, 0.3)
        assert size > 10_000
        plain = np.abs(mean - np.diag(kernel))
        corrected = np.abs(mean - np.diag(kernel) - correction / width)
        assert np.max(plain / error) > 8
        # The next order, with a coefficient as large as the correction itself at most fourfold.
        assert np.all(corrected < 4.5 * error + 4 * np.abs(correction) / width**2)
        assert corrected.sum() < 0.35 * plain.sum()


@pytest.mark.parametrize("ratio", [0.4, 1.0])
def test_order_parameter_law_below_and_at_the_transition(ratio: float) -> None:
    """Mean |m| at finite width against reweighted untrained networks.

    The infinite-width theory says m = 0 in both cases, an error of 100 %; at N = 16 the law has to
    explain nine tenths of it. Below the transition doubling N must divide the law's error by more than
    2, the factor of a first-order error; at lambda_c the expansion is in powers of N^(-1/2).
    """
    kappa = 1.0
    signal = ratio * critical_signal(4, PRIOR, kappa)
    task = EndpointTask(labels=(signal**0.5,)).make(4)
    problem = linear_problem(task, rnn(4), kappa)
    gaps = {}
    for width in (8, 16):
        law = finite_width.order_parameter_law(problem, width)
        kernels = prior_network_kernels(task, "rnn", width, 40_000, seed=5)
        mean, _, size = posterior_mean(np.abs(kernels[:, 3, 2]), kernels, task, width, kappa)
        assert size > 400
        gaps[width] = law.mean / float(mean) - 1.0
    assert abs(gaps[16]) < 0.1
    if ratio < 1:
        assert abs(gaps[16]) < 0.45 * abs(gaps[8])


def test_order_parameter_law_far_above_a_first_order_transition() -> None:
    """Its mean against the expansion around the minimum, m + D/N: the difference is of order 1/N^2."""
    problem = transition.endpoint_problem(4.0, rnn(8), KAPPA)
    point = search.stationary_points(problem)[0]
    m = coherence(problem, point.kernel)
    correction = coherence(problem, finite_width.kernel_correction(problem, point.kernel))
    gaps = [
        finite_width.order_parameter_law(problem, width).mean - m - correction / width
        for width in (512, 1024)
    ]
    assert abs(gaps[0]) < 0.1 * abs(correction) / 512
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.2)


def law_of(density: Array, m: Array) -> OrderParameterLaw:
    """A law of this density, up to its size."""
    return OrderParameterLaw(m, density / np.trapezoid(density, m))


def test_moments_of_laws_in_closed_form() -> None:
    """A Gaussian of width 0.3, and p(m) proportional to exp(-m^4)."""
    # The kink of |m| at 0 leaves an error of second order in the spacing, 1e-5.
    m = np.linspace(0.0, 3.0, 1001)
    gaussian = law_of(np.exp(-0.5 * (m / 0.3) ** 2), m)
    assert gaussian.mean == pytest.approx(0.3 * np.sqrt(2.0 / np.pi), rel=1e-4)
    assert gaussian.deviation == pytest.approx(0.3 * np.sqrt(1.0 - 2.0 / np.pi), rel=1e-4)
    assert gaussian.binder_cumulant == pytest.approx(0.0, abs=1e-9)
    quartic = law_of(np.exp(-(m**4)), m)
    for power in (1, 2, 3, 4, 6):
        expected = special.gamma((power + 1) / 4) / special.gamma(1 / 4)
        assert quartic.moment(power) == pytest.approx(expected, rel=1e-4)
    assert quartic.binder_cumulant == pytest.approx(0.2705208, abs=1e-6)


def test_probabilities_and_quantiles_of_a_law() -> None:
    """Those of a Gaussian; each is the inverse of the other."""
    m = np.linspace(0.0, 3.0, 1001)
    law = law_of(np.exp(-0.5 * (m / 0.3) ** 2), m)
    half = stats.halfnorm(scale=0.3)
    edges = np.array([0.0, 0.1, 0.35, 0.9])
    np.testing.assert_allclose(law.probability(edges), np.diff(half.cdf(edges)), atol=1e-5)
    shares = np.array([0.0, 0.05, 0.5, 0.93])
    np.testing.assert_allclose(law.quantiles(shares), half.ppf(shares), atol=1e-5)
    np.testing.assert_allclose(law.probability(law.quantiles(shares)), np.diff(shares), atol=1e-12)


def test_cumulant_of_wide_networks_at_the_transition_is_universal() -> None:
    """That of exp(-m^4); what is left falls as N^(-1/2), by 10 from N to 100 N."""
    problem = problem_at(1.0, 3)
    gaps = [
        finite_width.order_parameter_law(problem, width, points=61).binder_cumulant - 0.2705208
        for width in (10**6, 10**8)
    ]
    assert abs(gaps[1]) < 1e-4
    assert gaps[0] / gaps[1] == pytest.approx(10.0, rel=0.02)


def test_scan_has_the_laws_it_is_asked_for() -> None:
    """At pairs of N and lambda / lambda_c, found by these and by no other."""
    critical = critical_signal(3, PRIOR, KAPPA)
    settings = Transition(
        id="test/depth3", architecture=rnn(3), kappa=KAPPA, largest_signal=1.2 * critical, points=5,
        laws=((100, 0.9), (400, 0.9)),
    )  # fmt: skip
    found = Scan(settings, curves.scan(settings))
    expected = finite_width.order_parameter_law(problem_at(0.9, 3), 400)
    law = found.law(400, 0.9 * critical)
    np.testing.assert_allclose(law.order_parameter, expected.order_parameter, rtol=1e-9)
    np.testing.assert_allclose(law.density, expected.density, rtol=1e-6, atol=1e-9)
    assert float(found.data["law_mean"][1]) == pytest.approx(expected.mean)
    assert float(found.data["law_binder_cumulant"][1]) == pytest.approx(expected.binder_cumulant)
    for width, ratio in ((200, 0.9), (400, 0.9 + 1e-6)):
        with pytest.raises(NoDataError, match=f"test/depth3 has no law of m at N = {width}"):
            found.law(width, ratio * critical)


def test_order_parameter_law_tends_to_the_theory() -> None:
    problem = problem_at(2.0, 4)
    m = coherence(problem, lowest(problem).kernel)
    gaps = [finite_width.order_parameter_law(problem, n).mean - m for n in (4000, 16000)]
    assert abs(gaps[1]) < 2e-3 * m
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.1)
