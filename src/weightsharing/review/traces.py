"""Traces and autocorrelations of chains, as lines of a small vector picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from arviz_stats.base.array import array_stats

from weightsharing.figures.results import Result
from weightsharing.model.axes import Array

# The scalars that decide whether a run has converged, with their names on the page.
OBSERVABLES = {
    "order_parameter": "order parameter", "endpoint_kernel": "last step's kernel", "loss": "loss",
}  # fmt: skip
# Points of a line, and size of a picture in units of its own.
MOST_POINTS, WIDTH, HEIGHT = 150, 240.0, 48.0
# Lags of the autocorrelation, relative to the number of draws.
LAST_LAG = 0.25


class Traces(NamedTuple):
    """The slowest observable of a run.

    name: of the observable. effective_size: its bulk effective sample size. traces: for each chain, the
    points of a line, as SVG takes them. autocorrelation: the same, mean over the chains.
    """

    name: str
    effective_size: float
    traces: list[str]
    autocorrelation: str


def slowest(run: Result) -> Traces:
    """The observable of the smallest effective sample size, and the lines that show it.

    Raises NoDataError if the measures lack the draws.
    """
    sizes = {name: run.value(f"{name}_effective_size") for name in OBSERVABLES}
    name = min(sizes, key=lambda one: sizes[one])
    draws = run.array(f"{name}_draws").astype(float)
    low, high = float(draws.min()), float(draws.max())
    correlation = autocorrelation(draws)
    lags = correlation[: max(2, round(LAST_LAG * draws.shape[1]))]
    return Traces(
        OBSERVABLES[name],
        sizes[name],
        [_line(chain, low, high) for chain in draws],
        _line(lags, min(0.0, float(lags.min())), 1.0),
    )


def autocorrelation(draws: Array) -> Array:
    """The autocorrelation of (chain, draw) against the lag, mean over the chains; 0 if all are equal."""
    if np.ptp(draws) == 0.0:
        return np.zeros(draws.shape[1])
    return np.asarray(np.nan_to_num(array_stats.autocorr(draws, axis=-1)).mean(axis=0))


def _line(values: Array, low: float, high: float) -> str:
    """Points of a line from left to right. low, high: values at the lower and the upper edge."""
    chosen = np.unique(np.linspace(0, len(values) - 1, MOST_POINTS).astype(int))
    x = WIDTH * chosen / max(len(values) - 1, 1)
    y = HEIGHT * (1.0 - (values[chosen] - low) / ((high - low) or 1.0))
    return " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
