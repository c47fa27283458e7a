"""Means of autocorrelated draws with error bars, and the diagnostics that judge convergence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray

from weightsharing.model.axes import Array

# A chain has converged when these hold for every scalar observable (Vehtari et al. 2021).
LARGEST_RHAT = 1.05
SMALLEST_EFFECTIVE_SIZE = 100.0


@dataclass(frozen=True)
class Estimate:
    """Summary of draws; every field has the shape of one draw.

    mean. standard_error: Monte Carlo error of the mean, which counts autocorrelation. deviation:
    standard deviation of the draws, the fluctuation at equilibrium. effective_size: bulk effective
    sample size of all chains together. rhat: rank-normalised split R-hat.
    """

    mean: Array
    standard_error: Array
    deviation: Array
    effective_size: Array
    rhat: Array

    @property
    def converged(self) -> bool:
        """Whether R-hat and the effective sample size are within their limits everywhere."""
        return bool(
            np.all(self.rhat < LARGEST_RHAT)
            and np.all(self.effective_size > SMALLEST_EFFECTIVE_SIZE)
        )


def estimate(draws: NDArray[np.floating]) -> Estimate:
    """Mean, error bars and diagnostics of draws with the axes (chain, draw, ...), by ArviZ."""
    values = np.asarray(draws, dtype=np.float64)
    axes = {"chain_axis": 0, "draw_axis": 1}
    return Estimate(
        mean=values.mean(axis=(0, 1)),
        standard_error=standard_error(values),
        deviation=values.std(axis=(0, 1), ddof=1),
        effective_size=np.asarray(array_stats.ess(values, method="bulk", **axes)),
        rhat=np.asarray(array_stats.rhat(values, method="rank", **axes)),
    )


def standard_error(draws: Array) -> Array:
    """Monte Carlo error of the mean of draws (chain, draw, ...), which counts autocorrelation."""
    return np.asarray(array_stats.mcse(draws, method="mean", chain_axis=0, draw_axis=1))


def estimate_ratio(above: NDArray[np.floating], below: NDArray[np.floating]) -> Estimate:
    """<above> / <below> of scalar draws (chain, draw), with the errors of its linearisation."""
    denominator = float(np.mean(below, dtype=np.float64))
    ratio = float(np.mean(above, dtype=np.float64)) / denominator
    return estimate(ratio + (above - ratio * below) / denominator)
