"""The data dictionary: what each variable of each file is, how it scales with N, and where it is defined.

Files carry these words as attributes; docs/data.md lists them.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, NamedTuple

import xarray as xr


class Entry(NamedTuple):
    """long_name: in words. units: scaling with the width N, or a unit. reference: of docs/theory.md."""

    long_name: str
    units: str
    reference: str


ONE, COUNT, NONE = "O(1) in N", "count", "1"
# Quantities by their names. A name may end in one of ``ENDINGS``.
QUANTITIES: dict[str, Entry] = {
    # tasks
    "input": Entry("inputs x_p^t at hidden times", ONE, "1"),
    "target": Entry("targets y_p^t at output times; NaN where there is none", ONE, "1"),
    "supervised": Entry("whether a target is trained on: 1 or 0", NONE, "1"),
    # kernels
    "kernel": Entry(
        "H_(pp')^(tt') = h_p^t . h_p'^t' / N of activities; draws of samples.nc may be on either branch, "
        "and the variable branch of measures.nc has their signs", ONE, "3",
    ),
    "activation_kernel": Entry("Phi, the same of phi(h); H in linear networks", ONE, "9"),
    "kernel_correction": Entry("1/N term of the mean kernel, times N", ONE, "6"),
    "kernel_scale": Entry("<H, H_theory> / |H_theory|^2: 1 in theory", NONE, "3"),
    "kernel_relative_error": Entry("|H - H_theory| / |H_theory|, Frobenius norms", "O(1/N)", "3"),
    "temporal_kernel_relative_error": Entry(
        "the same of the kernel over time, first pattern", "O(1/N)", "3"
    ),
    "sample_kernel_relative_error": Entry(
        "the same of the kernel over patterns, last step", "O(1/N)", "3"
    ),
    # scalars of the kernel
    "order_parameter": Entry(
        "m = H^(T-1,T-2) along the unit vector of the labels of the last supervised time; |m| if "
        "W -> -W is a symmetry", ONE, "4, 5",
    ),
    "endpoint_kernel": Entry("H^(T-1,T-1) along the labels", ONE, "5"),
    "temporal_coherence": Entry(
        "of the kernel over time: sum of the off-diagonal elements, divided by that of the diagonal ones",
        ONE, "5",
    ),
    "binder_cumulant": Entry("1 - <m^4> / (3 <m^2>^2)", ONE, "4, 6"),
    "alignment": Entry("CKA of Phi with the theory, 1 - O(1/N)", NONE, "9"),
    "target_alignment": Entry(
        "<Phi, Y> / (|Phi| |Y|), where Y = y y^T of the targets of all times, and 0 without a target",
        NONE, "9",
    ),
    "branch": Entry("sign with which W -> -W maps a draw to the branch m > 0", NONE, "4"),
    # outputs
    "output": Entry("f_p^t; in measures its mean given the kernel of each draw", ONE, "1, 8"),
    "sampled_output": Entry("f_p^t with the noise of the readout", ONE, "8"),
    "readout_residual": Entry("f minus its mean given the kernel: 0 on average", "O(N^(-1/2))", "8"),
    "prediction": Entry("f_p^t in theory", ONE, "3"),
    "prediction_correction": Entry("1/N term of the mean outputs, times N", ONE, "10"),
    "loss": Entry("1/2 sum over supervised outputs of (y - f)^2", ONE, "2"),
    "generalisation_error": Entry(
        "1/(2T) sum from t = 2 of (y - f)^2, of the mean output", ONE, "10"
    ),
    # identities of equilibrium
    "virial": Entry("<Theta . grad E> / number of weights: 1 in equilibrium", NONE, "2"),
    "input_virial": Entry("<U . dE/dU> / number of input weights: 1 in equilibrium", NONE, "2"),
    "kinetic_temperature": Entry("mean of V^2 / s^2 over weights: 1 in equilibrium", NONE, "2"),
    "loss_temperature": Entry("temperature of the supervised outputs: 1 in equilibrium", NONE, "2"),
    # spectra
    "eigenvalue": Entry(
        "eigenvalues of the recurrent matrices; in theory those of M", ONE, "7"
    ),
    "largest_eigenvalue": Entry("that of largest modulus in each spectrum", ONE, "7"),
    "largest_modulus": Entry("mean of the largest modulus", ONE, "7"),
    "noise_edge": Entry(
        "radius beyond which 0.01 eigenvalues of pure noise are expected in all spectra of a run",
        ONE, "7",
    ),
    "outliers": Entry("eigenvalues beyond the edge of the noise in each spectrum", COUNT, "7"),
    "spectrum_draw": Entry("index of the draw whose spectrum is kept", NONE, "7"),
    # stationary points
    "action": Entry("S per unit: 0 for untrained networks without labels", ONE, "3"),
    "gradient_norm": Entry("residual of the saddle-point equations, whitened", NONE, "3"),
    "lowest_curvature": Entry("lowest eigenvalue of S'', whitened: positive at a minimum", NONE, "3"),
    "effective_fraction": Entry("effective fraction of the integration points", NONE, "9"),
    "nearest_point": Entry("stationary point nearest to the mean kernel of each chain", NONE, "10"),
    "phases": Entry(
        "number of minima of S less than ln(100)/N above the lowest, which is included", COUNT, "10"
    ),
    # scans over lambda
    "ordered_order_parameter": Entry("m along the ordered branch", ONE, "5"),
    "ordered_signal": Entry("lambda along the ordered branch", ONE, "5"),
    "ordered_curvature": Entry("lowest curvature along the ordered branch", ONE, "5"),
    "landau": Entry("lambda / lambda_c of the Landau curves", NONE, "5"),
    "landau_order_parameter": Entry("m of the Landau curves", ONE, "5"),
    "landau_action": Entry("F(m), the lowest S at fixed m", ONE, "5"),
    "signal": Entry("lambda, the sum of the squared supervised targets", ONE, "5"),
    "finite_width_mean": Entry("<|m|> in theory at the width N of the figure, against lambda", ONE, "6"),
    "finite_width_deviation": Entry("standard deviation of |m| there", "O(N^(-1/2))", "6"),
    "law_order_parameter": Entry("|m| at which a law is tabulated", ONE, "6"),
    "law_density": Entry("density of |m|", "O(N^(1/2))", "6"),
    "law_mean": Entry("<|m|> of a law", ONE, "6"),
    "law_binder_cumulant": Entry("Binder cumulant of a law", ONE, "6"),
    "law_width": Entry("N of a law", COUNT, "6"),
    "law_ratio": Entry("lambda / lambda_c of a law", NONE, "5"),
    # axes
    "time": Entry("hidden step t = 0..T-1", "steps", "1"),
    "time_": Entry("second hidden step of a kernel", "steps", "1"),
    "output_time": Entry("output time t = 1..T, which reads hidden step t - 1", "steps", "1"),
    "set": Entry("member of a family of tasks", NONE, "10"),
}  # fmt: skip
# Files have plurals for whole tasks.
QUANTITIES |= {
    f"{name}s": QUANTITIES[name]._replace(long_name=f"{QUANTITIES[name].long_name} (in task.nc)")
    for name in ("input", "target")
}
# What the end of a name adds. The same units unless others are named.
ENDINGS: dict[str, tuple[str, str | None]] = {
    "_standard_error": ("standard error of the mean", None),
    "_deviation_error": ("error of the standard deviation over draws", None),
    "_deviation": ("standard deviation over draws", None),
    "_effective_size": ("bulk effective sample size", COUNT),
    "_rhat": ("R-hat", NONE),
    "_theory": ("theory for N to infinity", None),
    "_finite_width": ("theory at this N, with its 1/N term", None),
    "_draws": ("each draw", None),
    "_draw": ("the last draw of the first chain", None),
    "_noise": ("what sampling noise alone contributes to it on average", None),
    "_error": ("error of the quadrature", None),
}


def entry(name: str) -> Entry | None:
    """The entry of a variable, such as "kernel_standard_error"; None if it is not in the dictionary."""
    if name in QUANTITIES:
        return QUANTITIES[name]
    for ending, (words, units) in ENDINGS.items():
        if name.endswith(ending):
            base = entry(name.removesuffix(ending))
            if base is not None:
                return Entry(f"{base.long_name}: {words}", units or base.units, base.reference)
    return None


def page() -> str:
    """The dictionary as a page of the documentation."""
    rows = [
        f"| `{name}` | {words.replace('|', chr(92) + '|')} | {units} | {reference} |"
        for name, (words, units, reference) in QUANTITIES.items()
    ]
    ends = [
        f"| `{ending}` | {words} | {units or 'same'} |"
        for ending, (words, units) in ENDINGS.items()
    ]
    return "\n".join([*_HEAD, *rows, *_BETWEEN, *ends, ""])


_HEAD = """\
# Data dictionary

