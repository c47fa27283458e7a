"""Claims of figure 2: kernels of trained RNNs converge to the theory's as N grows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import xarray as xr

from weightsharing.figures.claims import (
    ROLE_NAMES,
    ROLES,
    Claim,
    Evidence,
    Finding,
    NoDataError,
    compare,
    entry_name,
    judge,
    kernel_entries,
    require,
    role_of,
    width_of,
    z_limit,
    z_scores,
)
from weightsharing.figures.results import Results
from weightsharing.measures.compare import relative_error
from weightsharing.model.axes import Array

Runs = Sequence[xr.Dataset]
# The exponent is fitted together with the next order: a constant, a slope and a curvature.
FEWEST_WIDTHS = 4


def rows(evidence: Evidence) -> list[Claim]:
    """All rows of the figure."""
    ordered = sorted(evidence.measures, key=width_of)
    trained, exact = ([run for run in ordered if role_of(run) == role] for role in ROLES)
    pairs = same_width(trained, exact)
    both = [run for pair in pairs for run in pair]
    aligned = ["alignment_converged"]
    found = []
    for role, runs in zip(ROLES, (trained, exact), strict=True):
        name = ROLE_NAMES[role]
        found += [
            judge(
                f"2a-alignment-{role}",
                f"CKA between the kernel of the network and the theory's rises to 1 with N; {name}",
                partial(alignment_rises, runs),
                runs,
                aligned,
            ),
            judge(
                f"2a-exponent-{role}",
                f"1 - CKA falls as 1/N; {name}",
                partial(alignment_exponent, runs),
                runs,
                aligned,
            ),
        ]
    widest = exact[-1:]
    last = pairs[-1:]
    last_both = [run for pair in last for run in pair]
    found += [
        judge(
            "2a-samplers",
            "Networks trained by gradient dynamics and the exact sampler have the same CKA at the same N",
            partial(samplers_align, pairs),
            both,
            aligned,
        ),
        judge(
            "2b-kernel-exact",
            "The kernel of the widest networks is the theory's; exact sampler",
            partial(kernel_agrees, widest),
            widest,
        ),
        judge(
            "2b-kernel-trained",
            "Kernels at finite N approach the theory's as the exact posterior at the same N does; "
            "trained networks",
            partial(kernels_agree, pairs),
            both,
        ),
        judge(
            "2c-autocorrelation-exact",
            "The autocorrelation along the anti-diagonal is the theory's (dashed); exact sampler",
            partial(autocorrelation_agrees, widest),
            widest,
        ),
        judge(
            "2c-autocorrelation-trained",
            "The autocorrelation along the anti-diagonal is that of the exact posterior at the same N; "
            "trained networks",
            partial(autocorrelations_agree, last),
            last_both,
        ),
        judge(
            "2-output-exact",
            "RNNs produce the sinusoid as the theory predicts; exact sampler",
            partial(output_agrees, widest),
            widest,
        ),
        judge(
            "2-output-trained",
            "RNNs produce the sinusoid as the exact posterior at the same N does; trained networks",
            partial(outputs_agree, last),
            last_both,
        ),
    ]
    return found


def same_width(trained: Runs, exact: Runs) -> list[tuple[xr.Dataset, xr.Dataset]]:
    """Pairs of a trained and an exact run of the same N, by increasing N."""
    return [(a, b) for a in trained for b in exact if width_of(a) == width_of(b)]


def alignment_rises(runs: Runs) -> Finding:
    """CKA at the largest N; no step between neighbouring widths falls, and all of them together rise."""
    values, errors, widths = _alignments(runs, 2)
    steps = z_scores(values[1:], values[:-1], np.hypot(errors[1:], errors[:-1]))
    rise = float(z_scores(values[-1], values[0], np.hypot(errors[-1], errors[0])))
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


def alignment_exponent(runs: Runs) -> Finding:
    """Exponent of 1 - CKA ~ N^b (1 + c/N), by weighted least squares."""
    values, errors, widths = _alignments(runs, FEWEST_WIDTHS)
    relative = errors / (1.0 - values)
    columns = np.stack([np.log(widths), np.ones_like(widths), 1.0 / widths], axis=1)
    fitted, error = _weighted_fit(columns, np.log(1.0 - values), relative)
    alone, _ = _weighted_fit(columns[:, :2], np.log(1.0 - values), relative)
    test = compare(fitted[:1], -1.0, error[:1])
    return Finding(
        quantity=f"exponent of 1 - CKA, N = {widths[0]:.0f} to {widths[-1]:.0f}",
        theory=-1.0,
        measured=float(fitted[0]),
        standard_error=float(error[0]),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"Fitted with a factor 1 + c/N, the next order; without it: {alone[0]:.3f}.",
    )


def _alignments(runs: Runs, fewest: int) -> tuple[Array, Array, Array]:
    if len({width_of(run) for run in runs}) < fewest:
        raise NoDataError(f"needs {fewest} widths, {len(runs)} there")
    for run in runs:
        require(run, "alignment")
    values = np.array([float(run["alignment"]) for run in runs])
    errors = np.array([float(run["alignment_standard_error"]) for run in runs])
    return values, errors, np.array([width_of(run) for run in runs], dtype=float)


def _weighted_fit(columns: Array, values: Array, errors: Array) -> tuple[Array, Array]:
    """Coefficients of the columns and their standard errors."""
    covariance = np.linalg.inv(columns.T @ (columns / errors[:, None] ** 2))
    fitted = covariance @ columns.T @ (values / errors**2)
    return fitted, np.sqrt(np.diag(covariance))


def samplers_align(pairs: Sequence[tuple[xr.Dataset, xr.Dataset]]) -> Finding:
    """CKA of both samplers at every N they share."""
    _any(pairs)
    for pair in pairs:
        for run in pair:
            require(run, "alignment")
    first, second = (np.array([float(p[i]["alignment"]) for p in pairs]) for i in (0, 1))
    errors = [np.array([float(p[i]["alignment_standard_error"]) for p in pairs]) for i in (0, 1)]
    error = np.hypot(*errors)
    test = compare(first, second, error)
    index = test.index
    return Finding(
        quantity=f"difference of CKA at N = {width_of(pairs[index][0])}, where they differ most",
        theory=0.0,
        measured=float(first[index] - second[index]),
        standard_error=float(error[index]),
        criterion=test.criterion,
        holds=test.holds,
    )


def kernel_agrees(runs: Runs) -> Finding:
    """The mean kernel of activations at the largest N against the theory's, every entry."""
    run = _one(runs)
    measured, theory, error = _kernels(run)
    test = compare(kernel_entries(measured), kernel_entries(theory), kernel_entries(error))
    size = float(np.linalg.norm(theory))
    return Finding(
        quantity=f"relative Frobenius error of Phi, N = {width_of(run)}; error bar: sampling noise",
        theory=0.0,
        measured=relative_error(measured, theory),
        standard_error=float(np.linalg.norm(error)) / size,
        criterion=test.criterion,
        holds=test.holds,
        explanation=""
        if test.holds
        else f"Largest at {entry_name(run, test.index)}; the 1/N term is not in this theory.",
    )


