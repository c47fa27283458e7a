"""Claims of figure 2: kernels of trained RNNs converge to the theory's as N grows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from weightsharing.figures.claims import SAMPLERS, Claim, Finding, claim, readout_residual
from weightsharing.figures.results import ROLES, NoDataError, Result, Results, values_and_errors
from weightsharing.figures.statistics import (
    antidiagonal,
    compare,
    entry_name,
    freedom_of,
    freedom_of_pairs,
    kernel_entries,
    weighted_fit,
    z_limit,
    z_scores,
)
from weightsharing.measures.kernels import relative_error
from weightsharing.model.axes import Array

Runs = Sequence[Result]
# A trained and an exact run of the same N.
Pair = tuple[Result, Result]
# The exponent is fitted together with the next order: a constant, a slope and a curvature.
FEWEST_WIDTHS = 4
EXTRAPOLATION = "Fitted by a + b/N + c/N^2."
NO_PAIR = "both samplers have no width in common"


def claims(results: Results) -> list[Claim]:
    """All claims of the figure."""
    by_width = Results(tuple(sorted(results.runs, key=lambda run: run.width)))
    trained, exact = (by_width.select(role=role) for role in ROLES)
    pairs = same_width(trained, exact)
    widest = exact[-1] if exact else None
    last = pairs[-1] if pairs else None
    rows = []
    for role, runs in zip(ROLES, (trained, exact), strict=True):
        words = {"role": role, "sampler": SAMPLERS[role]}
        rows += [
            statement.judge(runs, **words)
            for statement in (
                alignment_rises,
                alignment_exponent,
                alignment_limit,
                kernel_limit,
                output_limit,
                readouts_agree,
            )
        ]
    return [
        *rows,
        samplers_align.judge(pairs),
        kernel_agrees.judge(widest),
        kernels_agree.judge(pairs),
        autocorrelation_agrees.judge(widest),
        autocorrelations_agree.judge(last),
        output_agrees.judge(widest),
        outputs_agree.judge(last),
    ]


def same_width(trained: Runs, exact: Runs) -> list[Pair]:
    """Pairs of a trained and an exact run of the same N, by increasing N."""
    return [(a, b) for a in trained for b in exact if a.width == b.width]


@claim(
    "2a-alignment-{role}",
    "CKA between the kernel of the network and the theory's rises to 1 with N; {sampler}",
    also=("alignment",),
)
def alignment_rises(runs: Runs) -> Finding:
    """CKA at the largest N; no step between neighbouring widths falls, and all of them together rise."""
    values, errors, widths = _alignments(runs, 2)
    freedom = freedom_of(runs).min()
    steps = z_scores(values[1:], values[:-1], np.hypot(errors[1:], errors[:-1]), freedom=freedom)
    ends = np.hypot(errors[-1], errors[0])
    rise = float(z_scores(values[-1], values[0], ends, freedom=freedom))
    limit = z_limit(steps.size)
    scaled = widths * (1.0 - values)
    return Finding(
        quantity=f"CKA at N = {widths[-1]:.0f}",
        theory=1.0,
        measured=float(values[-1]),
        standard_error=float(errors[-1]),
        criterion=f"smallest z-score of {steps.size} steps in N above -{limit:.2f}: {steps.min():.2f}; "
        f"z-score from N = {widths[0]:.0f} to {widths[-1]:.0f} above {z_limit():.2f}: {rise:.1f}",
        holds=bool(steps.min() > -limit and rise > z_limit()),
        explanation=f"1 for N to infinity; 1 - CKA is the 1/N term: N (1 - CKA) is {scaled[-1]:.3f} here "
        f"and {scaled[-2]:.3f} at N = {widths[-2]:.0f}.",
    )


@claim("2a-exponent-{role}", "1 - CKA falls as 1/N; {sampler}", also=("alignment",), ours=True)
def alignment_exponent(runs: Runs) -> Finding:
    """Exponent of 1 - CKA ~ N^b (1 + c/N), by weighted least squares."""
    values, errors, widths = _alignments(runs, FEWEST_WIDTHS)
    relative = errors / (1.0 - values)
    columns = np.stack([np.log(widths), np.ones_like(widths), 1.0 / widths], axis=1)
    fitted, error = weighted_fit(columns, np.log(1.0 - values), relative)
    without, _ = weighted_fit(columns[:, :2], np.log(1.0 - values), relative)
    return Finding.of(
        compare(fitted[0], -1.0, error[0], freedom=freedom_of(runs).min()),
        f"exponent of 1 - CKA, N = {widths[0]:.0f} to {widths[-1]:.0f}",
        explanation=f"Fitted with a factor 1 + c/N, the next order; without it: {without[0]:.3f}.",
    )


@claim(
    "2a-limit-{role}",
    "1 - CKA falls to 0 for N to infinity; {sampler}",
    also=("alignment",),
    ours=True,
)
def alignment_limit(runs: Runs) -> Finding:
    """1 - CKA, extrapolated to infinite width."""
    values, errors, widths = _alignments(runs, FEWEST_WIDTHS)
    limit, error = _limits(widths, 1.0 - values[:, None], errors[:, None])
    return Finding.of(
        compare(limit[0], 0.0, error[0], freedom=freedom_of(runs).min()),
        f"1 - CKA for N to infinity, from N = {widths[0]:.0f} to {widths[-1]:.0f}",
        explanation=EXTRAPOLATION,
    )


@claim("2b-limit-{role}", "Kernels converge to the theory's for N to infinity; {sampler}")
def kernel_limit(runs: Runs) -> Finding:
    """Every entry of Phi, extrapolated to infinite width, against the theory's."""
    kernels = [list(map(kernel_entries, _kernels(run))) for run in _several(runs)]
    measured, theory, error = (np.stack(parts) for parts in zip(*kernels, strict=True))
    limit, limit_error = _limits(_widths(runs), measured, error)
    of_theory = kernel_entries(_theory_error(runs[0], "activation_kernel"))
    test = compare(
        limit, theory[0], np.hypot(limit_error, of_theory), freedom=freedom_of(runs).min()
    )
    return Finding.of(
        test,
        f"Phi for N to infinity at {entry_name(runs[0], test.index)}, where it deviates most, from "
        f"N = {runs[0].width} to {runs[-1].width}",
        explanation=EXTRAPOLATION,
    )


