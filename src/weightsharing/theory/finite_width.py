"""The first correction in 1/N to the kernel theory of linear networks (docs/theory.md).

With the weights integrated out (THEORY 6) a linear network's kernel is a Wishart-like matrix whose
density at any width N is exactly

    p(G) proportional to exp(-N S(G) - S_1(G)),
    S_1(G) = (dim + 1)/2 ln det G + 1/2 ln det(kappa + v E G E^T),

with S the action of the large-width theory; the first term of S_1 is the volume of N x d activities
that share one G. Expanding around a minimum gives the mean kernel to order 1/N. Near the
transition that expansion diverges, but one along every direction except m does not: integrated over
m itself, it rounds the transition as finite networks do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from weightsharing.records import Array
from weightsharing.theory.linear import (
    LinearProblem,
    coordinates,
    hessian_matrix,
    hessian_product,
    pack,
    prior_kernel,
    unpack,
)
from weightsharing.theory.transition import LandauCurve, landau_curve

# Step of the central difference of the Hessian, in whitened units; its error is of the order 1e-8.
DIFFERENCE = 1e-4


def subleading_action(problem: LinearProblem, kernel: Array) -> float:
    """S_1(G), see above."""
    volume = 0.5 * (problem.dimension + 1) * np.linalg.slogdet(kernel)[1]
    supervised = problem.readout @ kernel @ problem.readout.T
    noisy = problem.kappa * np.eye(problem.labels.size) + problem.v * supervised
    return float(volume + 0.5 * np.linalg.slogdet(noisy)[1])


def subleading_gradient(problem: LinearProblem, kernel: Array) -> Array:
    """dS_1/dG, symmetric (d, d)."""
    supervised = problem.readout @ kernel @ problem.readout.T
    noisy = problem.kappa * np.eye(problem.labels.size) + problem.v * supervised
    response = problem.readout.T @ np.linalg.solve(noisy, problem.readout)
    volume = 0.5 * (problem.dimension + 1) * np.linalg.inv(kernel)
    return np.asarray(volume + 0.5 * problem.v * response)


def kernel_correction(problem: LinearProblem, kernel: Array) -> Array:
    """The coefficient D in <G> = G + D/N + O(1/N^2) at a minimum G of S, (d, d).

    D = -S''^-1 [ grad S_1 + 1/2 grad ln det S'' ], the shift of the mode and the skewness of the
    fluctuations around it. Costs 2 n Hessians for n independent entries of G.
    """
    frame = np.linalg.cholesky(kernel)
    size = coordinates(problem)[0].size
    hessian = hessian_matrix(problem, kernel, frame)
    inverse = np.linalg.inv(hessian)
    directions = frame @ unpack(problem, np.eye(size)) @ frame.T

    def trace(shifted: Array) -> float:
        moved = pack(problem, frame.T @ hessian_product(problem, shifted, directions) @ frame)
        return float((inverse * moved).sum())

    skewness = np.array(
        [
            (trace(kernel + DIFFERENCE * step) - trace(kernel - DIFFERENCE * step))
            / (4.0 * DIFFERENCE)
            for step in directions
        ]
    )
    drift = pack(problem, frame.T @ subleading_gradient(problem, kernel) @ frame) + skewness
    return np.asarray(frame @ unpack(problem, -inverse @ drift) @ frame.T)


@dataclass(frozen=True)
class OrderParameterLaw:
    """Mean and standard deviation of |m| in the posterior at width N."""

    mean: float
    deviation: float


def order_parameter_law(problem: LinearProblem, width: int, points: int = 121) -> OrderParameterLaw:
    """Mean and fluctuation of |m| at width N, from the Landau curve of an ``endpoint_problem``.

    p(m) proportional to exp(-N F(m) - S_1(H_m) - 1/2 ln det S''_perp(H_m)): all entries of H but m
    are integrated to Gaussian order, m by quadrature, so that the mean is right to order 1/N on both
    sides of the transition and at it. The range of m is extended until the density has fallen by e^-20.
    """
    largest = 0.25 * float(prior_kernel(problem)[-1, -1])
    while (
        _log_density(problem, width, landau_curve(problem, np.linspace(0.0, largest, 16)))[-1] > -20
    ):
        largest *= 1.4
    curve = landau_curve(problem, np.linspace(0.0, largest, points))
    density, m = np.exp(_log_density(problem, width, curve)), curve.order_parameter
    mass = np.trapezoid(density, m)
    mean = np.trapezoid(m * density, m) / mass
    square = np.trapezoid(m * m * density, m) / mass
    return OrderParameterLaw(float(mean), float(np.sqrt(square - mean**2)))


def _log_density(problem: LinearProblem, width: int, curve: LandauCurve) -> Array:
    """Ln p(m) on the points of the curve, 0 at its largest."""
    subleading = np.array([subleading_action(problem, kernel) for kernel in curve.kernel])
    log_density = -(width * curve.action + subleading + 0.5 * curve.log_determinant)
    return np.asarray(log_density - log_density.max())
