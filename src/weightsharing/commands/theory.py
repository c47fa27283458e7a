"""theory: solve the kernel theory of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr

from weightsharing.records import KERNEL_AXES, OUTPUT_AXES, Kind, Run, Task
from weightsharing.storage import read_record, read_task, write_dataset
from weightsharing.theory.finite_width import kernel_correction
from weightsharing.theory.linear import (
    LinearProblem,
    StationaryPoint,
    coherence,
    full_kernel,
    linear_problem,
    predict,
    stationary_points,
)
from weightsharing.theory.outliers import weight_eigenvalues


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("task", type=Path, help="task, NetCDF")
    parser.add_argument("output", type=Path, help="stationary points, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Find all stationary points and write them by increasing action."""
    run = read_record(options.run, Run)
    task = read_task(options.task)
    problem = linear_problem(task, run.architecture, run.kappa)
    dataset = points_dataset(problem, stationary_points(problem), task, run.architecture.kind)
    write_dataset(dataset, options.output, "theory", run)


def points_dataset(
    problem: LinearProblem, points: list[StationaryPoint], task: Task, kind: Kind
) -> xr.Dataset:
    """Stationary points as a dataset; the first is the theory, ``kernel_correction`` belongs to it."""
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
                ("point", *KERNEL_AXES),
                np.stack([full_kernel(problem, point.kernel) for point in points]),
            ),
            "kernel_correction": (KERNEL_AXES, full_kernel(problem, correction)),
            "prediction": (
                ("point", *OUTPUT_AXES),
                np.stack([predict(problem, point.kernel) for point in points]),
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
