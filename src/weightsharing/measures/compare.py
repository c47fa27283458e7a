"""Measures of kernels, outputs and spectra: one implementation for theory and experiment, and error bars.

Here, and only here, theory and samples meet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import xarray as xr
from arviz_stats.base.array import array_stats
from numpy.typing import NDArray

from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import KERNEL_AXES, OUTPUT_AXES, SPECTRUM_AXES, Array
from weightsharing.model.symmetry import (
    branch,
    is_sign_symmetric,
    label_direction,
    mix_outputs,
    order_parameter,
    reflect_kernel,
    reflect_outputs,
)
from weightsharing.model.tasks import Task
from weightsharing.sampling.run import Run
from weightsharing.theory.outliers import noise_edge

# A chain has converged when these hold for every scalar observable (Vehtari et al. 2021).
LARGEST_RHAT = 1.05
SMALLEST_EFFECTIVE_SIZE = 100.0
# Above this Binder cumulant the sign symmetry counts as broken: 0 for a Gaussian, 2/3 for +-m.
BROKEN_BINDER = 1.0 / 3.0
# Probability that pure noise has an eigenvalue beyond the edge in any spectrum of a run.
EDGE_FALSE_ALARM = 0.01
# Minima whose action S is less than this over N above the lowest count as phases of the posterior: each
# has e^-N(S - lowest S) of the weight of the lowest, where fluctuations around them are alike. Whether
# chains move between them is another question.
LARGEST_EXCESS_ACTION = math.log(100.0)

Variables = dict[str, tuple[tuple[str, ...], Array]]


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


def estimate_ratio(above: NDArray[np.floating], below: NDArray[np.floating]) -> Estimate:
    """<above> / <below> of scalar draws (chain, draw), with the errors of its linearisation."""
    denominator = float(np.mean(below, dtype=np.float64))
    ratio = float(np.mean(above, dtype=np.float64)) / denominator
    return estimate(ratio + (above - ratio * below) / denominator)


def temporal_coherence(kernel: NDArray[np.floating]) -> tuple[Array, Array]:
    """Sum of the off-diagonal and of the diagonal elements of H_00^(tt'), each of shape (...).

    Their ratio is the temporal coherence: 0 if the steps are uncorrelated, T - 1 if all are the same.
    kernel: (..., pattern, pattern_, time, time_).
    """
    first = np.asarray(kernel[..., 0, 0, :, :], dtype=np.float64)
    diagonal = np.trace(first, axis1=-2, axis2=-1)
    return first.sum(axis=(-2, -1)) - diagonal, diagonal


def relative_error(kernel: Array, reference: Array) -> float:
    """Frobenius norm of the difference, relative to that of the reference."""
    return float(np.linalg.norm(kernel - reference) / np.linalg.norm(reference))


@dataclass(frozen=True)
class RelativeError:
    """Relative Frobenius error of a mean of draws.

    value: with its standard_error. noise: what sampling alone contributes, the root of the summed
    squared errors; a value no larger than it is compatible with 0.
    """

    value: float
    standard_error: float
    noise: float


def estimate_relative_error(
    draws: NDArray[np.floating], reference: Array, standard_error: Array
) -> RelativeError:
    """``relative_error`` of the mean of draws (chain, draw, ...), its error bar by linearisation.

    standard_error: of each entry of that mean.
    """
    values = np.asarray(draws, dtype=np.float64).reshape(*draws.shape[:2], -1)
    size = float(np.linalg.norm(reference))
    difference = values.mean(axis=(0, 1)) - reference.reshape(-1)
    along = values @ (difference / np.linalg.norm(difference))
    return RelativeError(
        value=float(np.linalg.norm(difference)) / size,
        standard_error=float(estimate(along).standard_error) / size,
        noise=float(np.linalg.norm(standard_error)) / size,
    )


def generalisation_error(prediction: NDArray[np.floating], targets: Array) -> Array:
    """1/(2 T) sum_(t=2)^T (y^t - f^t)^2, averaged over patterns, of shape (...) (figure 5).

    prediction f: (..., pattern, output_time). targets y: (pattern, output_time), over all times.
    """
    missed = np.asarray(targets - prediction, dtype=np.float64)[..., 1:]
    return np.asarray(0.5 * (missed**2).sum(axis=-1).mean(axis=-1) / targets.shape[-1])


def estimate_generalisation_error(
    outputs: NDArray[np.floating], targets: Array
) -> tuple[Estimate, float]:
    """``generalisation_error`` of the mean of the outputs (chain, draw, pattern, output_time).

    Returns the estimate of its linearisation, and the expected contribution of the sampling noise of
    the mean to the error, a square: what is left of it when the prediction is perfect. The estimate's
    mean is free of it, and its standard error counts it, fully correlated between times.
    """
    values = np.asarray(outputs, dtype=np.float64)
    mean = values.mean(axis=(0, 1))
    standard_error = np.asarray(array_stats.mcse(values, method="mean", chain_axis=0, draw_axis=1))
    value = float(generalisation_error(mean, targets))
    noise = float(generalisation_error(targets + standard_error, targets))
    slope = ((mean - targets) * (values - mean))[..., 1:].sum(axis=-1).mean(axis=-1)
    along = estimate(value - noise + slope / targets.shape[-1])
    total = np.hypot(along.standard_error, math.sqrt(2.0) * noise)
    return replace(along, standard_error=total), noise


def alignment(kernel: NDArray[np.floating], reference: Array) -> Array:
    """Centered kernel alignment (Kornblith et al. 2019) of kernels with a reference, (...).

    CKA(K, L) = <K', L'> / (|K'| |L'|) with K' = J K J, where J = 1 - 1/(T P) projects orthogonally to the
    constant vector. 1 if K' and L' are proportional. kernel: (..., pattern, pattern_, time, time_).
    """
    patterns, steps = reference.shape[0], reference.shape[-1]
    centre = np.eye(patterns * steps) - 1.0 / (patterns * steps)

    def centred(values: NDArray[np.floating]) -> Array:
        flat = np.moveaxis(np.asarray(values, dtype=np.float64), -2, -4)
        flat = np.moveaxis(flat, -1, -2)
        return np.asarray(
            centre @ flat.reshape(*values.shape[:-4], len(centre), len(centre)) @ centre
        )

    first, second = centred(kernel), centred(reference)
    norm = np.linalg.norm(first, axis=(-2, -1)) * np.linalg.norm(second)
    return np.asarray((first * second).sum(axis=(-2, -1)) / norm)


def binder_cumulant(values: NDArray[np.floating]) -> float:
    """1 - <m^4> / (3 <m^2>^2): 0 for a Gaussian around 0, 2/3 for two narrow peaks at +-m.

    The measure of whether a finite system has broken the symmetry m -> -m (Binder 1981), itself
    invariant under it.
    """
    return float(1.0 - np.mean(values**4) / (3.0 * np.mean(values**2) ** 2))


def branch_signs(
    kernels: NDArray[np.floating], task: Task, architecture: Architecture
) -> NDArray[np.floating]:
    """-1 for each draw that W -> -W has to bring to the branch m > 0, shape (chain, draw).

    Draws without the symmetry (THEORY 4) are left as they are. So are those that have not broken it, by
    their Binder cumulant: the mean over both signs is then that of the one phase there is. Otherwise
    each draw is mapped by itself, so that the mean is that of the posterior restricted to m > 0,
    however often a chain crosses between the two branches.
    """
    direction = label_direction(task)
    if not is_sign_symmetric(task, architecture):
        return np.ones(kernels.shape[:2])
    if binder_cumulant(order_parameter(kernels, direction)) < BROKEN_BINDER:
        return np.ones(kernels.shape[:2])
    return branch(kernels, direction)


def compare(run: Run, task: Task, theory: xr.Dataset | None, samples: xr.Dataset) -> xr.Dataset:
    """Theory beside experiment for one run: kernels, order parameter, outputs, spectra, verdicts.

    The theory is its stationary point of lowest action; None where there is none for the network.
    ``kernel_finite_width`` adds the 1/N term to it, which does not hold near the transition. Draws are
    on one branch (``branch_signs``), but the order parameter is |m| throughout where m -> -m is a
    symmetry. Where all times have targets, the generalisation error is that of the mean output of the
    posterior, over both branches if there are two. Attributes: converged ("yes" or what did not), R-hat
    and effective sample size.
    """
    direction = label_direction(task)
    drawn = samples["kernel"].to_numpy()
    signs = branch_signs(drawn, task, run.architecture)
    kernels = reflect_kernel(drawn, signs)
    m = order_parameter(drawn, direction)
    endpoint = np.einsum("p,...pq,q->...", direction, kernels[..., -1, -1], direction)
    # R-hat and effective sample size are judged on scalars that the sign symmetry leaves alone.
    judged = {
        "order_parameter": estimate(np.abs(m) if is_sign_symmetric(task, run.architecture) else m),
        "endpoint_kernel": estimate(endpoint),
        "loss": estimate(samples["loss"].to_numpy()),
    }
    coherence = estimate_ratio(*temporal_coherence(kernels))
    variables = _scalars(judged | {"temporal_coherence": coherence})
    kernel = estimate(kernels)
    activation_kernels, activation_kernel = kernels, kernel
    if run.architecture.activation != "linear":
        activation_kernels = reflect_kernel(samples["activation_kernel"].to_numpy(), signs)
        activation_kernel = estimate(activation_kernels)
    output = estimate(reflect_outputs(samples["output"].to_numpy(), signs, task))
    variables |= {
        "kernel": (KERNEL_AXES, kernel.mean),
        "kernel_standard_error": (KERNEL_AXES, kernel.standard_error),
        "kernel_deviation": (KERNEL_AXES, kernel.deviation),
        "activation_kernel": (KERNEL_AXES, activation_kernel.mean),
        "activation_kernel_standard_error": (KERNEL_AXES, activation_kernel.standard_error),
        "output": (OUTPUT_AXES, output.mean),
        "output_standard_error": (OUTPUT_AXES, output.standard_error),
        "supervised": (OUTPUT_AXES, task.supervised.astype(np.int8)),
    }
    if "eigenvalue" in samples:
        variables |= _spectra(samples, signs, run.architecture.prior.w)
    whole_sequence = bool(np.isfinite(task.targets[:, 1:]).all())
    if whole_sequence:
        predicted = mix_outputs(samples["output"].to_numpy(), task, run.architecture)
        error, noise = estimate_generalisation_error(predicted, task.targets)
        variables |= _scalars({"generalisation_error": error})
        variables["generalisation_error_noise"] = ((), np.asarray(noise))
        judged["generalisation_error"] = error
    faults = [name for name, scalar in judged.items() if not scalar.converged]
    if theory is not None:
        variables |= _beside_theory(
            theory, kernels, kernel.standard_error, activation_kernels, direction, run.sampler.width
        )
        if theory.attrs["converged"] != "yes":
            faults.append("theory")
        if whole_sequence:
            mean = theory["prediction"].isel(point=0).to_numpy()
            predictions = {"theory": mean}
            if "prediction_correction" in theory:
                correction = theory["prediction_correction"].to_numpy()
                predictions["finite_width"] = mean + correction / run.sampler.width
            for name, prediction in predictions.items():
                mixed = mix_outputs(prediction, task, run.architecture)
                variables[f"generalisation_error_{name}"] = (
                    (),
                    generalisation_error(mixed, task.targets),
                )
    dataset = xr.Dataset(
        variables,
        coords={
            "time": samples["time"].to_numpy(),
            "time_": samples["time"].to_numpy(),
            "output_time": samples["output_time"].to_numpy(),
        },
        attrs={
            "signal": float(np.nansum(np.where(task.supervised, task.targets, 0.0) ** 2)),
            "sign_symmetric": "yes" if is_sign_symmetric(task, run.architecture) else "no",
            "converged": "yes" if not faults else "no: " + ", ".join(faults),
            "coherence_converged": "yes" if coherence.converged else "no",
            "binder_cumulant": binder_cumulant(m),
            "largest_rhat": max(float(scalar.rhat) for scalar in judged.values()),
            "smallest_effective_size": min(
                float(scalar.effective_size) for scalar in judged.values()
            ),
            "stiffness": samples.attrs["stiffness"],
            "width": run.sampler.width,
            "method": run.sampler.method,
            "device": samples.attrs["device"],
        },
    )
    if theory is not None:
        well_mixed = (
            float(dataset["alignment_rhat"]) < LARGEST_RHAT
            and float(dataset["alignment_effective_size"]) > SMALLEST_EFFECTIVE_SIZE
        )
        dataset.attrs["alignment_converged"] = "yes" if well_mixed else "no"
    return dataset


def _scalars(scalars: Mapping[str, Estimate]) -> Variables:
    variables: Variables = {}
    for name, scalar in scalars.items():
        variables[name] = ((), scalar.mean)
        variables[f"{name}_standard_error"] = ((), scalar.standard_error)
        variables[f"{name}_deviation"] = ((), scalar.deviation)
        variables[f"{name}_effective_size"] = ((), scalar.effective_size)
        variables[f"{name}_rhat"] = ((), scalar.rhat)
    return variables


def _beside_theory(
    theory: xr.Dataset,
    kernels: NDArray[np.floating],
    standard_error: Array,
    activation_kernels: NDArray[np.floating],
    direction: Array,
    width: int,
) -> Variables:
    """The theory's values, and how far from them the kernels on one branch are.

    standard_error: of the mean of ``kernels``.
    """
    points = theory["kernel"].to_numpy()
    predicted = points[0]
    activated = predicted
    if "activation_kernel" in theory:
        activated = theory["activation_kernel"].isel(point=0).to_numpy()
    variables = _scalars({"alignment": estimate(alignment(activation_kernels, activated))})
    variables |= {
        "kernel_theory": (KERNEL_AXES, predicted),
        "activation_kernel_theory": (KERNEL_AXES, activated),
        "output_theory": (OUTPUT_AXES, theory["prediction"].isel(point=0).to_numpy()),
        "order_parameter_theory": ((), order_parameter(predicted, direction)),
        "temporal_coherence_theory": ((), _ratio(*temporal_coherence(predicted))),
    }
    if "kernel_correction" in theory:
        corrected = predicted + theory["kernel_correction"].to_numpy() / width
        variables["kernel_finite_width"] = (KERNEL_AXES, corrected)
        variables["temporal_coherence_finite_width"] = ((), _ratio(*temporal_coherence(corrected)))
    parts = {
        "kernel": (...,),
        "temporal_kernel": (..., 0, 0, slice(None), slice(None)),
        "sample_kernel": (..., -1, -1),
    }
    for name, part in parts.items():
        error = estimate_relative_error(kernels[part], predicted[part], standard_error[part])
        variables[f"{name}_relative_error"] = ((), np.asarray(error.value))
        variables[f"{name}_relative_error_standard_error"] = ((), np.asarray(error.standard_error))
        variables[f"{name}_relative_error_noise"] = ((), np.asarray(error.noise))
    minima = np.flatnonzero(theory["lowest_curvature"].to_numpy() > 0)
    apart = np.array(
        [[relative_error(chain, points[i]) for i in minima] for chain in kernels.mean(axis=1)]
    )
    variables["nearest_point"] = (("chain",), minima[apart.argmin(axis=1)].astype(np.float64))
    excess = width * (theory["action"].to_numpy()[minima] - float(theory["action"][0]))
    variables["phases"] = ((), np.asarray((excess < LARGEST_EXCESS_ACTION).sum()))
    if "eigenvalue" in theory:
        variables["eigenvalue_theory"] = (
            ("index", "part"),
            theory["eigenvalue"].isel(point=0).to_numpy(),
        )
    return variables


def _ratio(above: Array, below: Array) -> Array:
    return np.asarray(above / below)


def _spectra(samples: xr.Dataset, signs: NDArray[np.floating], w: float) -> Variables:
    """Eigenvalues on one branch, the edge of the noise, and what lies beyond it in each spectrum."""
    drawn = samples["eigenvalue"].to_numpy()
    at_draw = signs[:, samples["spectrum_draw"].to_numpy()]
    values = (drawn[..., 0] + 1j * drawn[..., 1]) * at_draw[:, :, None, None]
    chains, spectra, matrices, width = values.shape
    edge = noise_edge(width, w, EDGE_FALSE_ALARM / (chains * spectra * matrices))
    outside = (np.abs(values) > edge).sum(axis=(2, 3))
    each = values.reshape(chains, spectra, -1)
    largest = np.take_along_axis(each, np.abs(each).argmax(axis=2)[..., None], axis=2)[..., 0]
    # Spectra of one chain are correlated: the error is that of the mean over chains.
    modulus = np.abs(largest).mean(axis=1)
    return {
        "eigenvalue": (
            SPECTRUM_AXES,
            np.stack([values.real, values.imag], axis=-1),
        ),
        "noise_edge": ((), np.asarray(edge)),
        "outliers": (("chain", "spectrum"), outside.astype(np.float64)),
        "largest_eigenvalue": (
            ("chain", "spectrum", "part"),
            np.stack([largest.real, largest.imag], axis=-1),
        ),
        "largest_modulus": ((), np.asarray(modulus.mean())),
        "largest_modulus_standard_error": (
            (),
            np.asarray(modulus.std(ddof=1) / np.sqrt(chains)),
        ),
    }