This page lists the variables of `task.nc`, `theory.nc`, `samples.nc`, `measures.nc` and
`transition.nc`. The files have the same descriptions as attributes (`long_name`, `units`, `reference`).
`python -m weightsharing dictionary > docs/data.md` makes the page. The last column is the section of
[theory](theory.md). No variable has a physical unit: "Units" gives its scaling with N at fixed
parameters, or what it counts.

Everything else in a file is an attribute: its run (parameters as JSON), sampler, device, running time
in seconds, commit, versions, and whether its chains converged. Runs that differ only in their sampler
share a theory: the attribute `theory` of `measures.nc` names the run whose `theory.nc` was compared. If
a file holds several tasks, along the axis `set`, attributes of each task are variables with this axis.

| Variable | Content | Units | Section |
|---|---|---|---|""".splitlines()
_BETWEEN = """
## Endings

Names may have endings, such as `kernel_standard_error` or `order_parameter_theory`.

| Ending | Content | Units |
|---|---|---|""".splitlines()


def described(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with long_name, units and reference of each variable as attributes."""
    described = dataset.copy()
    for name in described.variables:
        found = entry(str(name))
        if found is not None:
            described[name].attrs |= attributes(found)
    return described


def attributes(found: Entry) -> dict[Hashable, Any]:
    """The attributes of a variable."""
    return {
        "long_name": found.long_name, "units": found.units,
        "reference": f"docs/theory.md, section {found.reference}",
    }  # fmt: skip
