"""The 1/N term of the kernels of linear networks, and the law of the order parameter (THEORY 6).

With the weights integrated out, the kernel of a linear network has, at any width N, exactly the density

    p(G) proportional to exp(-N S(G) - S_1(G)),
    S_1(G) = (dim + 1)/2 ln det G + D/2 ln det(kappa + v E G E^T),

with D readouts and S the action of the large-width theory. The first term of S_1 is the volume of
N x d activities that share one G. An expansion around a minimum gives the mean kernel to order 1/N. It
diverges near the transition. An expansion in all directions except m does not: integrated over m, it
rounds the transition as finite networks do.
"""

from __future__ import annotations

import numpy as np
from scipy.integrate import simpson

from weightsharing.model.axes import Array
from weightsharing.theory.action import carry, carry_back, expand, hessian, prior_kernel
from weightsharing.theory.law import OrderParameterLaw
from weightsharing.theory.problem import LinearProblem, noisy_readout, outputs_of
from weightsharing.theory.symmetric import pack, unpack
from weightsharing.theory.transition import LandauCurve, landau_curve

# The law of m ends where ln of its density has fallen by this.
LOG_END = -20.0
# Of S'' with a unit diagonal. Beyond it the search finds lambda_c only up to its own tolerance.
LARGEST_CONDITION = 1e10
# The fluctuations of d directions have d^4 / 4 covariances: 34 MB at this size, several GB at 128.
LARGEST_DIMENSION = 64


def subleading_action(problem: LinearProblem, kernel: Array) -> float:
    """S_1(G), see above."""
    volume = 0.5 * (problem.dimension + 1) * np.linalg.slogdet(kernel)[1]
    readouts = problem.labels.shape[1]
    return float(volume + 0.5 * readouts * np.linalg.slogdet(noisy_readout(problem, kernel))[1])


def subleading_gradient(problem: LinearProblem, kernel: Array) -> Array:
    """dS_1/dG, symmetric (d, d)."""
    noisy = noisy_readout(problem, kernel)
    response = problem.readout.T @ np.linalg.solve(noisy, problem.readout)
    volume = 0.5 * (problem.dimension + 1) * np.linalg.inv(kernel)
    return np.asarray(volume + 0.5 * problem.v * problem.labels.shape[1] * response)


def _covariance(problem: LinearProblem, kernel: Array) -> Array:
    """S''^-1 in coordinates, (n, n). NaN where it diverges: the 1/N terms do not exist at lambda_c."""
    curvature = hessian(problem, kernel)
    scale = np.sqrt(np.abs(np.diag(curvature)))
    values = np.abs(np.linalg.eigvalsh(curvature / np.outer(scale, scale)))
    if values.max() > LARGEST_CONDITION * values.min():
        return np.full_like(curvature, np.nan)
    return np.asarray(np.linalg.inv(curvature))


def kernel_correction(problem: LinearProblem, kernel: Array) -> Array:
    """The coefficient D in <G> = G + D/N + O(1/N^2) at a minimum G of S, (d, d).

    D = -S''^-1 [ grad S_1 + 1/2 grad ln det S'' ]: the shift of the mode, and the skewness of the
    fluctuations around it. NaN at a transition, where it diverges, and for more than
    ``LARGEST_DIMENSION`` directions.
    """
    if problem.dimension > LARGEST_DIMENSION:
        return np.full_like(kernel, np.nan)
    inverse = _covariance(problem, kernel)
    skewness = 0.5 * fluctuation_gradient(problem, kernel, inverse)
    drift = pack(subleading_gradient(problem, kernel) + skewness)
    return unpack(-inverse @ drift)


def prediction_correction(problem: LinearProblem, kernel: Array, correction: Array) -> Array:
    """The coefficient of 1/N in the mean outputs at all times, (pattern, output_time).

    correction: of ``kernel_correction``; the result is NaN if it is.

    Given the kernel the mean outputs are f(G) = v B G b with b = E^T R y (``problem.predict``).
    To order 1/N their mean over the law of G is f(G) + v B (1 - v G Rho) (D - v <X Rho X>) b / N, with
    Rho = E^T R E, D the ``kernel_correction``, and X a fluctuation of covariance S''^-1 (THEORY 10).
    """
    local = expand(problem, kernel)
    if np.isnan(correction).any():
        return outputs_of(problem, problem.basis @ correction @ local.pull)
    xx = unpack(np.moveaxis(unpack(_covariance(problem, kernel)), 0, -1))
    moved = correction - problem.v * _contract(xx, local.response)
    through = np.eye(problem.dimension) - problem.v * kernel @ local.response
    outputs = problem.v * problem.basis @ through @ moved @ local.pull
    return outputs_of(problem, outputs)


