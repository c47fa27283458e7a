"""Measures of kernels and outputs: one implementation for theory and experiment, and error bars.

Here, and only here, theory and samples meet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray

from weightsharing.records import KERNEL_AXES, OUTPUT_AXES, Array, Run, Task
from weightsharing.symmetry import (
    is_sign_symmetric,
    label_direction,
    order_parameter,
    outputs_on_positive_branch,
    to_positive_branch,
)

# A chain has converged when these hold for every scalar observable (Vehtari et al. 2021).
LARGEST_RHAT = 1.05
SMALLEST_EFFECTIVE_SIZE = 100.0


@dataclass(frozen=True)
class Estimate:
    """Summary of draws, all of the shape of one draw.

    mean. standard_error: Monte Carlo error of the mean, autocorrelation counted. deviation: standard
    deviation of the draws, the fluctuation at equilibrium. effective_size: bulk effective sample
    size of all chains together. rhat: rank-normalised split R-hat.
    """

    mean: Array
    standard_error: Array
    deviation: Array
    effective_size: Array
    rhat: Array

    @property
    def converged(self) -> bool:
        """Whether R-hat and the effective sample size are within their limits everywhere."""
        return bool(
            np.all(self.rhat < LARGEST_RHAT)
            and np.all(self.effective_size > SMALLEST_EFFECTIVE_SIZE)
        )


def estimate(draws: NDArray[np.floating]) -> Estimate:
    """Mean, error bars and diagnostics of draws with the axes (chain, draw, ...), by ArviZ."""
    values = np.asarray(draws, dtype=np.float64)
    axes = {"chain_axis": 0, "draw_axis": 1}
    return Estimate(
        mean=values.mean(axis=(0, 1)),
        standard_error=np.asarray(array_stats.mcse(values, method="mean", **axes)),
        deviation=values.std(axis=(0, 1), ddof=1),
        effective_size=np.asarray(array_stats.ess(values, method="bulk", **axes)),
        rhat=np.asarray(array_stats.rhat(values, method="rank", **axes)),
    )


def relative_error(kernel: Array, reference: Array) -> float:
    """Frobenius norm of the difference, relative to that of the reference."""
    return float(np.linalg.norm(kernel - reference) / np.linalg.norm(reference))


def on_one_branch(
    kernels: NDArray[np.floating], outputs: NDArray[np.floating], task: Task, shared: bool
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Draws of kernels and outputs on the branch m > 0, if W -> -W is a symmetry (THEORY 4).

    shared: whether the network shares its weights (RNN); a DNN's draws are left as they are.
    Each draw is mapped by itself, so its mean is that of the posterior restricted to m > 0, however
    often a chain crosses between the two branches.
    """
    if not (shared and is_sign_symmetric(task)):
        return kernels, outputs
    mapped = to_positive_branch(kernels, label_direction(task))
    return mapped, outputs_on_positive_branch(outputs, kernels, task)


def compare(run: Run, task: Task, theory: xr.Dataset, samples: xr.Dataset) -> xr.Dataset:
    """Theory beside experiment for one run: kernels, order parameter, outputs, verdicts.

    The theory is its stationary point of lowest action. ``kernel_finite_width`` adds the 1/N term to
    it; near the transition that expansion does not hold, and below it the mapped draws have |m|
    where the theory has 0. Attributes: converged
    ("yes" or what did not), R-hat and effective sample size.
    """
    direction = label_direction(task)
    shared = run.architecture.kind == "rnn"
    kernels, outputs = on_one_branch(
        samples["kernel"].to_numpy(), samples["output"].to_numpy(), task, shared
    )
    coherence = order_parameter(kernels, direction)
    endpoint = np.einsum("p,...pq,q->...", direction, kernels[..., -1, -1], direction)
    kernel = estimate(kernels)
    output = estimate(outputs)
    # R-hat and effective sample size are judged on scalars that the sign symmetry leaves alone.
    scalars = {
        "order_parameter": estimate(coherence),
        "endpoint_kernel": estimate(endpoint),
        "loss": estimate(samples["loss"].to_numpy()),
    }
    predicted = theory["kernel"].isel(point=0).to_numpy()
    corrected = predicted + theory["kernel_correction"].to_numpy() / run.sampler.width
    variables: dict[str, tuple[tuple[str, ...], Array]] = {
        "kernel_theory": (KERNEL_AXES, predicted),
        "kernel_finite_width": (KERNEL_AXES, corrected),
        "kernel": (KERNEL_AXES, kernel.mean),
        "kernel_standard_error": (KERNEL_AXES, kernel.standard_error),
        "kernel_deviation": (KERNEL_AXES, kernel.deviation),
        "output_theory": (OUTPUT_AXES, theory["prediction"].isel(point=0).to_numpy()),
        "output": (OUTPUT_AXES, output.mean),
        "output_standard_error": (OUTPUT_AXES, output.standard_error),
        "order_parameter_theory": ((), order_parameter(predicted, direction)),
    }
    for name, scalar in scalars.items():
        variables[name] = ((), scalar.mean)
        variables[f"{name}_standard_error"] = ((), scalar.standard_error)
        variables[f"{name}_deviation"] = ((), scalar.deviation)
        variables[f"{name}_effective_size"] = ((), scalar.effective_size)
        variables[f"{name}_rhat"] = ((), scalar.rhat)
    faults = [name for name, scalar in scalars.items() if not scalar.converged]
    if theory.attrs["converged"] != "yes":
        faults.append("theory")
    return xr.Dataset(
        variables,
        coords={
            "time": samples["time"].to_numpy(),
            "time_": samples["time"].to_numpy(),
            "output_time": samples["output_time"].to_numpy(),
        },
        attrs={
            "signal": float(np.nansum(np.where(task.supervised, task.targets, 0.0) ** 2)),
            "converged": "yes" if not faults else "no: " + ", ".join(faults),
            "largest_rhat": max(float(scalar.rhat) for scalar in scalars.values()),
            "smallest_effective_size": min(
                float(scalar.effective_size) for scalar in scalars.values()
            ),
            "kernel_relative_error": relative_error(kernel.mean, predicted),
            "stiffness": samples.attrs["stiffness"],
            "device": samples.attrs["device"],
        },
    )
