"""The theory of one depth over the signal strength (THEORY 5, 6, figure 4)."""

from __future__ import annotations

import numpy as np
import xarray as xr

from weightsharing.theory.finite_width import order_parameter_law
from weightsharing.theory.scan import Transition
from weightsharing.theory.transition import (
    coexistence_signal,
    critical_exponent,
    critical_signal,
    endpoint_problem,
    landau_curve,
    ordered_branch,
)

# Points of each Landau curve, and its end relative to the m of the branch at the largest signal.
LANDAU_POINTS = 101
LANDAU_RANGE = 1.6


def scan(transition: Transition) -> xr.Dataset:
    """Branches, Landau curves and finite-width prediction at one depth (THEORY 5, 6).

    Axis ``branch`` runs along the ordered branch, ``signal`` over the lambda of the finite-width
    prediction, ``landau`` over the ratios of the Landau curves, ``law`` over the laws of |m|. Raises
    SolverError if any of them does not converge.
    """
    network, kappa = transition.architecture, transition.kappa
    critical = critical_signal(network.steps, network.prior, kappa)
    branch = ordered_branch(network, kappa, transition.largest_signal)
    dataset = xr.Dataset(
        {
            "ordered_order_parameter": ("branch", branch.order_parameter),
            "ordered_signal": ("branch", branch.signal),
            "ordered_curvature": ("branch", branch.curvature),
        },
        attrs={"critical_signal": critical, "steps": network.steps},
    )
    stable = branch.stable
    dataset.attrs["order"] = "second" if stable.all() else "first"
    if stable.all():
        dataset.attrs["critical_exponent"] = critical_exponent(branch, critical)
    coexistence = coexistence_signal(branch, network, kappa)
    if coexistence is not None:
        dataset.attrs["coexistence_signal"] = coexistence

    if transition.landau_ratios:
        ratios = list(transition.landau_ratios)
        last = np.interp(
            max(ratios) * critical, branch.signal[stable], branch.order_parameter[stable], left=0.0
        )
        scale = float(branch.kernel[0, -1, -1])
        grid = np.linspace(0.0, LANDAU_RANGE * max(last, 0.5 * scale), LANDAU_POINTS)
        problems = [endpoint_problem(ratio * critical, network, kappa) for ratio in ratios]
        curves = [landau_curve(problem, grid).action for problem in problems]
        dataset = dataset.assign_coords(landau=ratios, landau_order_parameter=grid)
        dataset["landau_action"] = (("landau", "landau_order_parameter"), np.stack(curves))
    if transition.width is not None:
        largest = transition.largest_signal
        signal = np.geomspace(largest / 40.0, largest, transition.points)
        problems = [endpoint_problem(value, network, kappa) for value in signal]
        laws = [order_parameter_law(problem, transition.width) for problem in problems]
        dataset = dataset.assign_coords(signal=signal)
        dataset["finite_width_mean"] = ("signal", [law.mean for law in laws])
        dataset["finite_width_deviation"] = ("signal", [law.deviation for law in laws])
        dataset.attrs["width"] = transition.width
    if transition.laws:
        dataset = dataset.merge(_laws(transition, critical))
    return dataset


def _laws(transition: Transition, critical: float) -> xr.Dataset:
    """The laws of |m|: grids, densities, means and Binder cumulants."""
    widths, ratios = map(list, zip(*transition.laws, strict=True))
    laws = [
        order_parameter_law(
            endpoint_problem(ratio * critical, transition.architecture, transition.kappa), width
        )
        for width, ratio in transition.laws
    ]
    return xr.Dataset(
        {
            "law_order_parameter": (("law", "law_point"), [law.order_parameter for law in laws]),
            "law_density": (("law", "law_point"), [law.density for law in laws]),
            "law_mean": ("law", [law.mean for law in laws]),
            "law_binder_cumulant": ("law", [law.binder_cumulant for law in laws]),
        },
        coords={"law_width": ("law", widths), "law_ratio": ("law", ratios)},
    )
