"""What several figures share: symbols of runs, kernels, outputs, and spectra in the complex plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Polygon

from weightsharing.figures.results import Result
from weightsharing.figures.style import (
    GUIDE,
    KERNEL_COLOURS,
    NOISE,
    PREDICTION,
    RNN_COLOUR,
    SAMPLER_NAMES,
    TARGET,
    symbol,
)
from weightsharing.model.axes import Array

# Spectra of more points are rasterised.
MOST_POINTS = 512
# Kernels up to this size are drawn on a linear scale, larger ones on a logarithmic one.
LINEAR_UP_TO = 1.0


def show_point(
    axes: Axes, run: Result, x: Any, y: Any, error: Any, colour: Any, *measures: str,
    scale: float = 1.0, **look: Any,
) -> None:  # fmt: skip
    """The symbol of a run with its error bars, hollow if the run did not converge.

    x, y, error: one value or many. measures: that have to have converged as well, as of
    ``Result.faults_with``. look: of Matplotlib, over that of the sampler.
    """
    style = symbol(run.method, colour, filled=not run.faults_with(*measures), scale=scale)
    axes.errorbar(x, y, yerr=error, **{"elinewidth": 0.8} | style | look)


def sampler_key(
    axes: Axes, runs: Sequence[Result], colour: str, exact: str, words: str = "", scale: float = 1.0
) -> None:
    """A line of the legend for each sampler of ``runs``. exact: colour of the exact sampler."""
    for method, name in SAMPLER_NAMES.items():
        if any(run.method == method for run in runs):
            face = exact if method == "exact" else colour
            axes.plot([], [], **symbol(method, face, scale=scale), label=name + words)


def powers_of_two(axes: Axes, widths: Sequence[int]) -> None:
    """A logarithmic axis of N with a tick at every other power of 2."""
    axes.set_xscale("log", base=2)
    first, last = (int(np.floor(np.log2(width))) for width in (min(widths), max(widths)))
    powers = range(first, last + 1, 1 if last - first < 5 else 2)
    axes.set_xticks([2.0**power for power in powers], [f"$2^{{{power}}}$" for power in powers])
    axes.minorticks_off()


def kernel_norm(runs: Sequence[Result]) -> AsinhNorm:
    """One scale for all kernels, measured and in theory, symmetric about 0."""
    names = ("kernel", "kernel_theory")
    shown = [run.array(name) for run in runs for name in names if name in run.data]
    largest = max(
        max(float(np.abs(kernel[0, 0]).max()), float(np.abs(kernel[..., -1, -1]).max()))
        for kernel in shown
    )
    return AsinhNorm(linear_width=LINEAR_UP_TO, vmin=-largest, vmax=largest)


def kernel_bar(part: FigureBase, norm: Normalize, **place: Any) -> Colorbar:
    """The scale of kernels, without more ticks than can be read. place: as Matplotlib takes it."""
    shown = [
        tick for tick in (-10, -5, -2, -1, 0, 1, 2, 5, 10) if abs(tick) <= float(norm.vmax or 1.0)
    ]
    bar = part.colorbar(ScalarMappable(norm, KERNEL_COLOURS), ticks=shown, format="%g", **place)
    bar.ax.minorticks_off()
    return bar


# The marks of outliers: those of a trained network lie inside those of the theory.
OUTLIERS: dict[str, dict[str, Any]] = {
    "network": {"marker": "o", "color": "black", "markersize": 3.0},
    "exact": {"marker": "+", "color": RNN_COLOUR, "markersize": 6.0, "markeredgewidth": 1.0},
    "theory": {
        "marker": "o", "color": PREDICTION, "markersize": 6.5, "markerfacecolor": "none",
        "markeredgewidth": 1.2,
    },
}  # fmt: skip


def show_spectrum(
    axes: Axes, run: Result, exact: Result | None = None, limit: float | None = None
) -> None:
    """Eigenvalues of one network of the first chain, the disc of noise, and the theory's outliers.

    exact: the same network by the exact sampler, of which only outliers are shown. limit: of both axes,
    by default the least that shows all.
    """
    last, outliers = _last_spectrum(run)
    radius, edge = run.run.architecture.prior.w**0.5, run.value("noise_edge")
    size = float(np.clip(25.0 / np.sqrt(len(last)), 0.4, 2.0))
    many = len(last) > MOST_POINTS
    axes.plot(*last.T, "o", color="0.35", markersize=size, mew=0, rasterized=many)
    axes.plot(*outliers.T, linestyle="", **OUTLIERS["network"])
    if exact is not None and "eigenvalue" in exact.data:
        axes.plot(*_last_spectrum(exact)[1].T, linestyle="", **OUTLIERS["exact"])
    axes.add_patch(Circle((0, 0), radius, fill=False, color=NOISE, linewidth=1.0))
    axes.add_patch(Circle((0, 0), edge, fill=False, color=NOISE, linewidth=0.8, linestyle="--"))
    axes.plot(*_outliers_in_theory(run).T, linestyle="", **OUTLIERS["theory"])
    complex_plane(axes, limit or spectrum_limit([run]))
    # Their mean number beyond the edge of the noise, over all spectra kept.
    axes.set_title(f"outliers: {run.array('outliers').mean():.2g}")


def spectrum_limit(runs: Sequence[Result]) -> float:
    """The least limit of axes that show the spectra of all runs, with the outliers of the theory."""
    shown = [
        np.abs(part) for run in runs for part in (_last_spectrum(run)[0], _outliers_in_theory(run))
    ]
    edges = [run.value("noise_edge") for run in runs]
    return 1.3 * max(*edges, *(float(part.max(initial=0.0)) for part in shown))


def complex_plane(axes: Axes, limit: float) -> None:
    """Axes of eigenvalues whose parts are within +-``limit``."""
    axes.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    axes.set_aspect("equal")
    axes.set_ylabel("Im", labelpad=-4)
    axes.set_xlabel("Re", labelpad=0)


def _last_spectrum(run: Result) -> tuple[Array, Array]:
    """Eigenvalues of the last spectrum of the first chain, and those beyond the edge of the noise."""
    last = run.data["eigenvalue"].isel(chain=0, spectrum=-1).to_numpy().reshape(-1, 2)
    return last, _beyond(last, run.value("noise_edge"))


def _outliers_in_theory(run: Result) -> Array:
    """The theory's eigenvalues beyond the disc, (value, part); none if there is no theory."""
    if "eigenvalue_theory" not in run.data:
        return np.empty((0, 2))
    return _beyond(run.array("eigenvalue_theory"), run.run.architecture.prior.w**0.5)


