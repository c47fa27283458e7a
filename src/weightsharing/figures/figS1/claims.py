"""Claims of figure S1: networks of finite width measure the transition of figure 4."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from weightsharing.figures.claims import SAMPLERS, Claim, Finding, claim, law_is_followed, span
from weightsharing.figures.figS1.scaling import (
    OF_M,
    OF_SIGNAL,
    UNIVERSAL_BINDER,
    around_transition,
    at_transition,
    widths,
)
from weightsharing.figures.results import (
    ROLES,
    NoDataError,
    Result,
    Results,
    Scan,
    values_and_errors,
)
from weightsharing.figures.statistics import (
    ChiSquare,
    compare,
    freedom_of,
    weighted_fit,
    z_limit,
    z_scores,
)
from weightsharing.model.axes import Array
from weightsharing.theory.law import OrderParameterLaw

Runs = Sequence[Result]
# The largest distance of a measured exponent from -1/4, and of a measured lambda_c relative to it.
EXPONENT_TOLERANCE, SIGNAL_TOLERANCE = 0.01, 0.01
FEWEST_WIDTHS = 4
# From this N on corrections to the cumulant are those of leading order.
WIDE = 1024
NO_WIDTHS = "no networks at this T by this sampler"


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    scans = sorted(results.scans, key=lambda scan: -scan.depth)
    rows = []
    for scan in scans:
        for role in ROLES:
            runs = at_transition(_of_depth(results.select(role=role), scan), scan)
            words = {"role": role, "sampler": SAMPLERS[role], "depth": scan.depth}
            if role == "exact":
                rows.append(exponent_agrees.judge(scan, runs, **words))
            # Corrections are smallest furthest from the first-order transitions of T = 5 and longer.
            if role == "exact" and scan is scans[-1]:
                rows.append(cumulant_is_universal.judge(scan, runs, **words))
            if role == "exact" or scan is scans[0]:
                rows.append(means_agree.judge(scan, runs, **words))
                rows.append(histograms_agree.judge(scan, runs, **words))
    first = scans[0] if scans else None
    exact = _of_depth(results.select(role="exact"), first) if first else []
    groups = list(around_transition(exact).values())
    around = [run for runs in groups for run in runs]
    return [
        *rows,
        cumulants_cross.judge(first, groups),
        cumulants_agree.judge(first, around),
        order_parameters_collapse.judge(first, around),
    ]


def _of_depth(runs: Runs, scan: Scan) -> list[Result]:
    return [run for run in runs if run.run.architecture.steps == scan.depth]


@claim(
    "S1a-slope-{depth}",
    "T = {depth}: at lambda_c the order parameter falls as N^(-1/4); {sampler}",
    missing=NO_WIDTHS,
    ours=True,
)
def exponent_agrees(scan: Scan, runs: Runs) -> Finding:
    """The slope of ln <|m|> against ln N, and that of the laws at the same widths."""
    _enough(runs)
    measured, error = values_and_errors(runs, "order_parameter")
    relative = error / measured
    columns = np.stack([np.log(widths(runs)), np.ones(len(runs))], axis=1)
    fitted, errors = weighted_fit(columns, np.log(measured), relative)
    law = np.log([_law(scan, run).mean for run in runs])
    expected, _ = weighted_fit(columns, law, relative)
    test = compare(fitted[0], expected[0], errors[0], freedom=freedom_of(runs).min())
    distance = abs(fitted[0] + OF_M)
    return Finding.of(
        test,
        f"slope of ln <|m|> against ln N, N = {runs[0].width} to {runs[-1].width}",
        criterion=f"within {EXPONENT_TOLERANCE:g} of -1/4: {distance:.4f}; against the law of m at these "
        f"widths, {test.criterion}",
        holds=test.holds and distance < EXPONENT_TOLERANCE,
        explanation="-1/4 for N to infinity; corrections fall as N^(-1/2).",
    )


@claim(
    "S1a-mean-{depth}-{role}",
    "T = {depth}: at lambda_c the order parameter is the theory's at each N; {sampler}",
    missing=NO_WIDTHS,
    ours=True,
)
def means_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of <|m|> against the law of m at each width."""
    return _against_laws(runs, "order_parameter", [_law(scan, run).mean for run in runs], "<|m|>")


