"""Claims of figure 5, panel b: the generalisation errors of RNNs and DNNs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from scipy import stats

from weightsharing.figures.claims import Finding, claim
from weightsharing.figures.results import NoDataError, Result, values, values_and_errors
from weightsharing.figures.statistics import (
    FALSE_ALARM,
    by_supervised_count,
    compare,
    median,
    within_two_errors,
)
from weightsharing.model.axes import Array

Runs = Sequence[Result]
# From T/2 supervised steps on, errors of RNNs are below this fraction of those of DNNs.
ADVANTAGE = 1.0 / 5.0
# A few supervised steps do not identify a rotation: errors of RNNs are above this fraction.
NO_ADVANTAGE = 1.0 / 2.0
NO_SETS = "no sets of these numbers of steps"


@claim(
    "5b-advantage-{role}",
    "RNNs generalise better than DNNs from T/2 supervised steps on; {sampler}",
    missing=NO_SETS,
)
def rnn_is_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """The largest ratio of median errors, RNN to DNN, from T/2 supervised steps on."""
    return _extreme_ratio(
        dnn,
        rnn,
        "largest",
        f"below {ADVANTAGE:g} for all of them",
        explanation="With all steps supervised nothing is left to generalise to.",
    )


@claim(
    "5b-few-{role}",
    "A few supervised steps are too few for RNNs as well; {sampler}",
    missing=NO_SETS,
)
def rnn_is_not_ahead(dnn: Runs, rnn: Runs) -> Finding:
    """The smallest ratio of median errors, RNN to DNN, with few supervised steps."""
    return _extreme_ratio(dnn, rnn, "smallest", f"above {NO_ADVANTAGE:g} for all of them")


def _extreme_ratio(
    dnn: Runs, rnn: Runs, which: Literal["largest", "smallest"], criterion: str, **fields: Any
) -> Finding:
    """RNN's median error over DNN's at the number of supervised steps where it is most extreme."""
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
    pick = max if which == "largest" else min
    count = pick(ratios, key=lambda count: ratios[count][0])
    ratio, error, theory = ratios[count]
    return Finding(
        quantity=f"RNN's median error relative to DNN's with {count} supervised steps, {which} of "
        f"{min(ratios)} to {max(ratios)}",
        theory=theory,
        measured=ratio,
        standard_error=error,
        criterion=criterion,
        holds=ratio < ADVANTAGE if which == "largest" else ratio > NO_ADVANTAGE,
        **fields,
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
)
def errors_agree(runs: Runs) -> Finding:
    """Share of the sets whose error is within two standard errors of the theory at their N."""
    inside = within_two_errors(runs)
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
        criterion=f"probability of as many or fewer by chance above {FALSE_ALARM:.1%}: {chance:.2g}",
        holds=chance > FALSE_ALARM,
        explanation="" if converged.all() else partly,
    )


@claim(
    "5b-furthest-{kind}-{role}",
    "Generalisation errors are the theory's at their N, each set: {network}s; {sampler}",
)
def each_error_agrees(runs: Runs) -> Finding:
    """The set whose error deviates most from the theory at its N."""
    measured, error, theory = _errors(runs)
    test = compare(measured, theory, error)
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
