"""Claims of figure 4: the phase transition of linear RNNs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from weightsharing.figures.claims import (
    SAMPLERS,
    Claim,
    Finding,
    claim,
    finite_width_kernel,
    law_is_followed,
    most_of_noise,
    span,
)
from weightsharing.figures.fig4.networks import by_network
from weightsharing.figures.results import (
    ROLES,
    NoDataError,
    Result,
    Results,
    Scan,
    values,
    values_and_errors,
)
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    ChiSquare,
    compare,
    freedom_of,
    freedom_of_pairs,
    z_scores,
)
from weightsharing.model.axes import Array

Runs = Sequence[Result]
# A trained and an exact run of the same lambda and N.
Pair = tuple[Result, Result]
# T of the caption.
DEPTH = 4
# The largest T whose transition is of second order (THEORY 5).
LAST_SECOND_ORDER = 4
# Float64 resolves lambda - lambda_c to about this fraction of lambda_c.
RESOLUTION = 1e-6
# The exponent is fitted to (lambda - lambda_c) / lambda_c < 0.02 with one correction; the next is of
# the order of its square.
EXPONENT_TOLERANCE = 0.02**2
# Spectra are judged this far below lambda_c, where fluctuations of m make no outlier.
BELOW = 0.7
# Points from which the curvature of the Landau curve at m = 0 is extrapolated, polynomials in m^2.
LANDAU_POINTS = 4
NO_SCAN = "the theory was not scanned at this T"
NO_LAW = "no theory scan at this T, or no run of this sampler"


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    scans = {scan.depth: scan for scan in results.scans}
    rows = []
    for depth in sorted({DEPTH, *scans}):
        scan = scans.get(depth)
        second = depth <= LAST_SECOND_ORDER
        rows.append(critical_signal_agrees.judge(scan, depth=depth))
        rows.append(
            order_is.judge(
                scan,
                second,
                depth=depth,
                order="second" if second else "first",
                ours=depth != DEPTH,
            )
        )
        if second:
            rows.append(exponent_is_half.judge(scan, depth=depth, ours=depth != DEPTH))
    sampled = scans.get(DEPTH)
    networks = by_network(results.runs)
    trained, exact = (
        [run for run in networks.get(("rnn", DEPTH), []) if run.role == role] for role in ROLES
    )
    for role, runs in zip(ROLES, (trained, exact), strict=True):
        rows += [
            statement.judge(sampled, runs, role=role, sampler=SAMPLERS[role])
            for statement in (means_agree, each_mean_agrees, fluctuations_agree)
        ]
        rows.append(
            histograms_agree.judge(
                sampled, runs_of_panel_b(sampled, runs), role=role, sampler=SAMPLERS[role]
            )
        )
    pairs = [
        (a, b)
        for a in trained
        for b in exact
        if np.isclose(a.signal, b.signal) and a.width == b.width
    ]
    for (kind, depth), runs in networks.items():
        if kind == "dnn":
            rows.append(dnn_has_no_order.judge(runs, depth=depth))
        elif depth != DEPTH:
            scan = scans.get(depth)
            rows.append(other_depths_agree.judge(scan, runs, depth=depth))
            rows.append(other_histograms_agree.judge(scan, runs, depth=depth))
    rows.append(has_no_outlier_below.judge(sampled, exact))
    landau = (one_minimum, flat_at_transition, double_well)
    return [*rows, samplers_agree.judge(pairs), *(statement.judge(sampled) for statement in landau)]


# --- panel a: theory --------------------------------------------------------------------------------


@claim(
    "4a-critical-{depth}",
    "T = {depth}: the ordered branch leaves m = 0 at lambda_c",
    kind="theory",
    missing=NO_SCAN,
    ours=True,
)
def critical_signal_agrees(scan: Scan) -> Finding:
    """lambda_c in closed form against the end of the branch traced by Newton's method.

    lambda grows as m^2 from there: the first two points are extrapolated to m = 0.
    """
    m, signal, _ = scan.branch
    slope = (signal[1] - signal[0]) / (m[1] ** 2 - m[0] ** 2)
    traced = float(signal[0] - slope * m[0] ** 2)
    difference = abs(traced / scan.critical_signal - 1.0)
    return Finding(
        quantity="lambda at which the traced branch ends in m = 0; theory: closed form",
        theory=scan.critical_signal,
        measured=traced,
        criterion=f"relative difference below {RESOLUTION:g}, what float64 resolves: {difference:.1e}",
        holds=difference < RESOLUTION,
    )


@claim(
    "4a-order-{depth}",
    "T = {depth}: the transition is of {order} order",
    kind="theory",
    missing=NO_SCAN,
)
def order_is(scan: Scan, second: bool) -> Finding:
    """Whether lambda only grows with m along the branch (second order) or first falls (first order)."""
    branch = scan.branch
    lowest = float(branch.signal.min() / scan.critical_signal)
    stable, grows = bool(branch.stable.all()), bool((np.diff(branch.signal) > 0).all())
    where = "at no lambda"
    if "coexistence_signal" in scan.data.attrs:
        where = f"at {scan.data.attrs['coexistence_signal'] / scan.critical_signal:.4f} lambda_c"
    return Finding(
        quantity="smallest lambda / lambda_c of the ordered branch",
        theory=1.0 if second else np.nan,
        measured=lowest,
        criterion="lambda grows with m from lambda_c on, and all of the branch is stable"
        if second
        else "lambda falls below lambda_c, where a part of the branch is unstable",
        holds=(grows and stable and lowest > 1.0 - RESOLUTION)
        if second
        else (not grows and not stable and lowest < 1.0 - RESOLUTION),
        explanation=f"Two phases have equal action {where}.",
    )


@claim("4a-exponent-{depth}", "T = {depth}: critical exponent 1/2", kind="theory", missing=NO_SCAN)
def exponent_is_half(scan: Scan) -> Finding:
    """The exponent of the theory's m ~ (lambda - lambda_c)^beta."""
    if "critical_exponent" not in scan.data.attrs:
        raise NoDataError("no exponent at a first-order transition")
    exponent = float(scan.data.attrs["critical_exponent"])
    return Finding(
        quantity="exponent fitted to the ordered branch for m to 0",
        theory=0.5,
        measured=exponent,
        criterion=f"within {EXPONENT_TOLERANCE:g} of 1/2, the first neglected term of the fit: "
        f"{abs(exponent - 0.5):.1e}",
        holds=abs(exponent - 0.5) < EXPONENT_TOLERANCE,
    )


