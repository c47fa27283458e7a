"""Claims of figure 4: the phase transition of linear RNNs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import CubicSpline

from weightsharing.figures.claims import (
    FALSE_ALARM,
    ROLE_NAMES,
    ROLES,
    Claim,
    Evidence,
    Finding,
    NoDataError,
    compare,
    judge,
    role_of,
    run_of,
    width_of,
    z_scores,
)
from weightsharing.figures.results import Results
from weightsharing.model.axes import Array

Runs = Sequence[xr.Dataset]
# T of the caption.
DEPTH = 4
# The largest T whose transition is of second order (THEORY 5).
LAST_SECOND_ORDER = 4
# Float64 resolves lambda - lambda_c to about this fraction of lambda_c.
RESOLUTION = 1e-6
# The exponent is fitted to (lambda - lambda_c) / lambda_c < 0.02 with one correction; the next is of
# the order of its square.
EXPONENT_TOLERANCE = 0.02**2
# Points from which the curvature of the Landau curve at m = 0 is extrapolated, polynomials in m^2.
LANDAU_POINTS = 4


def rows(evidence: Evidence) -> list[Claim]:
    """All rows of the figure."""
    scans = {int(scan.attrs["steps"]): scan for scan in evidence.transitions}
    found = []
    for depth in sorted({DEPTH, *scans}):
        scan = scans.get(depth)
        second = depth <= LAST_SECOND_ORDER
        found += [
            judge(
                f"4a-critical-{depth}",
                f"T = {depth}: the ordered branch leaves m = 0 at lambda_c",
                partial(critical_signal_agrees, scan),
            ),
            judge(
                f"4a-order-{depth}",
                f"T = {depth}: the transition is of {'second' if second else 'first'} order",
                partial(order_is, scan, second),
            ),
        ]
        if second:
            found.append(
                judge(
                    f"4a-exponent-{depth}",
                    f"T = {depth}: critical exponent 1/2",
                    partial(exponent_is_half, scan),
                )
            )
    trained, exact = (
        sorted(
            (run for run in evidence.measures if role_of(run) == role),
            key=lambda run: float(run.attrs["signal"]),
        )
        for role in ROLES
    )
    sampled = scans.get(DEPTH)
    for role, runs in zip(ROLES, (trained, exact), strict=True):
        name = ROLE_NAMES[role]
        found += [
            judge(
                f"4a-mean-{role}",
                f"Diamonds: order parameters follow the theory at their N, all points; {name}",
                partial(means_agree, sampled, runs),
                runs,
            ),
            judge(
                f"4a-furthest-{role}",
                f"Diamonds: order parameters follow the theory at their N, each point; {name}",
                partial(each_mean_agrees, sampled, runs),
                runs,
            ),
            judge(
                f"4a-bars-{role}",
                f"Error bars: the fluctuation at equilibrium is the theory's; {name}",
                partial(fluctuations_agree, sampled, runs),
                runs,
            ),
        ]
    pairs = [
        (a, b)
        for a in trained
        for b in exact
        if np.isclose(float(a.attrs["signal"]), float(b.attrs["signal"]))
        and width_of(a) == width_of(b)
    ]
    found.append(
        judge(
            "4a-samplers",
            "Trained networks and the exact sampler have the same order parameter",
            partial(samplers_agree, pairs),
            [run for pair in pairs for run in pair],
        )
    )
    found += [
        judge("4b-below", "Below lambda_c: one minimum, at m = 0", partial(one_minimum, sampled)),
        judge("4b-at", "At lambda_c: flat at m = 0", partial(flat_at_transition, sampled)),
        judge("4b-above", "Above lambda_c: a double well", partial(double_well, sampled)),
    ]
    return found


def critical_signal_agrees(found: xr.Dataset | None) -> Finding:
    """lambda_c in closed form against the end of the branch traced by Newton's method.

    lambda grows as m^2 from there: the first two points are extrapolated to m = 0.
    """
    scan = _there(found)
    critical = float(scan.attrs["critical_signal"])
    m, signal = _branch(scan)
    slope = (signal[1] - signal[0]) / (m[1] ** 2 - m[0] ** 2)
    traced = float(signal[0] - slope * m[0] ** 2)
    apart = abs(traced / critical - 1.0)
    return Finding(
        quantity="lambda at which the traced branch ends in m = 0; theory: closed form",
        theory=critical,
        measured=traced,
        criterion=f"relative difference below {RESOLUTION:g}, what float64 resolves: {apart:.1e}",
        holds=apart < RESOLUTION,
    )


def order_is(found: xr.Dataset | None, second: bool) -> Finding:
    """Whether lambda only grows with m along the branch (second order) or first falls (first order)."""
    scan = _there(found)
    _, signal = _branch(scan)
    lowest = float(signal.min() / scan.attrs["critical_signal"])
    stable = bool((scan["ordered_curvature"].to_numpy() > 0).all())
    grows = bool((np.diff(signal) > 0).all())
    where = "at no lambda"
    if "coexistence_signal" in scan.attrs:
        where = (
            f"at {scan.attrs['coexistence_signal'] / scan.attrs['critical_signal']:.4f} lambda_c"
        )
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


def exponent_is_half(found: xr.Dataset | None) -> Finding:
    """The exponent of the theory's m ~ (lambda - lambda_c)^beta."""
    scan = _there(found)
    if "critical_exponent" not in scan.attrs:
        raise NoDataError("no exponent at a first-order transition")
    exponent = float(scan.attrs["critical_exponent"])
    return Finding(
        quantity="exponent fitted to the ordered branch for m to 0",
        theory=0.5,
        measured=exponent,
        criterion=f"within {EXPONENT_TOLERANCE:g} of 1/2, the first neglected term of the fit: "
        f"{abs(exponent - 0.5):.1e}",
        holds=abs(exponent - 0.5) < EXPONENT_TOLERANCE,
    )


