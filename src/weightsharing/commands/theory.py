"""theory: solve the kernel theory of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

from weightsharing.errors import ConfigError
from weightsharing.files import join, read_record, read_tasks, write_dataset
from weightsharing.model.architecture import Kind
from weightsharing.model.axes import KERNEL_AXES, OUTPUT_AXES, Array, kernel_axes
from weightsharing.model.condition import Condition
from weightsharing.model.symmetry import label_direction, order_parameter
from weightsharing.model.tasks import Task
from weightsharing.theory import nonlinear
from weightsharing.theory.finite_width import kernel_correction, prediction_correction
from weightsharing.theory.linear import (
    LinearProblem,
    StationaryPoint,
    coherence,
    full_kernel,
    linear_problem,
    predict,
)
from weightsharing.theory.neuron import NonlinearProblem, nonlinear_problem
from weightsharing.theory.outliers import weight_eigenvalues
from weightsharing.theory.search import stationary_points

POINT_KERNEL_AXES = ("point", *KERNEL_AXES)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("task", type=Path, help="task, NetCDF")
    parser.add_argument("output", type=Path, help="stationary points, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Find all stationary points and write them by increasing action."""
    run = read_record(options.run, Condition)
    tasks = read_tasks(options.task)
    solved = [solve(member, task) for member, task in zip(run.members, tasks, strict=True)]
    write_dataset(join(solved, run.member_names), options.output, "theory", run)


def solve(run: Condition, task: Task) -> xr.Dataset:
    """The stationary points of one task as a dataset. Raises ConfigError if there is no theory of it."""
    try:
        if run.architecture.activation == "linear":
            linear = linear_problem(task, run.architecture, run.kappa)
        else:
            integral = nonlinear_problem(task, run.architecture, run.kappa)
    except ValueError as error:
        raise ConfigError(f"{run.id}: {error}") from error
    if run.architecture.activation == "linear":
        return points_dataset(linear, stationary_points(linear), task, run.architecture.kind)
    return solutions_dataset(integral, nonlinear.stationary_points(integral), task)


def solutions_dataset(
    problem: NonlinearProblem, solutions: list[nonlinear.Solution], task: Task
) -> xr.Dataset:
    """Stationary points of the nonlinear theory as a dataset; the first is the theory.

    Errors are standard errors of the quadrature, over independent scramblings.
    """
    lowest = solutions[0]
    faults = []
    if not lowest.converged:
        faults.append(
            f"residual {max(lowest.residuals):.1e}, effective fraction {lowest.fraction:.2f}"
        )
    if not lowest.is_minimum:
        faults.append(f"not a minimum, lowest curvature {lowest.lowest_curvature:.1e}")
    direction = label_direction(task)

    def kernels(matrices: list[Array]) -> Array:
        return np.stack([kernel_axes(matrix, task.patterns, task.steps) for matrix in matrices])

    variables: dict[str, tuple[tuple[str, ...], Array]] = {
        "kernel": (POINT_KERNEL_AXES, kernels([one.h for one in solutions])),
        "kernel_error": (POINT_KERNEL_AXES, kernels([one.h_error for one in solutions])),
        "activation_kernel": (POINT_KERNEL_AXES, kernels([one.phi for one in solutions])),
        "activation_kernel_error": (
            POINT_KERNEL_AXES,
            kernels([one.phi_error for one in solutions]),
        ),
        "prediction": (
            ("point", *OUTPUT_AXES),
            np.stack([nonlinear.predict(problem, one.phi) for one in solutions]),
        ),
        "action": (("point",), np.array([one.action for one in solutions])),
        "action_error": (("point",), np.array([one.action_error for one in solutions])),
        "gradient_norm": (("point",), np.array([max(one.residuals) for one in solutions])),
        "lowest_curvature": (("point",), np.array([one.lowest_curvature for one in solutions])),
        "effective_fraction": (("point",), np.array([one.fraction for one in solutions])),
    }
    variables["order_parameter"] = (
        ("point",),
        order_parameter(variables["kernel"][1], direction),
    )
    time = np.arange(task.steps)
    return xr.Dataset(
        variables,
        coords={"time": time, "time_": time, "output_time": time + 1},
        attrs={"converged": "yes" if not faults else "no: " + "; ".join(faults)},
    )


def points_dataset(
    problem: LinearProblem, points: list[StationaryPoint], task: Task, kind: Kind
) -> xr.Dataset:
    """Stationary points as a dataset; the first is the theory, the corrections belong to it."""
    lowest = points[0]
    faults = []
    if not lowest.converged:
        faults.append(f"gradient norm {lowest.gradient_norm:.1e}")
    if lowest.lowest_curvature <= 0:
        faults.append(f"not a minimum, lowest curvature {lowest.lowest_curvature:.1e}")
    correction = kernel_correction(problem, lowest.kernel)
    time = np.arange(problem.steps)
    dataset = xr.Dataset(
        {
            "kernel": (
                POINT_KERNEL_AXES,
                np.stack([full_kernel(problem, point.kernel) for point in points]),
            ),
            "kernel_correction": (KERNEL_AXES, full_kernel(problem, correction)),
            "prediction": (
                ("point", *OUTPUT_AXES),
                np.stack([predict(problem, point.kernel) for point in points]),
            ),
            "prediction_correction": (
                OUTPUT_AXES,
                prediction_correction(problem, lowest.kernel),
            ),
            "action": ("point", [point.action for point in points]),
            "gradient_norm": ("point", [point.gradient_norm for point in points]),
            "lowest_curvature": ("point", [point.lowest_curvature for point in points]),
            "order_parameter": ("point", [coherence(problem, point.kernel) for point in points]),
        },
        coords={"time": time, "time_": time, "output_time": time + 1},
        attrs={"converged": "yes" if not faults else "no: " + "; ".join(faults)},
    )
    if not task.inputs[:, 1:].any():
        spectra = [weight_eigenvalues(kernel, kind) for kernel in dataset["kernel"].to_numpy()]
        dataset["eigenvalue"] = (
            ("point", "index", "part"),
            np.stack([np.stack([values.real, values.imag], axis=-1) for values in spectra]),
        )
    return dataset