# --- panel a: networks ------------------------------------------------------------------------------


@claim(
    "4a-mean-{role}",
    "Order parameters follow the theory at their N, all points; {sampler}",
    missing=NO_LAW,
)
def means_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of the mean order parameters against the theory's law of m at this N."""
    expected, expected_error, _ = law_at(scan, runs)
    measured, error = values_and_errors(runs, "order_parameter")
    return Finding.of_chi_square(
        ChiSquare.of(
            z_scores(measured, expected, np.hypot(error, expected_error), freedom=freedom_of(runs))
        ),
        f"chi-square of the mean order parameter over {len(runs)} lambdas, N = {runs[0].width}",
        explanation="Against the law of m at this N, which rounds the transition.",
    )


@claim(
    "4a-furthest-{role}",
    "Order parameters follow the theory at their N, each point; {sampler}",
    missing=NO_LAW,
)
def each_mean_agrees(scan: Scan, runs: Runs) -> Finding:
    """The mean order parameter at the lambda where it deviates most."""
    expected, expected_error, _ = law_at(scan, runs)
    return _furthest(scan, runs, expected, expected_error)


@claim(
    "4a-bars-{role}",
    "Error bars: the fluctuation at equilibrium is the theory's; {sampler}",
    missing=NO_LAW,
)
def fluctuations_agree(scan: Scan, runs: Runs) -> Finding:
    """Standard deviation of the order parameter against that of the law of m at this N."""
    _, _, expected = law_at(scan, runs)
    measured = values(runs, "order_parameter_deviation")
    test = compare(
        measured,
        expected,
        values(runs, "order_parameter_deviation_error"),
        freedom=freedom_of(runs),
    )
    run = runs[test.index]
    return Finding.of(
        test,
        f"fluctuation of the order parameter at lambda = {run.signal:.3g}, where it "
        f"deviates most, N = {run.width}",
    )


@claim(
    "4a-samplers",
    "Trained networks and the exact sampler have the same order parameter",
    missing="both samplers have no lambda and N in common",
    ours=True,
)
def samplers_agree(pairs: Sequence[Pair]) -> Finding:
    """Chi-square between both samplers' mean order parameters."""
    (first, first_error), (second, second_error) = (
        values_and_errors(runs, "order_parameter") for runs in zip(*pairs, strict=True)
    )
    return Finding.of_chi_square(
        ChiSquare.of(
            z_scores(
                first, second, np.hypot(first_error, second_error), freedom=freedom_of_pairs(pairs)
            )
        ),
        f"chi-square between both samplers over {len(pairs)} lambdas",
    )


@claim(
    "4a-depth{depth}",
    "T = {depth}: networks follow the theory at their N as well; exact sampler",
    missing=NO_LAW,
    ours=True,
)
def other_depths_agree(scan: Scan, runs: Runs) -> Finding:
    """The mean order parameter below and above lambda_c against the law of m at this N."""
    expected = np.array([scan.law(run.width, run.signal).mean for run in runs])
    return _furthest(scan, runs, expected, np.zeros(len(runs)))