@claim(
    "2-output-limit-{role}",
    "Outputs converge to the theory's for N to infinity; {sampler}",
    ours=True,
)
def output_limit(runs: Runs) -> Finding:
    """Mean outputs at all times, extrapolated to infinite width, against the theory's."""
    measured, theory, error = (
        np.stack([run.array(f"output{end}")[0] for run in _several(runs)])
        for end in ("", "_theory", "_standard_error")
    )
    limit, limit_error = _limits(_widths(runs), measured, error)
    of_theory = _theory_error(runs[0], "output")[0]
    test = compare(
        limit, theory[0], np.hypot(limit_error, of_theory), freedom=freedom_of(runs).min()
    )
    return Finding.of(
        test,
        f"output for N to infinity at t = {test.index + 1}, where it deviates most, from "
        f"N = {runs[0].width} to {runs[-1].width}",
        explanation=EXTRAPOLATION,
    )


@claim(
    "2-readout-{role}",
    "Sampled outputs and their means given the kernel agree; {sampler}",
    ours=True,
)
def readouts_agree(runs: Runs) -> Finding:
    """Sampled outputs less those means, all times and widths."""
    return readout_residual(runs)


def _limits(widths: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """Values (width, entry) for N to infinity and their errors, fitted by a + b/N + c/N^2."""
    columns = np.stack([widths**-power for power in (0.0, 1.0, 2.0)], axis=1)
    fits = [weighted_fit(columns, *both) for both in zip(values.T, errors.T, strict=True)]
    limit, error = (np.array([part[0] for part in parts]) for parts in zip(*fits, strict=True))
    return limit, error


def _several(runs: Runs) -> Runs:
    """The runs. Raises NoDataError if their widths are too few to extrapolate."""
    if len(set(_widths(runs))) < FEWEST_WIDTHS:
        raise NoDataError(f"needs {FEWEST_WIDTHS} widths, {len(runs)} there")
    return runs


def _widths(runs: Runs) -> Array:
    return np.array([run.width for run in runs], dtype=float)


def _alignments(runs: Runs, fewest: int) -> tuple[Array, Array, Array]:
    """CKA, its standard error and N of each run. Raises NoDataError for less than ``fewest`` widths."""
    widths = np.array([run.width for run in runs], dtype=float)
    if len(set(widths)) < fewest:
        raise NoDataError(f"needs {fewest} widths, {len(runs)} there")
    return *values_and_errors(runs, "alignment"), widths


@claim(
    "2a-samplers",
    "Networks trained by gradient dynamics and the exact sampler have the same CKA at the same N",
    also=("alignment",),
    missing=NO_PAIR,
    ours=True,
)
def samplers_align(pairs: Sequence[Pair]) -> Finding:
    """CKA of both samplers at every N they share."""
    (first, first_error), (second, second_error) = (
        values_and_errors(runs, "alignment") for runs in zip(*pairs, strict=True)
    )
    test = compare(
        first, second, np.hypot(first_error, second_error), freedom=freedom_of_pairs(pairs)
    )
    return Finding.of(
        test,
        f"difference of CKA at N = {pairs[test.index][0].width}, where they differ most",
        theory=0.0,
        measured=test.measured - test.expected,
    )


@claim("2b-kernel-exact", "The kernel of the widest networks is the theory's; exact sampler")
def kernel_agrees(run: Result) -> Finding:
    """The mean kernel of activations at the largest N against the theory's, every entry."""
    measured, theory, error = _beside_theory(run)
    test = compare(*map(kernel_entries, (measured, theory, error)), freedom=freedom_of([run]))
    where = f"Largest at {entry_name(run, test.index)}; the 1/N term is not in this theory."
    return Finding.of(
        test,
        f"relative Frobenius error of Phi, N = {run.width}; error bar: sampling noise and quadrature",
        theory=0.0,
        measured=relative_error(measured, theory),
        standard_error=float(np.linalg.norm(error) / np.linalg.norm(theory)),
        explanation="" if test.holds else where,
    )


@claim(
    "2b-kernel-trained",
    "Kernels at finite N approach the theory's as the exact posterior at the same N does; "
    "trained networks",
    missing=NO_PAIR,
)
def kernels_agree(pairs: Sequence[Pair]) -> Finding:
    """Kernels of trained networks against the exact sampler's at the same N, every entry."""
    entries = [[list(map(kernel_entries, _kernels(run))) for run in pair] for pair in pairs]
    difference = np.array([first[0] - second[0] for first, second in entries])
    error = np.array([np.hypot(first[2], second[2]) for first, second in entries])
    test = compare(difference, 0.0, error, freedom=freedom_of_pairs(pairs)[:, None])
    first, second = pairs[-1]
    pair, entry = divmod(test.index, difference.shape[1])
    where = (
        f" Largest at N = {pairs[pair][0].width}, {entry_name(first, entry)}: {test.measured:.4f}."
    )
    measured, theory, noise = _kernels(first)
    return Finding.of(
        test,
        f"relative Frobenius error of Phi, N = {first.width}; theory: exact sampler's",
        theory=relative_error(*_kernels(second)[:2]),
        measured=relative_error(measured, theory),
        standard_error=float(np.linalg.norm(noise) / np.linalg.norm(theory)),
        explanation=f"0 for N to infinity. z-scores are against the exact sampler at the same N, at "
        f"{len(pairs)} widths.{'' if test.holds else where}",
    )


@claim(
    "2c-autocorrelation-exact",
    "The autocorrelation along the anti-diagonal is the theory's (dashed); exact sampler",
)
def autocorrelation_agrees(run: Result) -> Finding:
    """Phi(t, T-1-t) at the largest N against the theory's."""
    test = compare(*map(_autocorrelation, _beside_theory(run)), freedom=freedom_of([run]))
    return Finding.of(
        test, f"Phi(t, T-1-t) at N = {run.width}, t = {test.index}, where it deviates most"
    )


@claim(
    "2c-autocorrelation-trained",
    "The autocorrelation along the anti-diagonal is that of the exact posterior at the same N; "
    "trained networks",
    missing=NO_PAIR,
)
def autocorrelations_agree(pair: Pair) -> Finding:
    """Phi(t, T-1-t) of trained networks against the exact sampler's at the largest N they share."""
    (measured, theory, error), (exact, _, exact_error) = (
        list(map(_autocorrelation, _kernels(run))) for run in pair
    )
    test = compare(measured, exact, np.hypot(error, exact_error), freedom=freedom_of(pair).min())
    return Finding.of(
        test,
        f"Phi(t, T-1-t) where it deviates most, t = {test.index}, N = {pair[0].width}; theory: "
        "exact sampler's",
        explanation=f"Theory for N to infinity: {theory[test.index]:.4f}.",
    )


@claim("2-output-exact", "RNNs produce the sinusoid as the theory predicts; exact sampler")
def output_agrees(run: Result) -> Finding:
    """Mean outputs at the largest N against the theory's."""
    expected, error = run.array("output_theory"), run.array("output_standard_error")
    error = np.hypot(error, _theory_error(run, "output"))
    return _outputs([run], expected, error, "N to infinity")


@claim(
    "2-output-trained",
    "RNNs produce the sinusoid as the exact posterior at the same N does; trained networks",
    missing=NO_PAIR,
)
def outputs_agree(pair: Pair) -> Finding:
    """Mean outputs of trained networks against the exact sampler's."""
    error = np.hypot(*(run.array("output_standard_error") for run in pair))
    return _outputs(pair, pair[1].array("output"), error, "exact sampler's")


def _outputs(runs: Runs, expected: Array, error: Array, name: str) -> Finding:
    """Mean outputs of the first run; the error is of all of them."""
    run = runs[0]
    test = compare(run.array("output"), expected, error, freedom=freedom_of(runs).min())
    return Finding.of(
        test,
        f"output where it deviates most, t = {test.index + 1}, N = {run.width}; theory: {name}",
    )


def _theory_error(run: Result, name: str) -> Array:
    """The standard error of the quadrature of the nonlinear theory, 0 for linear networks."""
    theory = run.array(f"{name}_theory")
    found = run.data.get(f"{name}_theory_error")
    return np.zeros_like(theory) if found is None else found.to_numpy()


def _beside_theory(run: Result) -> tuple[Array, Array, Array]:
    """Kernel of activations: measured, theory, and the error of sampling and quadrature together."""
    measured, theory, error = _kernels(run)
    return measured, theory, np.hypot(error, _theory_error(run, "activation_kernel"))


def _kernels(run: Result) -> tuple[Array, Array, Array]:
    """Kernel of activations: measured, theory, standard error."""
    measured, theory, error = (
        run.array(f"activation_kernel{end}") for end in ("", "_theory", "_standard_error")
    )
    return measured, theory, error


def _autocorrelation(kernel: Array) -> Array:
    """Phi(t, T-1-t) for t < T/2: the kernel is symmetric."""
    return antidiagonal(kernel)[: (kernel.shape[-1] + 1) // 2]
