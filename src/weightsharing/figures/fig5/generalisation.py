"""Claims of figure 5, panel b: the generalisation errors of RNNs and DNNs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from weightsharing.figures.claims import Finding, claim
from weightsharing.figures.results import NoDataError, Result, values, values_and_errors
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    ChiSquare,
    by_supervised_count,
    compare,
    freedom_of,
    median,
    score_of_mean,
    within_two_errors,
    z_scores,
)
from weightsharing.measures.generalisation import generalisation_error
from weightsharing.model.axes import Array

Runs = Sequence[Result]
# Of the error of predicting 0, which networks have to reach.
TENTH = 0.1
# A few supervised steps do not identify a rotation: errors of RNNs are above this fraction.
NO_ADVANTAGE = 1.0 / 2.0
NO_SETS = "no sets of these numbers of steps"


@claim(
    "5b-advantage-{role}",
    "RNNs generalise better than DNNs from T/2 supervised steps on; {sampler}",
    missing=NO_SETS,
)
def rnn_is_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """Mean of L_RNN / L_DNN over the sets that both have, from T/2 supervised steps on."""
    pairs = _pairs(dnn, rnn)
    ratios, theories = (
        np.array([one.value(name) / other.value(name) for other, one in pairs])
        for name in ("generalisation_error", "generalisation_error_finite_width")
    )
    gain, error, score, limit = score_of_mean(1.0 - ratios)
    return Finding(
        quantity=f"RNN's error relative to DNN's on the same set, mean over {len(pairs)} sets; error "
        "bar: between sets",
        theory=float(theories.mean()),
        measured=1.0 - gain,
        standard_error=error,
        criterion=f"below 1, paired by sets: t-score above {limit:.2f}: {score:.1f}",
        holds=score > limit,
        explanation="With all steps supervised nothing is left to generalise to.",
    )


def _pairs(dnn: Runs, rnn: Runs) -> list[tuple[Result, Result]]:
    """DNN and RNN of the same set."""
    others = {run.set_name: run for run in dnn}
    return [(others[run.set_name], run) for run in rnn if run.set_name in others]


@claim(
    "5b-aligned-{role}",
    "Task-model alignment: from T/2 supervised steps on, kernels of RNNs are closer to the targets' than "
    "those of DNNs; {sampler}",
    missing=NO_SETS,
)
def rnn_is_aligned(dnn: Runs, rnn: Runs) -> Finding:
    """Alignment <H, Y> / (|H| |Y|) with Y = y y^T of all steps: RNN's less DNN's of the same set."""
    pairs = _pairs(dnn, rnn)
    gains, theories = (
        np.array([one.value(name) - other.value(name) for other, one in pairs])
        for name in ("target_alignment", "target_alignment_theory")
    )
    gain, error, score, limit = score_of_mean(gains)
    return Finding(
        quantity=f"alignment of H with Y, RNN's less DNN's, mean over {len(pairs)} sets; error bar: "
        "between sets",
        theory=float(theories.mean()),
        measured=gain,
        standard_error=error,
        criterion=f"positive, paired by sets: t-score above {limit:.2f}: {score:.1f}",
        holds=score > limit,
    )


@claim(
    "5b-alignment-{kind}-{role}",
    "Alignments of kernels with the targets are the theory's at their N, each set: {network}s; {sampler}",
    ours=True,
)
def alignments_agree(runs: Runs) -> Finding:
    """The set whose alignment deviates most from that of the theory's kernel with its 1/N term."""
    measured, error = values_and_errors(runs, "target_alignment")
    test = compare(
        measured,
        values(runs, "target_alignment_finite_width"),
        error,
        freedom=freedom_of(runs),
    )
    run = runs[test.index]
    return Finding.of(
        test,
        f"alignment of H with Y of the set that deviates most, {run.set_name}, N = {run.width}",
        explanation=f"{run.value('target_alignment_theory'):.3f} for N to infinity."
        f"{elsewhere(run, test.holds)}",
    )


@claim(
    "5b-steps-{role}",
    "RNNs need fewer supervised steps than DNNs to reach a tenth of the error of predicting 0; {sampler}",
    missing=NO_SETS,
)
def rnn_needs_fewer_steps(dnn: Runs, rnn: Runs) -> Finding:
    """The number of supervised steps from which the median error stays below that threshold."""
    target = rnn[0].array("target")
    threshold = TENTH * float(generalisation_error(np.zeros_like(target), target))
    steps = {
        (kind, name): _steps_needed(runs, name, threshold)
        for kind, runs in (("dnn", dnn), ("rnn", rnn))
        for name in ("generalisation_error", "generalisation_error_finite_width")
    }
    (dnn_steps, dnn_theory, rnn_steps, rnn_theory) = steps.values()
    return Finding(
        quantity=f"steps that RNNs need to reach an error of {threshold:.3g}, N = {rnn[0].width}",
        theory=rnn_theory,
        measured=rnn_steps,
        criterion=f"fewer than DNNs, {dnn_steps:g}, and both as many as in theory, {rnn_theory:g} and "
        f"{dnn_theory:g}",
        holds=rnn_steps < dnn_steps and (rnn_steps, dnn_steps) == (rnn_theory, dnn_theory),
    )