@claim(
    "4a-histogram-depth{depth}",
    "T = {depth}: the law of m is the theory's; exact sampler",
    missing=NO_LAW,
    ours=True,
)
def other_histograms_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of histograms of |m| against the law of m."""
    return law_is_followed(scan, runs, "lambdas")


@claim(
    "4a-dnn",
    "DNN, T = {depth}: no order at any signal; exact sampler",
    missing="no DNNs",
    ours=True,
)
def dnn_has_no_order(runs: Runs) -> Finding:
    """Mean of m against 0, and its fluctuation against that of two independent directions.

    The latter is (H^(T-1,T-1) H^(T-2,T-2) / N)^(1/2).
    """
    _enough(len(runs))
    sizes = [finite_width_kernel(run)[0, 0].diagonal()[-2:] for run in runs]
    spread = np.sqrt([a * b / run.width for (a, b), run in zip(sizes, runs, strict=True)])
    measured, error = values_and_errors(runs, "order_parameter")
    test = compare(
        np.concatenate([measured, values(runs, "order_parameter_deviation")]),
        np.concatenate([np.zeros(len(runs)), spread]),
        np.concatenate([error, values(runs, "order_parameter_deviation_error")]),
        freedom=np.tile(freedom_of(runs), 2),
    )
    which, index = divmod(test.index, len(runs))
    name = ("mean of m", "fluctuation of m")[which]
    return Finding.of(
        test,
        f"{name} at lambda = {runs[index].signal:.3g}, where it deviates most, N = {span(runs)}",
        explanation="Both are 0 for N to infinity.",
    )


@claim(
    "4a-disc",
    "Below lambda_c: no eigenvalue outside the disc; exact sampler",
    missing=NO_SCAN,
    ours=True,
)
def has_no_outlier_below(scan: Scan, runs: Runs) -> Finding:
    """Eigenvalues beyond the edge of the noise in all spectra well below lambda_c."""
    chosen = [run for run in runs if run.signal < BELOW * scan.critical_signal]
    _enough(len(chosen))
    total = sum(int(run.array("outliers").sum()) for run in chosen)
    spectra = sum(run.array("outliers").size for run in chosen)
    most = most_of_noise(len(chosen))
    return Finding(
        quantity=f"eigenvalues beyond the edge of the noise, lambda < {BELOW:g} lambda_c, "
        f"{spectra} spectra, N = {span(chosen)}",
        theory=0.0,
        measured=total,
        criterion=f"at most {most}, which noise exceeds with probability below {FALSE_ALARM:.1%}",
        holds=total <= most,
    )


def _enough(count: int) -> None:
    if not count:
        raise NoDataError("no networks at these lambdas")


def runs_of_panel_b(scan: Scan | None, runs: Runs) -> list[Result]:
    """The runs at the lambdas of the Landau curves."""
    if scan is None or "landau" not in scan.data.sizes:
        return []
    signals = scan.data["landau"].to_numpy() * scan.critical_signal
    return [run for run in runs if np.isclose(run.signal, signals, rtol=1e-9).any()]


def law_at(scan: Scan, runs: Runs) -> tuple[Array, Array, Array]:
    """Mean of the law of m at the runs' lambdas, its interpolation error, and its standard deviation.

    The scan has the law on a grid of ln lambda, interpolated by a cubic spline. The error is the
    difference to the spline through every other point, which is larger.
    """
    if "finite_width_mean" not in scan.data:
        raise NoDataError("the scan has no law of m")
    if {run.width for run in runs} != {scan.transition.width}:
        raise NoDataError(f"the law of m is known for N = {scan.transition.width} only")
    if any(run.run.architecture.steps != DEPTH for run in runs):
        raise NoDataError(f"networks of T other than {DEPTH}")
    at = np.log([run.signal for run in runs])
    grid = np.log(scan.data["signal"].to_numpy())
    mean, deviation = (
        scan.data[f"finite_width_{name}"].to_numpy() for name in ("mean", "deviation")
    )
    fine, coarse = CubicSpline(grid, mean)(at), CubicSpline(grid[::2], mean[::2])(at)
    return fine, np.abs(fine - coarse), CubicSpline(grid, deviation)(at)


def _furthest(scan: Scan, runs: Runs, expected: Array, expected_error: Array) -> Finding:
    """The mean order parameter at each lambda against what is expected there, and its error."""
    measured, error = values_and_errors(runs, "order_parameter")
    test = compare(measured, expected, np.hypot(error, expected_error), freedom=freedom_of(runs))
    run = runs[test.index]
    return Finding.of(
        test,
        f"mean order parameter at lambda = {run.signal:.3g}, where it deviates most, N = {run.width}",
        explanation=f"{_infinite(scan, run.signal):.3f} for N to infinity.",
    )


def _infinite(scan: Scan, signal: float) -> float:
    """m of the stable ordered branch at lambda for N to infinity, 0 below lambda_c."""
    m, signals, stable = scan.branch
    return float(np.interp(signal, signals[stable], m[stable], left=0.0))


# --- panel b ----------------------------------------------------------------------------------------


@claim(
    "4b-histogram-{role}",
    "The negative log-probability of m is N F(m) and its 1/N terms: histograms of m; {sampler}",
    missing=NO_LAW,
    ours=True,
)
def histograms_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of the draws of m at all lambdas of panel b against the law of m at their N."""
    return law_is_followed(scan, runs, "lambdas")