def _beyond(values: Array, radius: float) -> Array:
    """The values (value, part) whose modulus exceeds ``radius``."""
    return np.asarray(values[np.hypot(values[:, 0], values[:, 1]) > radius])


def show_label_kernel(axes: Axes, kernel: Array, norm: Normalize) -> QuadMesh:
    """A label kernel over output times 1..T."""
    image = show_matrix(axes, kernel, norm, "$t$", "$t'$")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, len(kernel) - 1], labels=["1", f"{len(kernel)}"])
    return image


def show_split_kernel(
    axes: Axes, measured: Array, theory: Array | None, norm: Normalize, index: str
) -> None:
    """A kernel whose lower left triangle shows the theory."""
    show_matrix(axes, measured, norm, f"${index}$", f"${index}'$")
    if theory is None:
        return
    end = len(measured) - 0.5
    lower = Polygon([(-0.5, -0.5), (-0.5, end), (end, end)], transform=axes.transData)
    show_matrix(axes, theory, norm, f"${index}$", f"${index}'$").set_clip_path(lower)
    axes.plot([-0.5, end], [-0.5, end], color="black", linewidth=0.6)


def show_outputs(axes: Axes, run: Result) -> None:
    """Outputs of theory and networks for the first pattern, beside the target.

    ``output_key`` is the key.
    """
    steps, target = run.run.architecture.steps, run.array("target")[0]
    time, supervised = np.arange(1, steps + 1), np.array(run.supervised_times)
    axes.axhline(0.0, color=GUIDE, linewidth=0.6)
    axes.plot(time, target, **_OUTPUTS["target $y^t$"])
    axes.plot(supervised, target[supervised - 1], **_OUTPUTS["supervised"])
    axes.plot(time, run.array("output_theory")[0], **_OUTPUTS["theory"])
    outputs, errors = run.array("output")[0], run.array("output_standard_error")[0]
    show_point(axes, run, time, outputs, errors, PREDICTION, scale=1.2)
    axes.set(xlim=(0.5, steps + 0.5), ylim=(-1.45, 1.45), yticks=[-1, 0, 1])
    between = max(2, steps // 5)
    axes.set_xticks(sorted({1, *range(between, steps, between), steps}))
    axes.set_xlabel("$t$", labelpad=0)


# Supervised targets lie above the networks' larger symbols.
_OUTPUTS: dict[str, dict[str, Any]] = {
    "target $y^t$": {"color": TARGET, "linewidth": 0.9},
    "supervised": {
        "marker": "o", "linestyle": "none", "color": TARGET, "markersize": 2.2, "zorder": 4,
    },
    "theory": {"color": PREDICTION, "linewidth": 1.6, "linestyle": ":"},
}  # fmt: skip


def output_key(method: str) -> tuple[list[Line2D], list[str]]:
    """Handles and labels of a legend of ``show_outputs``. method: of the sampler."""
    looks = _OUTPUTS | {"network $f^t$": symbol(method, PREDICTION, scale=1.2)}
    return [Line2D([], [], **look) for look in looks.values()], list(looks)


def show_matrix(axes: Axes, matrix: Array, norm: Normalize, row: str, column: str) -> QuadMesh:
    """A matrix with ticks at its first and last index. row, column: names of the indices."""
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(True)
    axes.set(xticks=[0, matrix.shape[1] - 1], yticks=[0, matrix.shape[0] - 1])
    axes.set_ylabel(row, labelpad=-4)
    axes.set_xlabel(column, labelpad=-5)
    rows, columns = (np.arange(size + 1) - 0.5 for size in matrix.shape)
    # Cells, not an image: sharp at any size. Their edges hide the seams that viewers of PDF show.
    mesh = axes.pcolormesh(
        columns, rows, matrix, cmap=KERNEL_COLOURS, norm=norm, edgecolors="face", linewidth=0.2
    )
    axes.set(xlim=columns[[0, -1]], ylim=rows[[-1, 0]], aspect="equal")
    return mesh
