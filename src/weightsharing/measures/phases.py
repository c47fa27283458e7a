"""The minima of the theory that are phases of the posterior, and the one each chain is nearest to."""

from __future__ import annotations

import math

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from weightsharing.measures.kernels import relative_error
from weightsharing.model.axes import Array

# Minima whose action S exceeds the lowest by less than this over N count as phases of the posterior.
# Each has e^-N(S - lowest S) of the weight of the lowest, if fluctuations around them are alike.
# Whether chains move between them is another question.
LARGEST_EXCESS_ACTION = math.log(100.0)


def nearest_points(kernels: NDArray[np.floating], theory: xr.Dataset) -> Array:
    """Index of the minimum of the action that the mean kernel of each chain is nearest to, (chain,).

    kernels: (chain, draw, pattern, pattern_, time, time_).
    """
    points, minima = theory["kernel"].to_numpy(), _minima(theory)
    distances = np.array(
        [[relative_error(chain, points[i]) for i in minima] for chain in kernels.mean(axis=1)]
    )
    return np.asarray(minima[distances.argmin(axis=1)], dtype=np.float64)


def phases(theory: xr.Dataset, width: int) -> int:
    """Number of minima that the posterior at N = ``width`` visits (``LARGEST_EXCESS_ACTION``)."""
    action = theory["action"].to_numpy()
    return int((width * (action[_minima(theory)] - action[0]) < LARGEST_EXCESS_ACTION).sum())


def _minima(theory: xr.Dataset) -> NDArray[np.intp]:
    return np.flatnonzero(theory["lowest_curvature"].to_numpy() > 0)
