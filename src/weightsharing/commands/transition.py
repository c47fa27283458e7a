"""transition: scan the theory of one depth over the signal strength."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

from weightsharing.files import read_record, write_dataset
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


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved transition, YAML")
    parser.add_argument("output", type=Path, help="branches and Landau curves, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Trace the branches, the Landau curves and the finite-width prediction, and write them."""
    scan = read_record(options.run, Transition)
    write_dataset(scan_dataset(scan), options.output, "transition", scan)


def scan_dataset(scan: Transition) -> xr.Dataset:
    """Everything figure 4 shows of the theory at one depth.

    Axis ``branch`` runs along the ordered branch, ``signal`` over the lambda of the finite-width
    prediction, ``landau`` over the ratios of the Landau curves. Raises SolverError if any of them
    does not converge.
    """
    network, kappa = scan.architecture, scan.kappa
    critical = critical_signal(network.steps, network.prior, kappa)
    branch = ordered_branch(network, kappa, scan.largest_signal)
    dataset = xr.Dataset(
        {
            "ordered_order_parameter": ("branch", branch.order_parameter),
            "ordered_signal": ("branch", branch.signal),
            "ordered_curvature": ("branch", branch.curvature),
        },
        attrs={"critical_signal": critical, "steps": network.steps},
    )
    second_order = bool(branch.stable.all())
    dataset.attrs["order"] = "second" if second_order else "first"
    if second_order:
        dataset.attrs["critical_exponent"] = critical_exponent(branch, critical)
    coexistence = coexistence_signal(branch, network, kappa)
    if coexistence is not None:
        dataset.attrs["coexistence_signal"] = coexistence

    if scan.landau_ratios:
        stable = branch.stable
        largest = max(scan.landau_ratios) * critical
        last = np.interp(largest, branch.signal[stable], branch.order_parameter[stable], left=0.0)
        scale = float(branch.kernel[0, -1, -1])
        grid = np.linspace(0.0, LANDAU_RANGE * max(last, 0.5 * scale), LANDAU_POINTS)
        curves = [
            landau_curve(endpoint_problem(ratio * critical, network, kappa), grid).action
            for ratio in scan.landau_ratios
        ]
        dataset = dataset.assign_coords(
            landau=list(scan.landau_ratios), landau_order_parameter=grid
        )
        dataset["landau_action"] = (("landau", "landau_order_parameter"), np.stack(curves))
    if scan.width is not None:
        signal = np.geomspace(scan.largest_signal / 40.0, scan.largest_signal, scan.points)
        dataset = dataset.assign_coords(signal=signal)
        laws = [
            order_parameter_law(endpoint_problem(value, network, kappa), scan.width)
            for value in signal
        ]
        dataset["finite_width_mean"] = ("signal", [law.mean for law in laws])
        dataset["finite_width_deviation"] = ("signal", [law.deviation for law in laws])
        dataset.attrs["width"] = scan.width
    return dataset