def means_agree(found: xr.Dataset | None, runs: Runs) -> Finding:
    """Chi-square of the mean order parameters against the theory's law of m at this N."""
    z = _mean_scores(found, runs)
    square, count = float((z**2).sum()), z.size
    limit = float(stats.chi2(count).isf(FALSE_ALARM))
    return Finding(
        quantity=f"chi-square of the mean order parameter over {count} lambdas, N = {width_of(runs[0])}",
        theory=float(count),
        measured=square,
        standard_error=float(np.sqrt(2.0 * count)),
        criterion=f"below {limit:.1f}, which chance exceeds in {FALSE_ALARM:.1%} of cases",
        holds=square < limit,
        explanation="Against the law of m at this N, which rounds the transition.",
    )


def each_mean_agrees(found: xr.Dataset | None, runs: Runs) -> Finding:
    """The mean order parameter at the lambda where it deviates most."""
    z = _mean_scores(found, runs)
    mean, error, _ = _law(found, runs)
    test = compare(z, 0.0, np.ones_like(z))
    run = runs[test.index]
    return Finding(
        quantity=f"mean order parameter at lambda = {run.attrs['signal']:.3g}, where it deviates most, "
        f"N = {width_of(run)}",
        theory=float(mean[test.index]),
        measured=float(run["order_parameter"]),
        standard_error=float(np.hypot(run["order_parameter_standard_error"], error[test.index])),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"{_infinite(found, float(run.attrs['signal'])):.3f} for N to infinity.",
    )


def fluctuations_agree(found: xr.Dataset | None, runs: Runs) -> Finding:
    """Standard deviation of the order parameter against that of the law of m at this N.

    The error of a standard deviation s from n effective samples is taken as s / sqrt(2 n), that of
    Gaussian draws.
    """
    _, _, deviation = _law(found, runs)
    measured = np.array([float(run["order_parameter_deviation"]) for run in runs])
    size = np.array([float(run["order_parameter_effective_size"]) for run in runs])
    error = measured / np.sqrt(2.0 * size)
    test = compare(measured, deviation, error)
    run = runs[test.index]
    return Finding(
        quantity=f"fluctuation of the order parameter at lambda = {run.attrs['signal']:.3g}, where it "
        f"deviates most, N = {width_of(run)}",
        theory=float(deviation[test.index]),
        measured=float(measured[test.index]),
        standard_error=float(error[test.index]),
        criterion=f"{test.criterion}; error of a standard deviation as of Gaussian draws",
        holds=test.holds,
    )


def samplers_agree(pairs: Sequence[tuple[xr.Dataset, xr.Dataset]]) -> Finding:
    """Chi-square between both samplers' mean order parameters."""
    if not pairs:
        raise NoDataError("both samplers have no lambda and N in common")
    first, second = (np.array([float(p[i]["order_parameter"]) for p in pairs]) for i in (0, 1))
    errors = [
        np.array([float(p[i]["order_parameter_standard_error"]) for p in pairs]) for i in (0, 1)
    ]
    square = float((z_scores(first, second, np.hypot(*errors)) ** 2).sum())
    limit = float(stats.chi2(len(pairs)).isf(FALSE_ALARM))
    return Finding(
        quantity=f"chi-square between both samplers over {len(pairs)} lambdas",
        theory=float(len(pairs)),
        measured=square,
        standard_error=float(np.sqrt(2.0 * len(pairs))),
        criterion=f"below {limit:.1f}, which chance exceeds in {FALSE_ALARM:.1%} of cases",
        holds=square < limit,
    )


def one_minimum(found: xr.Dataset | None) -> Finding:
    """F(m) at the largest ratio below 1 grows with m > 0 and is curved upwards at m = 0."""
    scan = _there(found)
    ratio = _ratio(scan, scan["landau"].to_numpy() < 1.0, -1, "below lambda_c")
    m, free = _landau(scan, ratio)
    curvature = _curvature(m, free)
    return Finding(
        quantity=f"curvature of F at m = 0, lambda = {ratio:g} lambda_c",
        measured=curvature,
        criterion="positive, and F grows with the modulus of m",
        holds=bool(curvature > 0 and (np.diff(free) > 0).all()),
    )


