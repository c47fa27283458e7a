"""The kernel theory of a network on a task, linear or nonlinear, as a dataset."""

from __future__ import annotations

import numpy as np
import xarray as xr

from weightsharing.errors import ConfigError
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import KERNEL_AXES, Array, kernel_axes, output_axes
from weightsharing.model.symmetry import order_parameter
from weightsharing.model.task import Task
from weightsharing.theory.finite_width import kernel_correction, prediction_correction
from weightsharing.theory.outliers import weight_eigenvalues
from weightsharing.theory.point import StationaryPoint
from weightsharing.theory.problem import (
    LinearProblem,
    NonlinearProblem,
    Problem,
    full_kernel,
    linear_problem,
    nonlinear_problem,
    predict,
)
from weightsharing.theory.search import stationary_points

POINT_KERNEL_AXES = ("point", *KERNEL_AXES)


def solve(task: Task, architecture: Architecture, kappa: float) -> xr.Dataset:
    """The stationary points of S by increasing action; the first is the theory (THEORY 3, 9).

    Axis ``point`` runs over the points. Variables: kernel H, prediction, action per neuron,
    gradient_norm, lowest_curvature, order_parameter. The linear theory adds the coefficients of 1/N
    at the first point, kernel_correction and prediction_correction (THEORY 6, 10; NaN if there are more
    than 64 directions), and, with input
    at t = 0 only, the eigenvalues that the activities give to W (THEORY 7). The nonlinear theory adds
    activation_kernel Phi, the standard errors of its quadrature, prediction_error that follows from
    them, and effective_fraction. Attributes:
    converged (1 or 0) and faults of the first point.

    kappa: temperature, N times the variance of the noise of the labels. Raises ConfigError if there
    is no theory of this task and network.
    """
    problem: LinearProblem | NonlinearProblem
    try:
        if architecture.activation == "linear":
            problem = linear_problem(task, architecture, kappa)
        else:
            problem = nonlinear_problem(task, architecture, kappa)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    points = stationary_points(problem)
    dataset = _points_dataset(problem, points)
    if isinstance(problem, NonlinearProblem):
        return dataset.assign(_quadrature_variables(problem, points))
    lowest = points[0].kernel
    correction = kernel_correction(problem, lowest)
    dataset["kernel_correction"] = (KERNEL_AXES, full_kernel(problem, correction))
    corrected = prediction_correction(problem, lowest, correction)
    dataset["prediction_correction"] = (output_axes(corrected), corrected)
    if not task.inputs[:, 1:].any():
        kernels = dataset["kernel"].to_numpy()
        spectra = np.stack([weight_eigenvalues(kernel, architecture.kind) for kernel in kernels])
        parts = np.stack([spectra.real, spectra.imag], axis=-1)
        dataset["eigenvalue"] = (("point", "index", "part"), parts)
    return dataset


def _kernels(problem: Problem, matrices: list[Array]) -> Array:
    """Matrices (T P, T P) stacked along the axis ``point``, with the axes of a kernel."""
    return np.stack([kernel_axes(matrix, problem.patterns, problem.steps) for matrix in matrices])


def _points_dataset(problem: Problem, points: list[StationaryPoint]) -> xr.Dataset:
    """The variables that linear and nonlinear theory share."""
    kernels = _kernels(problem, [point.h for point in points])
    outputs = np.stack([predict(problem, point.phi) for point in points])
    faults = points[0].faults
    time = np.arange(problem.steps)
    return xr.Dataset(
        {
            "kernel": (POINT_KERNEL_AXES, kernels),
            "prediction": (("point", *output_axes(outputs[0])), outputs),
            "action": ("point", [point.action for point in points]),
            "gradient_norm": ("point", [point.gradient_norm for point in points]),
            "lowest_curvature": ("point", [point.lowest_curvature for point in points]),
            "order_parameter": ("point", order_parameter(kernels, problem.direction)),
        },
        coords={"time": time, "time_": time, "output_time": time + 1},
        attrs={"converged": int(not faults), "faults": "; ".join(faults)},
    )


def _prediction_error(problem: NonlinearProblem, point: StationaryPoint) -> Array:
    """The standard error of the mean outputs from those of Phi, each entry by itself."""
    outputs = predict(problem, point.phi)
    total = np.zeros_like(outputs)
    for row, column in zip(*np.triu_indices(len(point.phi)), strict=True):
        shifted = point.phi.copy()
        shifted[row, column] += point.phi_error[row, column]
        shifted[column, row] = shifted[row, column]
        total += (predict(problem, shifted) - outputs) ** 2
    return np.asarray(np.sqrt(total))


def _quadrature_variables(
    problem: NonlinearProblem, points: list[StationaryPoint]
) -> dict[str, tuple[tuple[str, ...], Array]]:
    """Phi, the standard errors and the effective fraction of the nonlinear theory."""
    kernels = {
        "kernel_error": [point.h_error for point in points],
        "activation_kernel": [point.phi for point in points],
        "activation_kernel_error": [point.phi_error for point in points],
    }
    variables: dict[str, tuple[tuple[str, ...], Array]] = {
        name: (POINT_KERNEL_AXES, _kernels(problem, matrices)) for name, matrices in kernels.items()
    }
    errors = np.stack([_prediction_error(problem, point) for point in points])
    variables["prediction_error"] = (("point", *output_axes(errors[0])), errors)
    for name, values in (
        ("action_error", [point.action_error for point in points]),
        ("effective_fraction", [point.fraction for point in points]),
    ):
        variables[name] = (("point",), np.array(values))
    return variables