def kernels_agree(pairs: Sequence[tuple[xr.Dataset, xr.Dataset]]) -> Finding:
    """Kernels of trained networks against the exact sampler's at the same N, every entry."""
    _any(pairs)
    entries = [_difference(pair) for pair in pairs]
    apart, error = (np.concatenate([entry[i] for entry in entries]) for i in (0, 1))
    test = compare(apart, 0.0, error)
    first, second = pairs[-1]
    at, entry = divmod(test.index, entries[0][0].size)
    limit = "" if test.holds else (
        f" Largest at N = {width_of(pairs[at][0])}, {entry_name(first, entry)}: {apart[test.index]:.4f}."
    )  # fmt: skip
    return Finding(
        quantity=f"relative Frobenius error of Phi, N = {width_of(first)}; theory: exact sampler's",
        theory=relative_error(*_kernels(second)[:2]),
        measured=relative_error(*_kernels(first)[:2]),
        standard_error=float(
            np.linalg.norm(_kernels(first)[2]) / np.linalg.norm(_kernels(first)[1])
        ),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"0 for N to infinity. z-scores are against the exact sampler at the same N, at "
        f"{len(pairs)} widths.{limit}",
    )


def autocorrelation_agrees(runs: Runs) -> Finding:
    """Phi(t, T-1-t) at the largest N against the theory's."""
    run = _one(runs)
    measured, theory, error = (_antidiagonal(kernel) for kernel in _kernels(run))
    test = compare(measured, theory, error)
    return Finding(
        quantity=f"Phi(t, T-1-t) at N = {width_of(run)}, t = {test.index}, where it deviates most",
        theory=float(theory[test.index]),
        measured=float(measured[test.index]),
        standard_error=float(error[test.index]),
        criterion=test.criterion,
        holds=test.holds,
    )