def fluctuation_gradient(problem: LinearProblem, kernel: Array, inverse: Array) -> Array:
    """The derivative of ln det S'' with respect to G, (d, d).

    It is the third derivative of S contracted with ``inverse``, S''^-1 in coordinates, (n, n). Let X
    be the fluctuation of G with this covariance, Y = w carry(X) that of C, Z the direction of the
    derivative, and V = w carry(Z). The third derivative is a sum of traces of Z or V with two of X
    and Y. Each is linear in one of the contractions <X P X>, <Y P X>, <Y P Y> with a matrix P.
    """
    local = expand(problem, kernel)
    inverse_c, response, pull = local.inverse_c, local.response, local.pull
    # <X_ab X_cd>, <Y_ab X_cd> and <Y_ab Y_cd>.
    xx = unpack(np.moveaxis(unpack(inverse), 0, -1))
    yx = np.moveaxis(problem.w * carry(problem, xx), (2, 3), (0, 1))
    yy = problem.w * carry(problem, yx)

    loss = pull @ (response @ _contract(xx, response) @ pull).T
    loss = loss + loss.T + response @ _contract(xx, pull @ pull.T) @ response
    entropy = local.inverse @ _contract(xx, local.inverse) @ local.inverse
    carried = inverse_c @ _contract(yy, inverse_c) @ inverse_c
    mixed = inverse_c @ _contract(yx, inverse_c) @ inverse_c
    folded = carried @ local.kernel @ inverse_c
    between = inverse_c @ local.kernel @ inverse_c
    inner = inverse_c @ _contract(yy, between) @ inverse_c
    by_v = carried + mixed + mixed.T - folded - folded.T - inner
    by_z = carried - entropy - problem.v**3 * loss
    return np.asarray(by_z + problem.w * carry_back(problem, by_v))


def _contract(moments: Array, middle: Array) -> Array:
    """<A P B> from <A_ab B_cd>."""
    return np.asarray(np.tensordot(moments, middle, axes=([1, 2], [0, 1])))


def order_parameter_law(problem: LinearProblem, width: int, points: int = 121) -> OrderParameterLaw:
    """The law of |m| at width N, from the Landau curve of an ``endpoint_problem``.

    p(m) is proportional to exp(-N F(m) - S_1(H_m) - 1/2 ln det S''_perp(H_m)). All entries of H but
    m are integrated to Gaussian order, and m by quadrature. The mean is thus right to order 1/N
    below, at and above the transition. The range of m ends where the density has fallen by e^-20.
    Raises SolverError if the curve does not converge.
    """
    largest = _end(problem, width)
    curve = landau_curve(problem, np.linspace(0.0, largest, points))
    density, m = np.exp(_log_density(problem, width, curve)), curve.order_parameter
    return OrderParameterLaw(m, density / simpson(density, x=m))


def _end(problem: LinearProblem, width: int) -> float:
    """The |m| from which on ln of the density stays below ``LOG_END``, to a few percent."""
    largest = float(prior_kernel(problem)[-1, -1])
    while True:
        curve = landau_curve(problem, np.linspace(0.0, largest, 16))
        likely = np.flatnonzero(_log_density(problem, width, curve) >= LOG_END)[-1]
        if likely == 15:
            largest *= 2.0
        elif likely < 7:  # the range is much too wide
            largest = float(curve.order_parameter[likely + 1])
        else:
            return float(curve.order_parameter[likely + 1])


def _log_density(problem: LinearProblem, width: int, curve: LandauCurve) -> Array:
    """Ln p(m) on the points of the curve, 0 at its largest."""
    subleading = np.array([subleading_action(problem, kernel) for kernel in curve.kernel])
    log_density = -(width * curve.action + subleading + 0.5 * curve.log_determinant)
    return np.asarray(log_density - log_density.max())