@claim(
    "S1d-histogram-{depth}-{role}",
    "T = {depth}: at lambda_c the law of m is the theory's at each N; {sampler}",
    missing=NO_WIDTHS,
    ours=True,
)
def histograms_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of histograms of |m| against the law at each width."""
    return law_is_followed(scan, runs, "widths")


@claim("S1b-crossing", "Binder cumulants of all widths cross at lambda_c; exact sampler", ours=True)
def cumulants_cross(scan: Scan, groups: Sequence[Runs]) -> Finding:
    """Weighted mean of the lambda at which the cumulants of neighbouring widths cross.

    Cumulants are parabolas in x = (lambda / lambda_c - 1) N^(1/2), fitted to all lambdas of a width.
    """
    if len(groups) < 2:
        raise NoDataError("needs two widths with several lambdas")
    fits = [_parabola(scan, runs) for runs in groups]
    found = [_crossing(first, second) for (first, _), (second, _) in pairwise(fits)]
    ratios = np.array([ratio for ratio, _ in found])
    # How each crossing moves with the coefficients of its two parabolas, (pair, width, coefficient).
    moves = np.zeros((len(found), len(fits), 3))
    for pair, (ratio, slope) in enumerate(found):
        moves[pair, pair] = (ratio - 1.0) ** np.arange(2, -1, -1) / slope
        moves[pair, pair + 1] = -moves[pair, pair]
    covariance = np.einsum("pwa,wab,qwb->pq", moves, np.stack([error for _, error in fits]), moves)
    weights = np.linalg.solve(covariance, np.ones(len(found)))
    error = float(weights.sum() ** -0.5)
    value = float(ratios @ weights) * error**2
    errors = np.sqrt(np.diag(covariance))
    each = ", ".join(
        f"{ratio:.4f}({round(1e4 * one)})" for ratio, one in zip(ratios, errors, strict=True)
    )
    return Finding(
        quantity=f"lambda / lambda_c at the crossing, mean of {len(found)} pairs of widths",
        theory=1.0,
        measured=value,
        standard_error=error,
        criterion=f"within {SIGNAL_TOLERANCE:g} of 1, which is {SIGNAL_TOLERANCE / error:.1f} errors: "
        f"{abs(value - 1.0):.4f}",
        holds=abs(value - 1.0) < SIGNAL_TOLERANCE and z_limit() * error < SIGNAL_TOLERANCE,
        explanation=f"Pairs of neighbouring widths: {each}.",
    )


def _crossing(narrow: Array, wide: Array) -> tuple[float, float]:
    """lambda / lambda_c at which two parabolas are equal, and the slope of their difference there."""
    difference = wide - narrow
    roots = np.roots(difference)
    real = roots[np.isreal(roots)].real
    if not real.size:
        raise NoDataError("the cumulants of two widths do not cross")
    root = float(real[np.abs(real).argmin()])
    return 1.0 + root, float(np.polyval(np.polyder(difference), root))


def _parabola(scan: Scan, runs: Runs) -> tuple[Array, Array]:
    """Coefficients (highest first) of U against lambda / lambda_c - 1, and their covariance."""
    values, errors = values_and_errors(runs, "binder_cumulant")
    distance = np.array([run.signal for run in runs]) / scan.critical_signal - 1.0
    columns = np.vander(distance, 3)
    covariance = np.linalg.inv(columns.T @ (columns / errors[:, None] ** 2))
    return covariance @ columns.T @ (values / errors**2), covariance


@claim(
    "S1b-universal-{depth}",
    "T = {depth}: at lambda_c the Binder cumulant of wide networks is universal; exact sampler",
    missing=NO_WIDTHS,
    ours=True,
)
def cumulant_is_universal(scan: Scan, runs: Runs) -> Finding:
    """U at lambda_c, extrapolated linearly in N^(-1/2), the leading correction."""
    wide = [run for run in runs if run.width >= WIDE]
    if len(wide) < FEWEST_WIDTHS:
        raise NoDataError(f"needs {FEWEST_WIDTHS} widths from {WIDE} on, {len(wide)} there")
    values, errors = values_and_errors(wide, "binder_cumulant")
    columns = np.stack([np.ones(len(wide)), widths(wide) ** -OF_SIGNAL], axis=1)
    fitted, error = weighted_fit(columns, values, errors)
    laws = np.array([_law(scan, run).binder_cumulant for run in wide])
    test = compare(fitted[0], UNIVERSAL_BINDER, error[0], freedom=freedom_of(wide).min())
    return Finding.of(
        test,
        f"Binder cumulant at lambda_c for N to infinity, from N = {wide[0].width} to {wide[-1].width}",
        explanation=f"The same fit of the theory's laws gives "
        f"{weighted_fit(columns, laws, errors)[0][0]:.4f}. Measured at N = {wide[-1].width}: "
        f"{values[-1]:.4f}({round(1e4 * errors[-1])}); theory there: {laws[-1]:.4f}.",
    )


@claim(
    "S1b-cumulants",
    "Binder cumulants around lambda_c are the theory's at their N; exact sampler",
    ours=True,
)
def cumulants_agree(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of all cumulants around the transition."""
    laws = [_law(scan, run).binder_cumulant for run in runs]
    return _against_laws(runs, "binder_cumulant", laws, "the Binder cumulant")


@claim(
    "S1c-collapse",
    "m N^(1/4) depends on (lambda / lambda_c - 1) N^(1/2), with the theory's corrections; exact sampler",
    ours=True,
)
def order_parameters_collapse(scan: Scan, runs: Runs) -> Finding:
    """Chi-square of <|m|> at all lambdas and widths against the law of m."""
    return _against_laws(runs, "order_parameter", [_law(scan, run).mean for run in runs], "<|m|>")


def _law(scan: Scan, run: Result) -> OrderParameterLaw:
    return scan.law(run.width, run.signal)


def _against_laws(runs: Runs, name: str, laws: Sequence[float], words: str) -> Finding:
    """Chi-square of a measure of each run against that of its law of m."""
    values, errors = values_and_errors(runs, name)
    return Finding.of_chi_square(
        ChiSquare.of(z_scores(values, np.array(laws), errors, freedom=freedom_of(runs))),
        f"chi-square of {words} over {len(runs)} pairs of lambda and N, N = {span(runs)}",
    )


def _enough(runs: Runs) -> None:
    if len(runs) < FEWEST_WIDTHS:
        raise NoDataError(f"needs {FEWEST_WIDTHS} widths, {len(runs)} there")
