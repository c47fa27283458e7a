"""The law of the order parameter at finite width, as a table (THEORY 6). ``finite_width`` computes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid, simpson

from weightsharing.model.axes import Array


@dataclass(frozen=True)
class OrderParameterLaw:
    """The law of |m| in the posterior at width N.

    order_parameter: a grid of |m| from 0 on, (point,). density: p(|m|) on it, of integral 1.
    """

    order_parameter: Array
    density: Array

    def moment(self, power: float) -> float:
        """<|m|^power>."""
        m = self.order_parameter
        return float(simpson(m**power * self.density, x=m))

    @property
    def mean(self) -> float:
        """<|m|>."""
        return self.moment(1)

    @property
    def deviation(self) -> float:
        """The standard deviation of |m|."""
        return float(np.sqrt(self.moment(2) - self.mean**2))

    @property
    def binder_cumulant(self) -> float:
        """1 - <m^4> / (3 <m^2>^2)."""
        return 1.0 - self.moment(4) / (3.0 * self.moment(2) ** 2)

    def probability(self, edges: Array) -> Array:
        """Probability of |m| between neighbouring edges, (edge - 1,)."""
        below = cumulative_trapezoid(self.density, self.order_parameter, initial=0.0)
        return np.diff(np.interp(edges, self.order_parameter, below))

    def quantiles(self, shares: Array) -> Array:
        """The |m| below which |m| is with these probabilities."""
        below = cumulative_trapezoid(self.density, self.order_parameter, initial=0.0)
        return np.interp(shares, below, self.order_parameter)
