"""Means of autocorrelated draws with error bars, and the diagnostics that judge convergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weightsharing.model.axes import Array

# A chain has converged when these hold for every scalar observable (Vehtari et al. 2021).
LARGEST_RHAT = 1.05
SMALLEST_EFFECTIVE_SIZE = 100.0


@dataclass(frozen=True)
class Average:
    """Mean of draws; every field has the shape of one draw.

    standard_error: Monte Carlo error of the mean, which counts autocorrelation. deviation: standard
    deviation of the draws, the fluctuation at equilibrium.
    """

    mean: Array
    standard_error: Array
    deviation: Array


@dataclass(frozen=True)
class Estimate(Average):
    """An average with diagnostics.

    deviation_error: Monte Carlo error of the deviation. effective_size: bulk effective sample size of all
    chains together. rhat: rank-normalised split R-hat.
    """

    deviation_error: Array
    effective_size: Array
    rhat: Array

    @property
    def converged(self) -> bool:
        """Whether R-hat and the effective sample size are within their limits everywhere."""
        return bool(
            np.all(self.rhat < LARGEST_RHAT)
            and np.all(self.effective_size > SMALLEST_EFFECTIVE_SIZE)
        )


def average(draws: NDArray[np.floating]) -> Average:
    """Mean, error bar and fluctuation of draws with the axes (chain, draw, ...)."""
    values = np.asarray(draws, dtype=np.float64)
    return Average(
        values.mean(axis=(0, 1)), standard_error(values), values.std(axis=(0, 1), ddof=1)
    )


def estimate(draws: NDArray[np.floating]) -> Estimate:
    """``average`` with diagnostics by ArviZ, which take much longer.

    What has one value in all draws, such as an output whose targets are all 0, has R-hat 1.
    """
    # Loaded here: it takes a second, and figures need the errors of this module alone.
    from arviz_stats.base.array import array_stats

    values = np.asarray(draws, dtype=np.float64)
    axes = {"chain_axis": 0, "draw_axis": 1}
    mean = average(values)
    spread = standard_error((values - mean.mean) ** 2)
    with np.errstate(invalid="ignore"):
        size = np.asarray(array_stats.ess(values, method="bulk", **axes))
        rhat = np.asarray(array_stats.rhat(values, method="rank", **axes))
    constant = (values == values[:1, :1]).all(axis=(0, 1))
    return Estimate(
        **vars(mean),
        deviation_error=np.divide(
            spread, 2.0 * mean.deviation, out=np.zeros_like(spread), where=mean.deviation > 0
        ),
        effective_size=np.where(constant, float(values.shape[0] * values.shape[1]), size),
        rhat=np.where(constant, 1.0, rhat),
    )


def standard_error(draws: Array) -> Array:
    """Monte Carlo error of the mean of draws (chain, draw, ...), which counts autocorrelation.

    The square is S(0) / (number of draws), with S(0) the spectral density at frequency 0 of an
    autoregressive process of the same autocovariances, whose order minimises Akaike's criterion (as in
    coda: Plummer et al. 2006). Means of chains that differ count as autocorrelation. Estimates from
    effective sample sizes sum autocorrelations up to the first negative ones. Where autocorrelations
    oscillate, as those of underdamped dynamics can, they are too large by a factor of two or more.
    """
    values = np.asarray(draws, dtype=np.float64)
    chains, count = values.shape[:2]
    centred = values - values.mean(axis=(0, 1))
    transform = np.fft.rfft(centred, n=2 * count, axis=1)
    power = (transform.real**2 + transform.imag**2).mean(axis=0)
    orders = min(count - 1, int(10.0 * np.log10(count)))
    # Divided by the same number at all lags, they are those of a process.
    covariance = np.fft.irfft(power, n=2 * count, axis=0)[: orders + 1] / count
    return np.asarray(np.sqrt(_density_at_zero(covariance, count * chains) / (count * chains)))


def _density_at_zero(covariance: Array, draws: int) -> Array:
    """sigma^2 / (1 - sum_k a_k)^2 of x_t = sum_k a_k x_(t-k) + sigma e_t, by Levinson's recursion.

    covariance: autocovariances of lag 0, 1, ..., (lag, ...). draws: their number, for the criterion.
    """
    shape = covariance.shape[1:]
    moving = covariance[0] > 0.0
    scaled = covariance / np.where(moving, covariance[0], 1.0)
    weights = np.zeros((len(covariance) - 1, *shape))
    noise = np.ones(shape)
    best, lowest = np.ones(shape), np.zeros(shape)
    for order in range(1, len(covariance)):
        known = weights[: order - 1]
        partial = (scaled[order] - (known * scaled[order - 1 : 0 : -1]).sum(axis=0)) / noise
        weights[: order - 1] = known - partial * known[::-1]
        weights[order - 1] = partial
        noise = np.maximum(noise * (1.0 - partial**2), np.finfo(float).eps)
        criterion = draws * np.log(noise) + 2.0 * order
        density = noise / (1.0 - weights[:order].sum(axis=0)) ** 2
        better = criterion < lowest
        best, lowest = np.where(better, density, best), np.where(better, criterion, lowest)
    return np.where(moving, best * covariance[0], 0.0)


def estimate_ratio(above: NDArray[np.floating], below: NDArray[np.floating]) -> Estimate:
    """<above> / <below> of scalar draws (chain, draw), with the errors of its linearisation."""
    denominator = float(np.mean(below, dtype=np.float64))
    ratio = float(np.mean(above, dtype=np.float64)) / denominator
    return estimate(ratio + (above - ratio * below) / denominator)