def flat_at_transition(found: xr.Dataset | None) -> Finding:
    """The curvature of F at m = 0 vanishes at lambda_c, relative to that below."""
    scan = _there(found)
    ratios = scan["landau"].to_numpy()
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


def double_well(found: xr.Dataset | None) -> Finding:
    """The minimum of F at m > 0 is deeper than m = 0 and lies on the ordered branch."""
    scan = _there(found)
    ratio = _ratio(scan, scan["landau"].to_numpy() > 1.0 + 1e-6, -1, "above lambda_c")
    m, free = _landau(scan, ratio)
    lowest = int(free.argmin())
    signal = ratio * float(scan.attrs["critical_signal"])
    return Finding(
        quantity=f"m at the minimum of F, lambda = {ratio:g} lambda_c; error bar: spacing of its points",
        theory=_infinite(scan, signal),
        measured=float(m[lowest]),
        standard_error=float(m[1] - m[0]),
        criterion=f"the ordered branch, within one point; F there less F(0) is negative: "
        f"{free[lowest] - free[0]:.2e}",
        holds=bool(
            free[lowest] < free[0] and abs(m[lowest] - _infinite(scan, signal)) < m[1] - m[0]
        ),
    )


def _mean_scores(found: xr.Dataset | None, runs: Runs) -> Array:
    mean, error, _ = _law(found, runs)
    measured = np.array([float(run["order_parameter"]) for run in runs])
    own = np.array([float(run["order_parameter_standard_error"]) for run in runs])
    return z_scores(measured, mean, np.hypot(own, error))


def _law(found: xr.Dataset | None, runs: Runs) -> tuple[Array, Array, Array]:
    """Mean of the law of m at the runs' lambdas, its interpolation error, and its standard deviation.

    The scan has the law on a grid of ln lambda, interpolated by a cubic spline. The error is the
    difference to the spline through every other point, which is larger.
    """
    scan = _there(found)
    if not runs:
        raise NoDataError("no run of this sampler")
    if "finite_width_mean" not in scan:
        raise NoDataError("the scan has no law of m")
    widths = {width_of(run) for run in runs}
    if widths != {int(scan.attrs["width"])}:
        raise NoDataError(f"the law of m is known for N = {scan.attrs['width']} only")
    if any(int(run_of(run)["architecture"]["steps"]) != DEPTH for run in runs):
        raise NoDataError(f"networks of T other than {DEPTH}")
    at = np.log([float(run.attrs["signal"]) for run in runs])
    grid = np.log(scan["signal"].to_numpy())
    mean, deviation = (scan[f"finite_width_{name}"].to_numpy() for name in ("mean", "deviation"))
    fine = CubicSpline(grid, mean)(at)
    return (
        fine,
        np.abs(fine - CubicSpline(grid[::2], mean[::2])(at)),
        CubicSpline(grid, deviation)(at),
    )


def _infinite(found: xr.Dataset | None, signal: float) -> float:
    """m of the stable ordered branch at lambda for N to infinity, 0 below lambda_c."""
    scan = _there(found)
    m, signals = _branch(scan)
    stable = scan["ordered_curvature"].to_numpy() > 0
    return float(np.interp(signal, signals[stable], m[stable], left=0.0))


def _branch(scan: xr.Dataset) -> tuple[Array, Array]:
    return scan["ordered_order_parameter"].to_numpy(), scan["ordered_signal"].to_numpy()


def _ratio(scan: xr.Dataset, chosen: NDArray[np.bool_], index: int, where: str) -> float:
    found = scan["landau"].to_numpy()[chosen]
    if not found.size:
        raise NoDataError(f"no Landau curve {where} in this preset")
    return float(np.sort(found)[index])


def _landau(scan: xr.Dataset, ratio: float) -> tuple[Array, Array]:
    """m and F of one Landau curve."""
    curve = scan["landau_action"].sel(landau=ratio, method="nearest").to_numpy()
    return scan["landau_order_parameter"].to_numpy(), curve


def _curvature(m: Array, free: Array) -> float:
    """F''(0): (F(m) - F(0)) / m^2 of the first points, extrapolated to m = 0."""
    first = slice(1, 1 + LANDAU_POINTS)
    rise = (free[first] - free[0]) / m[first] ** 2
    return 2.0 * float(np.polynomial.polynomial.polyfit(m[first] ** 2, rise, LANDAU_POINTS - 1)[0])


def _there(scan: xr.Dataset | None) -> xr.Dataset:
    if scan is None:
        raise NoDataError("the theory was not scanned at this T")
    return scan


def claims(results: Results) -> list[Claim]:
    """Stand-in until the branch of the claims is merged."""
    evidence = Evidence(
        measures=tuple(result.data for result in results.runs),
        transitions=tuple(scan.data for scan in results.scans),
        tasks=tuple(result.task for result in results.runs),
    )
    return rows(evidence)