@claim("4b-below", "Below lambda_c: one minimum, at m = 0", kind="theory", missing=NO_SCAN)
def one_minimum(scan: Scan) -> Finding:
    """F(m) at the largest ratio below 1 grows with m > 0 and is curved upwards at m = 0."""
    ratio = _ratio(scan, scan.data["landau"].to_numpy() < 1.0, -1, "below lambda_c")
    m, free = _landau(scan, ratio)
    curvature = _curvature(m, free)
    return Finding(
        quantity=f"curvature of F at m = 0, lambda = {ratio:g} lambda_c",
        measured=curvature,
        criterion="positive, and F grows with the modulus of m",
        holds=bool(curvature > 0 and (np.diff(free) > 0).all()),
    )


@claim("4b-at", "At lambda_c: flat at m = 0", kind="theory", missing=NO_SCAN)
def flat_at_transition(scan: Scan) -> Finding:
    """The curvature of F at m = 0 vanishes at lambda_c, relative to that below."""
    ratios = scan.data["landau"].to_numpy()
    ratio = _ratio(scan, np.isclose(ratios, 1.0), 0, "at lambda_c")
    below = _ratio(scan, ratios < 1.0 - 1e-6, -1, "below lambda_c")
    m, free = _landau(scan, ratio)
    relative = _curvature(m, free) / _curvature(*_landau(scan, below))
    return Finding(
        quantity=f"curvature of F at m = 0, lambda = lambda_c, relative to that at {below:g} lambda_c",
        theory=0.0,
        measured=relative,
        criterion=f"modulus below {RESOLUTION:g}, and F grows with the modulus of m",
        holds=bool(abs(relative) < RESOLUTION and (np.diff(free) > 0).all()),
    )


@claim("4b-above", "Above lambda_c: a double well", kind="theory", missing=NO_SCAN)
def double_well(scan: Scan) -> Finding:
    """The minimum of F at m > 0 is deeper than m = 0 and lies on the ordered branch."""
    ratio = _ratio(scan, scan.data["landau"].to_numpy() > 1.0 + 1e-6, -1, "above lambda_c")
    m, free = _landau(scan, ratio)
    lowest, spacing = int(free.argmin()), float(m[1] - m[0])
    depth = free[lowest] - free[0]
    expected = _infinite(scan, ratio * scan.critical_signal)
    return Finding(
        quantity=f"m at the minimum of F, lambda = {ratio:g} lambda_c; error bar: spacing of its points",
        theory=expected,
        measured=float(m[lowest]),
        standard_error=spacing,
        criterion=f"the ordered branch, within one point; F there less F(0) is negative: {depth:.2e}",
        holds=bool(depth < 0 and abs(m[lowest] - expected) < spacing),
    )


def _ratio(scan: Scan, chosen: NDArray[np.bool_], index: int, where: str) -> float:
    """The ratio lambda / lambda_c at ``index`` of the chosen Landau curves, in increasing order."""
    ratios = scan.data["landau"].to_numpy()[chosen]
    if not ratios.size:
        raise NoDataError(f"no Landau curve {where} in this preset")
    return float(np.sort(ratios)[index])


def _landau(scan: Scan, ratio: float) -> tuple[Array, Array]:
    """m and F of one Landau curve."""
    curve = scan.data["landau_action"].sel(landau=ratio, method="nearest").to_numpy()
    return scan.data["landau_order_parameter"].to_numpy(), curve


def _curvature(m: Array, free: Array) -> float:
    """F''(0): (F(m) - F(0)) / m^2 of the first points, extrapolated to m = 0."""
    first = slice(1, 1 + LANDAU_POINTS)
    rise = (free[first] - free[0]) / m[first] ** 2
    return 2.0 * float(np.polynomial.polynomial.polyfit(m[first] ** 2, rise, LANDAU_POINTS - 1)[0])