def _steps_needed(runs: Runs, name: str, threshold: float) -> float:
    """The smallest n such that medians over sets of n steps and more are below the threshold."""
    groups = by_supervised_count(runs)
    above = [n for n, sets in groups.items() if np.median(values(sets, name)) > threshold]
    later = [n for n in groups if n > max(above, default=0)]
    return float(min(later, default=np.inf))


@claim(
    "5b-few-{role}",
    "A few supervised steps are too few for RNNs as well; {sampler}",
    missing=NO_SETS,
    ours=True,
)
def rnn_is_not_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """The smallest ratio of median errors, RNN to DNN, with few supervised steps."""
    rnn_sets, dnn_sets = by_supervised_count(rnn), by_supervised_count(dnn)
    ratios = {}
    for count in sorted({*rnn_sets, *dnn_sets}):
        if count not in rnn_sets or count not in dnn_sets:
            raise NoDataError(f"RNN or DNN has no set of {count} steps")
        above, above_error, above_theory = _median_error(rnn_sets[count])
        below, below_error, below_theory = _median_error(dnn_sets[count])
        ratio = above / below
        error = math.hypot(above_error, ratio * below_error) / abs(below)
        ratios[count] = (ratio, error, above_theory / below_theory)
    count = min(ratios, key=lambda count: ratios[count][0])
    ratio, error, theory = ratios[count]
    return Finding(
        quantity=f"RNN's median error relative to DNN's with {count} supervised steps, smallest of "
        f"{min(ratios)} to {max(ratios)}",
        theory=theory,
        measured=ratio,
        standard_error=error,
        criterion=f"above {NO_ADVANTAGE:g} for all of them",
        holds=ratio > NO_ADVANTAGE,
    )


def _median_error(runs: Runs) -> tuple[float, float, float]:
    """Median generalisation error of the sets: measured, its error bar, theory."""
    measured, error, theory = _errors(runs)
    return *median(measured, error), float(np.median(theory))


def _errors(runs: Runs) -> tuple[Array, Array, Array]:
    """Generalisation error of each set: measured, standard error, theory with its 1/N term."""
    theory = values(runs, "generalisation_error_finite_width")
    return *values_and_errors(runs, "generalisation_error"), theory


@claim(
    "5b-share-{kind}-{role}",
    "Generalisation errors are the theory's at their N, share of sets: {network}s; {sampler}",
    ours=True,
)
def errors_agree(runs: Runs) -> Finding:
    """Share of the sets within two standard errors of the theory at their N, and their chi-square."""
    inside = within_two_errors(runs)
    measured, error, theory = _errors(runs)
    test = ChiSquare.of(z_scores(measured, theory, error, freedom=freedom_of(runs)))
    count, total = int(inside.sum()), len(runs)
    expected = float(2.0 * stats.norm.cdf(2.0) - 1.0)
    chance = float(stats.binom(total, expected).cdf(count))
    converged = np.array([run.converged for run in runs])
    partly = (
        f"{int(converged.sum())} of {total} sets converged, {int((inside & converged).sum())} of "
        "them agree."
    )
    return Finding(
        quantity=f"share of {total} sets within two standard errors, N = {runs[0].width}",
        theory=expected,
        measured=count / total,
        standard_error=math.sqrt(expected * (1.0 - expected) / total),
        criterion=f"probability of as many or fewer by chance above {FALSE_ALARM:.1%}: {chance:.2g}; "
        f"chi-square of {total} sets {test.criterion}: {test.value:.1f}",
        holds=chance > FALSE_ALARM and test.holds,
        explanation="" if converged.all() else partly,
    )


@claim(
    "5b-furthest-{kind}-{role}",
    "Generalisation errors are the theory's at their N, each set: {network}s; {sampler}",
    ours=True,
)
def each_error_agrees(runs: Runs) -> Finding:
    """The set whose error deviates most from the theory at its N."""
    measured, error, theory = _errors(runs)
    test = compare(measured, theory, error, freedom=freedom_of(runs))
    run = runs[test.index]
    limit = run.value("generalisation_error_theory")
    return Finding.of(
        test,
        f"generalisation error of the set that deviates most, {run.set_name}, N = {run.width}",
        explanation=f"{limit:.3g} for N to infinity.{elsewhere(run, test.holds)}",
    )


def elsewhere(run: Result, holds: bool) -> str:
    """For a claim that fails: how many chains sit at another stationary point of the theory."""
    if holds or "nearest_point" not in run.data:
        return ""
    nearest = run.array("nearest_point")
    return (
        f" {(nearest != 0).sum()} of {nearest.size} chains are nearest to another stationary point."
    )
