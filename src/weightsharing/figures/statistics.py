"""Statistics that claims and plots share: z-scores and their limits, fits, medians, kernel entries.

Errors of means over draws are estimates themselves, so deviations over errors follow Student's t
(``freedom_of``). A z-score is the normal deviate that is exceeded with the same probability. Limits are
such that one claim fails with probability ``FALSE_ALARM`` although program and theory are right. They
are corrected for the number of values compared (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import CubicSpline

from weightsharing.figures.results import NoDataError, Result, values, values_and_errors
from weightsharing.measures.estimate import standard_error
from weightsharing.model.axes import Array, kernel_matrix
from weightsharing.theory.law import OrderParameterLaw

# Probability that one claim fails although program and theory are right.
FALSE_ALARM = 1e-3
# An error bar from this number of effective draws has one degree of freedom. *tests/test_scorecard.py*
DRAWS_PER_FREEDOM = 6.0
# Of histograms, of equal probability.
BINS = 10
# Points of a law between two of its own, for the edges of histograms.
REFINEMENT = 20


def freedom_of(runs: Iterable[Result]) -> Array:
    """Degrees of freedom of the standard errors of each run's means, (run,).

    An error estimated from draws has itself the relative error (2 freedom)^(-1/2). Simulated
    autoregressive chains give 6 effective draws for a degree of freedom, and fewer where draws are
    strongly correlated.
    """
    sizes = np.array([run.data.attrs["smallest_effective_size"] for run in runs], dtype=float)
    return sizes / DRAWS_PER_FREEDOM


def freedom_of_pairs(pairs: Iterable[tuple[Result, Result]]) -> Array:
    """Degrees of freedom of the error of a difference between two runs, at least, (pair,)."""
    return np.array([freedom_of(pair).min() for pair in pairs])


def z_limit(count: int = 1) -> float:
    """Largest modulus of ``count`` z-scores that chance explains."""
    return float(stats.norm.isf(FALSE_ALARM / (2.0 * count)))


def z_scores(
    measured: Array | float,
    expected: Array | float,
    error: Array | float,
    *,
    freedom: Array | float,
) -> Array:
    """z-scores of (measured - expected) / error.

    freedom: degrees of freedom of the errors, infinite for errors that are known. Without an error, a
    score is 0 if both values are equal, and infinite otherwise.
    """
    difference, error = np.broadcast_arrays(np.subtract(measured, expected, dtype=float), error)
    scores = np.where(difference == 0.0, 0.0, np.copysign(np.inf, difference))
    scores = np.divide(difference, error, out=scores, where=error > 0)
    # Beyond the range of float64 the score stays that of Student's t: both are far above any limit.
    chance = stats.t.sf(np.abs(scores), freedom)
    exact = np.isfinite(freedom) & (chance > 0.0)
    return np.asarray(np.where(exact, np.copysign(stats.norm.isf(chance), scores), scores))


@dataclass(frozen=True)
class Comparison:
    """Values beside their expectations, and the one that deviates most.

    index: of that value. measured, expected, error: at it. z: its z-score. count: number of values.
    limit: that the modulus of z must not reach.
    """

    index: int
    measured: float
    expected: float
    error: float
    z: float
    count: int
    limit: float

    @property
    def holds(self) -> bool:
        """Whether all values agree."""
        return bool(abs(self.z) < self.limit)

    @property
    def criterion(self) -> str:
        """The test in words, with its numbers."""
        which = f"largest of {self.count} z-scores" if self.count > 1 else "z-score"
        return f"{which} below {self.limit:.2f}: {abs(self.z):.2f}"


def compare(
    measured: Array | float,
    expected: Array | float,
    error: Array | float,
    *,
    freedom: Array | float,
) -> Comparison:
    """Compare all values at once. freedom: degrees of freedom of the errors, as of ``freedom_of``."""
    *values, degrees = map(np.ravel, np.broadcast_arrays(measured, expected, error, freedom))
    z = z_scores(*values, freedom=degrees)
    index = int(np.abs(z).argmax())
    at = [float(value[index]) for value in (*values, z)]
    return Comparison(index, at[0], at[1], at[2], at[3], z.size, z_limit(z.size))


@dataclass(frozen=True)
class ChiSquare:
    """A sum of squared z-scores. value, freedom: the sum, and its degrees of freedom."""

    value: float
    freedom: int

    @classmethod
    def of(cls, z: Array) -> ChiSquare:
        """That of independent z-scores."""
        return cls(float((z**2).sum()), z.size)

    @property
    def limits(self) -> tuple[float, float]:
        """Chance is outside of them with probability ``FALSE_ALARM``, half on each side."""
        law = stats.chi2(self.freedom)
        return float(law.ppf(FALSE_ALARM / 2.0)), float(law.isf(FALSE_ALARM / 2.0))

    @property
    def holds(self) -> bool:
        """Whether it is neither too large, nor so small that the errors must be too large."""
        low, high = self.limits
        return low < self.value < high

    @property
    def criterion(self) -> str:
        """The test in words, with its numbers."""
        low, high = self.limits
        return f"between {low:.3g} and {high:.3g}, outside which chance is in {FALSE_ALARM:.1%} of cases"


@dataclass(frozen=True)
class Histogram:
    """Shares of draws in bins of equal probability, with errors that count autocorrelation.

    edges: (bin + 1,). share, error: (bin,). place: where the law has the mean density of the bin, (bin,).
    A symbol belongs there, however wide the bin is (Lafferty & Wyatt 1995).
    """

    edges: Array
    share: Array
    error: Array
    place: Array

    @property
    def chi_square(self) -> tuple[float, int]:
        """sum_k (share - 1/K)^2 (1 - 1/K) / error^2, and its K - 1 degrees of freedom.

        For independent draws it is Pearson's statistic, where error^2 = (1 - 1/K) / (K draws). It is
        infinite if a bin has no draw, or all of them.
        """
        bins = len(self.share)
        expected = 1.0 / bins
        square = z_scores(self.share, expected, self.error, freedom=np.inf) ** 2
        return float((1.0 - expected) * square.sum()), bins - 1

    @property
    def densities(self) -> tuple[Array, Array, Array]:
        """Place, density and its error, of the bins that have an end: all but the last."""
        sizes = np.diff(self.edges[:-1])
        return self.place[:-1], self.share[:-1] / sizes, self.error[:-1] / sizes


def histogram(values: Array, law: OrderParameterLaw, bins: int = BINS) -> Histogram:
    """Draws of |m| (chain, draw) counted between quantiles of their law."""
    fine = _refined(law)
    edges = fine.quantiles(np.linspace(0.0, 1.0, bins + 1))
    place = [_place(fine, *pair) for pair in pairwise(edges)]
    edges[-1] = np.inf
    inside = (values >= edges[:-1, None, None]) & (values < edges[1:, None, None])
    counted = np.moveaxis(inside, 0, -1).astype(float)
    return Histogram(edges, counted.mean(axis=(0, 1)), standard_error(counted), np.array(place))


def _place(law: OrderParameterLaw, low: float, high: float) -> float:
    """Where the law has its mean density between two values."""
    inside = (law.order_parameter >= low) & (law.order_parameter <= high)
    m, density = law.order_parameter[inside], law.density[inside]
    return float(m[np.abs(density - density.mean()).argmin()])


def _refined(law: OrderParameterLaw) -> OrderParameterLaw:
    """The law on a finer grid: between two points of its own, its probability is not linear."""
    m = law.order_parameter
    fine = np.linspace(0.0, m[-1], REFINEMENT * (len(m) - 1) + 1)
    return OrderParameterLaw(fine, np.maximum(CubicSpline(m, law.density)(fine), 0.0))


def weighted_fit(columns: Array, heights: Array, errors: Array) -> tuple[Array, Array]:
    """Least-squares coefficients of the columns (value, coefficient), and their standard errors."""
    covariance = np.linalg.inv(columns.T @ (columns / errors[:, None] ** 2))
    fitted = covariance @ columns.T @ (heights / errors**2)
    return fitted, np.sqrt(np.diag(covariance))


def median(numbers: Array, errors: Array) -> tuple[float, float]:
    """The median and its error bar, that of the one or two values in the middle."""
    order = np.argsort(numbers)
    middle = order[(len(numbers) - 1) // 2 : len(numbers) // 2 + 1]
    error = float(np.linalg.norm(errors[middle])) / len(middle)
    return float(numbers[middle].mean()), error


def score_of_mean(values: Array) -> tuple[float, float, float, float]:
    """Mean of values of independent sets, its standard error, its t-score, and what that has to exceed.

    The limit is exceeded with probability ``FALSE_ALARM`` if the mean is 0. Raises NoDataError for less
    than two values.
    """
    count = len(values)
    if count < 2:
        raise NoDataError("needs two sets or more")
    limit = float(stats.t(count - 1).isf(FALSE_ALARM))
    mean, error = float(values.mean()), float(values.std(ddof=1)) / count**0.5
    return mean, error, float(z_scores(mean, 0.0, error, freedom=np.inf)), limit


def within_two_errors(runs: Sequence[Result]) -> NDArray[np.bool_]:
    """Whether generalisation errors are within two standard errors of the theory at their N."""
    measured, error = values_and_errors(runs, "generalisation_error")
    theory = values(runs, "generalisation_error_finite_width")
    return np.asarray(np.abs(measured - theory) < 2.0 * error)


def by_supervised_count(runs: Sequence[Result]) -> dict[int, list[Result]]:
    """The sets by their number of supervised times, in increasing order."""
    groups: dict[int, list[Result]] = {}
    for run in runs:
        groups.setdefault(len(run.supervised_times), []).append(run)
    return dict(sorted(groups.items()))


def extremes(groups: Iterable[Sequence[Result]], name: str) -> Array:
    """Smallest, median and largest value of a measure over the sets of each group, (3, group)."""
    return np.array([np.quantile(values(group, name), (0.0, 0.5, 1.0)) for group in groups]).T


def kernel_entries(kernel: NDArray[np.floating]) -> Array:
    """The different entries of a symmetric kernel (pattern, pattern_, time, time_), one vector."""
    matrix = kernel_matrix(np.asarray(kernel, dtype=np.float64))
    return np.asarray(matrix[np.triu_indices(len(matrix))])


def entry_name(run: Result, index: int) -> str:
    """The patterns and times of an entry of ``kernel_entries``."""
    patterns, steps = run.data.sizes["pattern"], run.data.sizes["time"]
    rows, columns = np.triu_indices(patterns * steps)
    (t, p), (t2, p2) = divmod(int(rows[index]), patterns), divmod(int(columns[index]), patterns)
    return f"t = {t}, t' = {t2}" + (f", p = {p}, p' = {p2}" if patterns > 1 else "")


def antidiagonal(kernel: Array) -> Array:
    """K^(t, T-1-t) of the first pattern, t = 0..T-1."""
    time = np.arange(kernel.shape[-1])
    return np.asarray(kernel[0, 0][time, time[::-1]])
