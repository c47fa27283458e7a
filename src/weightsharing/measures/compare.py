"""Theory beside experiment: one implementation of all measures, for both, with error bars.

Theory and samples meet here and in the other modules of this package only.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from weightsharing.measures.branches import BranchDraws, estimate_binder, on_one_branch
from weightsharing.measures.equilibrium import broken, identities
from weightsharing.measures.estimate import Estimate, average, estimate, estimate_ratio
from weightsharing.measures.generalisation import (
    estimate_generalisation_error,
    generalisation_error,
)
from weightsharing.measures.kernels import (
    alignment,
    estimate_relative_error,
    estimate_scale,
    estimate_target_alignment,
    target_alignment,
    temporal_coherence,
)
from weightsharing.measures.outputs import conditional_outputs
from weightsharing.measures.phases import nearest_points, phases
from weightsharing.measures.spectra import spectra
from weightsharing.model.architecture import Architecture
from weightsharing.model.axes import DRAW_AXES, KERNEL_AXES, OUTPUT_AXES, Array, output_axes
from weightsharing.model.symmetry import (
    along,
    is_sign_symmetric,
    label_direction,
    mix_outputs,
    order_parameter,
)
from weightsharing.model.task import Task
from weightsharing.sampling.run import Run

# Of a dataset by their names: axes and values, or a scalar.
Variables = dict[Hashable, Any]


def compare(run: Run, task: Task, theory: xr.Dataset | None, samples: xr.Dataset) -> xr.Dataset:
    """Theory beside experiment for one run: kernels, order parameter, outputs, spectra, verdicts.

    theory: its stationary point of lowest action is compared; None if the network has no theory.
    ``kernel_finite_width`` adds the 1/N term, which does not hold near the transition. Draws are on
    one branch (``branch_signs``), but the order parameter is |m| throughout if m -> -m is a symmetry.
    Outputs are means given the kernel of each draw, without the noise of the readout
    (``conditional_outputs``); ``sampled_output`` has it. If all times from t = 2 on have targets, the
    generalisation error is that of the mean output of the posterior, over both branches if there are two.

    Attributes: converged (1 or 0), faults (names of what did not converge, joined by ", "), and
    ``NAME_converged`` for measures that are judged separately. wall_seconds and sampling_commit are those
    of the samples.
    """
    width = run.sampler.width
    draws = on_one_branch(samples, task, run.architecture)
    outputs = conditional_outputs(
        draws.activation_kernel, task, run.architecture.prior.v, run.kappa
    )
    variables = _means(draws, outputs) | _task(task)
    variables["branch"] = (DRAW_AXES, draws.signs.astype(np.int8))
    series = _series(samples, draws, task, run.architecture)
    judged = {name: estimate(values) for name, values in series.items()}
    if _is_whole(task):
        mixed = mix_outputs(outputs, task, run.architecture)
        error, noise = estimate_generalisation_error(mixed, task.targets)
        judged["generalisation_error"] = error
        variables["generalisation_error_noise"] = noise
    balanced = identities(run, task, samples)
    variables |= _scalars(judged | balanced)
    m = order_parameter(samples["kernel"].to_numpy(), label_direction(task))
    kept = series | {"order_parameter": m}
    variables |= {
        f"{name}_draws": (DRAW_AXES, values.astype(np.float32)) for name, values in kept.items()
    }
    variables |= _scalars({"binder_cumulant": estimate_binder(m)})
    separate = {"coherence": estimate_ratio(*temporal_coherence(draws.kernel))}
    variables |= _scalars({"temporal_coherence": separate["coherence"]})
    if _is_whole(task):
        aligned = estimate_target_alignment(draws.activation_kernel, task)
        variables |= _scalars({"target_alignment": aligned})
    if "eigenvalue" in samples:
        variables |= spectra(samples, draws.signs, run.architecture.prior.w).data_vars
    if theory is not None:
        variables |= _theory(theory, task, width)
        variables |= _distances(theory, draws, variables)
        if _is_whole(task):
            variables |= errors_in_theory(theory, task, run.architecture, width)
        activated = variables["activation_kernel_theory"][1]
        separate["alignment"] = estimate(alignment(draws.activation_kernel, activated))
        variables |= _scalars({"alignment": separate["alignment"]})
    faults = [name for name, scalar in judged.items() if not scalar.converged]
    faults += broken(run, task, samples, balanced)
    if theory is not None and not theory.attrs["converged"]:
        faults.append("theory")
    return xr.Dataset(
        variables,
        coords={
            "time": samples["time"].to_numpy(),
            "time_": samples["time"].to_numpy(),
            "output_time": samples["output_time"].to_numpy(),
        },
        attrs={
            "signal": float((task.labels**2).sum()),
            "sign_symmetric": int(is_sign_symmetric(task, run.architecture)),
            "converged": int(not faults),
            "faults": ", ".join(faults),
            **{f"{name}_converged": int(scalar.converged) for name, scalar in separate.items()},
            "largest_rhat": max(float(scalar.rhat) for scalar in judged.values()),
            "smallest_effective_size": min(float(s.effective_size) for s in judged.values()),
            "stiffness": samples.attrs["stiffness"],
            "width": width,
            "method": run.sampler.method,
            "device": samples.attrs["device"],
            "wall_seconds": float(samples.attrs.get("wall_seconds", np.nan)),
            "sampling_commit": str(samples.attrs.get("git_commit", "unknown")),
        },
    )


def _series(
    samples: xr.Dataset, draws: BranchDraws, task: Task, architecture: Architecture
) -> dict[str, Array]:
    """The scalars, (chain, draw), whose R-hat and effective size decide whether a run has converged.

    The sign symmetry W -> -W does not change them. ``compare`` adds the generalisation error.
    """
    direction = label_direction(task)
    m = order_parameter(samples["kernel"].to_numpy(), direction)
    last = draws.kernel[..., -1, -1]
    return {
        "order_parameter": np.abs(m) if is_sign_symmetric(task, architecture) else m,
        "endpoint_kernel": along(last, direction),
        "loss": samples["loss"].to_numpy(),
    }


def _is_whole(task: Task) -> bool:
    """Whether all times from t = 2 on have targets, so that generalisation is measured."""
    return bool(np.isfinite(task.targets[:, 1:]).all())


def _scalars(scalars: Mapping[str, Estimate]) -> Variables:
    """Mean, error bar and diagnostics of each scalar, under names of their own."""
    fields = ("standard_error", "deviation", "deviation_error", "effective_size", "rhat")
    means: Variables = {name: scalar.mean for name, scalar in scalars.items()}
    return means | {
        f"{name}_{field}": getattr(scalar, field)
        for name, scalar in scalars.items()
        for field in fields
    }


def _task(task: Task) -> Variables:
    """The task itself: figures and claims need no other file."""
    return {
        "input": (("pattern", "time", "feature"), task.inputs),
        "target": (output_axes(task.targets), task.targets),
        "supervised": (OUTPUT_AXES, task.supervised.astype(np.int8)),
    }


def _means(draws: BranchDraws, outputs: Array) -> Variables:
    """Mean kernels and outputs with their standard errors, and the last network of the first chain.

    outputs: given the kernels. ``readout_residual`` is the mean of what the readout adds to them, 0 but
    for noise.
    """
    kernel, output = average(draws.kernel), average(outputs)
    sampled, residual = average(draws.output), average(draws.output - outputs)
    activation_kernel = kernel
    if draws.activation_kernel is not draws.kernel:
        activation_kernel = average(draws.activation_kernel)
    axes = output_axes(output.mean)
    return {
        "kernel": (KERNEL_AXES, kernel.mean),
        "kernel_standard_error": (KERNEL_AXES, kernel.standard_error),
        "kernel_deviation": (KERNEL_AXES, kernel.deviation),
        "activation_kernel": (KERNEL_AXES, activation_kernel.mean),
        "activation_kernel_standard_error": (KERNEL_AXES, activation_kernel.standard_error),
        "activation_kernel_deviation": (KERNEL_AXES, activation_kernel.deviation),
        "activation_kernel_draw": (KERNEL_AXES, draws.activation_kernel[0, -1].astype(np.float64)),
        "output": (axes, output.mean),
        "output_standard_error": (axes, output.standard_error),
        "sampled_output": (axes, sampled.mean),
        "sampled_output_standard_error": (axes, sampled.standard_error),
        "readout_residual": (axes, residual.mean),
        "readout_residual_standard_error": (axes, residual.standard_error),
    }


def _theory(theory: xr.Dataset, task: Task, width: int) -> Variables:
    """The theory's own values at its point of lowest action, and with the 1/N term at N = ``width``."""
    lowest = theory.isel(point=0)
    kernel = lowest["kernel"].to_numpy()
    activated = lowest["activation_kernel"].to_numpy() if "activation_kernel" in theory else kernel
    axes = output_axes(lowest["prediction"].to_numpy())
    variables: Variables = {
        "kernel_theory": (KERNEL_AXES, kernel),
        "activation_kernel_theory": (KERNEL_AXES, activated),
        "output_theory": (axes, lowest["prediction"].to_numpy()),
        "phases": phases(theory, width),
        **theory_values(theory, task),
    }
    for name, of_theory in (
        ("activation_kernel", "activation_kernel_error"), ("output", "prediction_error")
    ):  # fmt: skip
        if of_theory in theory:  # of the quadrature
            variables[f"{name}_theory_error"] = lowest[of_theory].variable
    if "kernel_correction" in theory:
        corrected = kernel + theory["kernel_correction"].to_numpy() / width
        variables["kernel_finite_width"] = (KERNEL_AXES, corrected)
        variables["temporal_coherence_finite_width"] = np.divide(*temporal_coherence(corrected))
        outputs = lowest["prediction"] + theory["prediction_correction"] / width
        variables["output_finite_width"] = (axes, outputs.to_numpy())
    if _is_whole(task) and "kernel_finite_width" in variables:
        variables["target_alignment_finite_width"] = target_alignment(corrected, task)
    if "eigenvalue" in theory:
        variables["eigenvalue_theory"] = (("index", "part"), lowest["eigenvalue"].to_numpy())
    return variables


