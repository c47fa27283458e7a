"""The generalisation error of sequence tasks (figure 5), in theory and with an error bar."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from weightsharing.measures.estimate import Estimate, estimate, standard_error
from weightsharing.model.axes import Array


def generalisation_error(prediction: NDArray[np.floating], targets: Array) -> Array:
    """1/(2 T) sum_(t=2)^T (y^t - f^t)^2, averaged over patterns, of shape (...) (figure 5).

    prediction f: (..., pattern, output_time). targets y: (pattern, output_time), over all times. With
    several readouts, both have one more axis, and the error is a sum over it.
    """
    return _summed(np.asarray(targets - prediction, dtype=np.float64) ** 2, targets) / 2.0


def _summed(values: Array, targets: Array) -> Array:
    """Sum from t = 2 on and over readouts, mean over patterns, divided by T; shape (...)."""
    if targets.ndim == 3:
        values = values.sum(axis=-1)
    return np.asarray(values[..., 1:].sum(axis=-1).mean(axis=-1) / targets.shape[1])


def estimate_generalisation_error(
    outputs: NDArray[np.floating], targets: Array
) -> tuple[Estimate, float]:
    """``generalisation_error`` of the mean of the outputs (chain, draw, pattern, output_time).

    Returns the estimate of its linearisation, and the expected contribution of sampling noise to the
    error. That contribution is a square, and remains if the prediction is perfect. It is subtracted
    from the estimate's mean; the standard error counts it, fully correlated between times.
    """
    values = np.asarray(outputs, dtype=np.float64)
    mean = values.mean(axis=(0, 1))
    value = float(generalisation_error(mean, targets))
    noise = float(generalisation_error(targets + standard_error(values), targets))
    slope = _summed((mean - targets) * (values - mean), targets)
    along = estimate(value - noise + slope)
    total = np.hypot(along.standard_error, math.sqrt(2.0) * noise)
    return replace(along, standard_error=total), noise