def autocorrelations_agree(pairs: Sequence[tuple[xr.Dataset, xr.Dataset]]) -> Finding:
    """Phi(t, T-1-t) of trained networks against the exact sampler's at the largest N they share."""
    first, second = _any(pairs)[-1]
    measured, theory, error = (_antidiagonal(kernel) for kernel in _kernels(first))
    exact, _, exact_error = (_antidiagonal(kernel) for kernel in _kernels(second))
    both = np.hypot(error, exact_error)
    test = compare(measured, exact, both)
    index = test.index
    return Finding(
        quantity=f"Phi(t, T-1-t) where it deviates most, t = {index}, N = {width_of(first)}; theory: "
        "exact sampler's",
        theory=float(exact[index]),
        measured=float(measured[index]),
        standard_error=float(both[index]),
        criterion=test.criterion,
        holds=test.holds,
        explanation=f"Theory for N to infinity: {theory[index]:.4f}.",
    )


def output_agrees(runs: Runs) -> Finding:
    """Mean outputs at the largest N against the theory's."""
    run = _one(runs)
    require(run, "output_theory")
    return _outputs(
        run,
        run["output_theory"].to_numpy(),
        run["output_standard_error"].to_numpy(),
        "N to infinity",
    )


def outputs_agree(pairs: Sequence[tuple[xr.Dataset, xr.Dataset]]) -> Finding:
    """Mean outputs of trained networks against the exact sampler's."""
    first, second = _any(pairs)[-1]
    error = np.hypot(
        first["output_standard_error"].to_numpy(), second["output_standard_error"].to_numpy()
    )
    return _outputs(first, second["output"].to_numpy(), error, "exact sampler's")


def _outputs(run: xr.Dataset, expected: Array, error: Array, name: str) -> Finding:
    measured = run["output"].to_numpy().reshape(-1)
    expected, error = expected.reshape(-1), error.reshape(-1)
    test = compare(measured, expected, error)
    index = test.index
    return Finding(
        quantity=f"output where it deviates most, t = {index + 1}, N = {width_of(run)}; theory: {name}",
        theory=float(expected[index]),
        measured=float(measured[index]),
        standard_error=float(error[index]),
        criterion=test.criterion,
        holds=test.holds,
    )


def _kernels(run: xr.Dataset) -> tuple[Array, Array, Array]:
    """Kernel of activations: measured, theory, standard error."""
    names = ("activation_kernel", "activation_kernel_theory", "activation_kernel_standard_error")
    require(run, *names)
    measured, theory, error = (run[name].to_numpy() for name in names)
    return measured, theory, error


def _difference(pair: tuple[xr.Dataset, xr.Dataset]) -> tuple[Array, Array]:
    first, second = (_kernels(run) for run in pair)
    apart = kernel_entries(first[0]) - kernel_entries(second[0])
    return apart, np.hypot(kernel_entries(first[2]), kernel_entries(second[2]))


def _antidiagonal(kernel: Array) -> Array:
    """Phi(t, T-1-t) of the first pattern for t < T/2; the kernel is symmetric."""
    time = np.arange(kernel.shape[-1])
    along = kernel[0, 0][time, time[::-1]]
    return np.asarray(along[: (len(time) + 1) // 2])


def _one(runs: Runs) -> xr.Dataset:
    if not runs:
        raise NoDataError("no run of this sampler")
    return runs[-1]


def _any(
    pairs: Sequence[tuple[xr.Dataset, xr.Dataset]],
) -> Sequence[tuple[xr.Dataset, xr.Dataset]]:
    if not pairs:
        raise NoDataError("both samplers have no width in common")
    return pairs


def claims(results: Results) -> list[Claim]:
    """Stand-in until the branch of the claims is merged."""
    evidence = Evidence(
        measures=tuple(result.data for result in results.runs),
        transitions=tuple(scan.data for scan in results.scans),
        tasks=tuple(result.task for result in results.runs),
    )
    return rows(evidence)