def theory_values(theory: xr.Dataset, task: Task) -> dict[Hashable, float]:
    """Scalars of the point of lowest action for N to infinity, under the names of measures.

    order_parameter, endpoint_kernel (H^(T-1,T-1) along the labels), temporal_coherence and, if all times
    from t = 2 on have targets, target_alignment, each with "_theory" at its end.
    """
    lowest, direction = theory.isel(point=0), label_direction(task)
    kernel = lowest["kernel"].to_numpy()
    activated = lowest["activation_kernel"].to_numpy() if "activation_kernel" in theory else kernel
    values: dict[str, Array] = {
        "order_parameter": order_parameter(kernel, direction),
        "endpoint_kernel": along(kernel[..., -1, -1], direction),
        "temporal_coherence": np.divide(*temporal_coherence(kernel)),
    }
    if _is_whole(task):
        values["target_alignment"] = np.asarray(target_alignment(activated, task))
    return {f"{name}_theory": float(value) for name, value in values.items()}


def _distances(theory: xr.Dataset, draws: BranchDraws, known: Variables) -> Variables:
    """How far the sampled kernels are from those of the theory. known: variables computed before."""
    predicted, standard_error = theory["kernel"].to_numpy()[0], known["kernel_standard_error"][1]
    _, corrected = known.get("kernel_finite_width", (KERNEL_AXES, predicted))
    # The 1/N term does not exist at a transition.
    expected = corrected if np.isfinite(corrected).all() else predicted
    parts = {
        "kernel": (...,),
        "temporal_kernel": (..., 0, 0, slice(None), slice(None)),
        "sample_kernel": (..., -1, -1),
    }
    variables: Variables = {"nearest_point": ("chain", nearest_points(draws.kernel, theory))}
    for name, part in parts.items():
        error = estimate_relative_error(draws.kernel[part], predicted[part], standard_error[part])
        variables[f"{name}_relative_error"] = error.value
        variables[f"{name}_relative_error_standard_error"] = error.standard_error
        variables[f"{name}_relative_error_noise"] = error.noise
    return variables | _scalars({"kernel_scale": estimate_scale(draws.kernel, expected)})


def errors_in_theory(
    theory: xr.Dataset, task: Task, architecture: Architecture, width: int | None = None
) -> dict[Hashable, float]:
    """Generalisation errors of the theory for N to infinity and, with the 1/N term, at N = ``width``."""
    mean = theory["prediction"].isel(point=0).to_numpy()
    predictions = {"theory": mean}
    if width is not None and "prediction_correction" in theory:
        predictions["finite_width"] = mean + theory["prediction_correction"].to_numpy() / width
    return {
        f"generalisation_error_{name}": float(
            generalisation_error(mix_outputs(prediction, task, architecture), task.targets)
        )
        for name, prediction in predictions.items()
    }
