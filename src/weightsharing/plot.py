"""Pictures of theory beside samples for notebooks, from the datasets of ``library``.

Each function returns a Matplotlib figure. Theory is drawn as lines or below a diagonal, samples as
symbols.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing import library
from weightsharing.errors import ConfigError
from weightsharing.figures.panels import (
    kernel_norm,
    show_spectrum,
    show_split_kernel,
)
from weightsharing.figures.results import Result
from weightsharing.figures.style import MARKERS, colours
from weightsharing.model.axes import Array
from weightsharing.sampling.run import Run


def kernels(theory: xr.Dataset | None, draws: xr.Dataset) -> Figure:
    """H over time of the first pattern, measured and in theory, and each entry with its error bar.

    Left: samples above the diagonal, theory with its 1/N term below. Right: for all entries of H, the
    measured one less the theory's, with error bars of one standard error. theory: of ``library.solve``,
    or None.
    draws: of ``library.sample``.
    """
    result = _result(theory, draws)
    names = ("kernel_finite_width", "kernel_theory")
    expected = next((result.array(name) for name in names if _has(result, name)), None)
    figure = plt.figure(figsize=(6.0, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    norm = kernel_norm([result])
    first = None if expected is None else expected[0, 0]
    show_split_kernel(left, result.array("kernel")[0, 0], first, norm, "t")
    left.set_title(f"$H_{{00}}$, N = {result.width}", fontsize=8)
    figure.colorbar(left.collections[0], ax=left, shrink=0.8)
    if expected is None:
        right.set_visible(False)
        return figure
    _entries(right, result, expected)
    return figure


def spectrum(theory: xr.Dataset | None, draws: xr.Dataset) -> Figure:
    """Eigenvalues of W of one network, the disc of the noise, and the outliers of the theory.

    The latter are open circles. draws: of ``library.sample`` with ``spectra`` above 0. Raises ConfigError
    if there are none.
    """
    if "eigenvalue" not in draws:
        raise ConfigError("spectra: none kept; sample with spectra=1 or more")
    figure = plt.figure(figsize=(2.6, 2.6), layout="constrained")
    show_spectrum(figure.subplots(), _result(theory, draws))
    return figure


def outputs(theory: xr.Dataset | None, draws: xr.Dataset) -> Figure:
    """Mean outputs of each pattern and readout with error bars, and the theory's as lines.

    Targets are grey: filled targets are trained on, open ones are not.
    """
    result = _result(theory, draws)
    task, time = result.task, result.array("output_time")
    figure = plt.figure(figsize=(3.4, 2.4), layout="constrained")
    axes = figure.subplots()
    curves = list(np.ndindex(task.patterns, *task.targets.shape[2:]))
    for (pattern, *readout), colour in zip(curves, colours(len(curves)), strict=True):
        style: dict[str, Any] = {"color": "0.6", "marker": "o", "linestyle": "none", "zorder": 0}
        on, one = task.supervised[pattern], (pattern, slice(None), *readout)
        axes.plot(time[on], task.targets[one][on], **style)
        axes.plot(time[~on], task.targets[one][~on], markerfacecolor="white", **style)
        axes.errorbar(
            time, result.array("output")[one], yerr=result.array("output_standard_error")[one],
            color=colour, linestyle="none", marker=MARKERS[result.method], markersize=3.5,
            label=", ".join([f"pattern {pattern}", *(f"readout {one}" for one in readout)]),
        )  # fmt: skip
        if _has(result, "output_theory"):
            axes.plot(time, result.array("output_theory")[one], color=colour, linewidth=1.0)
    axes.set_xlabel("output time $t$")
    axes.set_ylabel("output")
    if len(curves) > 1:
        axes.legend(fontsize=6)
    return figure


def _entries(axes: Axes, result: Result, expected: Array) -> None:
    """How far all entries of H are from those of the theory, which are the abscissa."""
    measured, error = (result.array(f"kernel{end}").ravel() for end in ("", "_standard_error"))
    theory = expected.ravel()
    axes.errorbar(
        theory, measured - theory, yerr=error, linestyle="none", marker=MARKERS[result.method],
        markersize=3, color=colours(1)[0], elinewidth=0.8,
    )  # fmt: skip
    axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel("entry of $H$ in theory")
    axes.set_ylabel("measured less theory")


def _has(result: Result, name: str) -> bool:
    return name in result.data and bool(np.isfinite(result.array(name)).all())


def _result(theory: xr.Dataset | None, draws: xr.Dataset) -> Result:
    """Theory beside samples, as the panels of the figures take it."""
    measures = library.compare(theory, draws)
    return Result.of(Run.model_validate_json(draws.attrs["run"]), measures)
