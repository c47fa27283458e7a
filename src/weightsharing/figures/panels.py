"""Panels that several figures have: kernels as images, spectra in the complex plane."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import AsinhNorm, Normalize
from matplotlib.image import AxesImage
from matplotlib.patches import Circle, Polygon

from weightsharing.figures.style import colours, run_of
from weightsharing.model.axes import Array

# Blue through white to red, told apart by colour-blind readers.
KERNEL_COLOURS = "RdBu_r"
# Kernels up to this size are drawn on a linear scale, larger ones on a logarithmic one.
LINEAR_UP_TO = 1.0


def kernel_norm(measures: Sequence[xr.Dataset]) -> AsinhNorm:
    """One scale for all kernels, symmetric about 0."""
    names = ("kernel", "kernel_theory")
    shown = [data[name].to_numpy() for data in measures for name in names if name in data]
    largest = max(
        max(float(np.abs(kernel[0, 0]).max()), float(np.abs(kernel[..., -1, -1]).max()))
        for kernel in shown
    )
    return AsinhNorm(linear_width=LINEAR_UP_TO, vmin=-largest, vmax=largest)


def show_spectrum(axes: Axes, data: xr.Dataset, exact: xr.Dataset | None = None) -> None:
    """Eigenvalues of one network of the first chain, the disc of noise, and the theory's outliers."""
    noise, theory, third = colours(3)
    last = data["eigenvalue"].isel(chain=0, spectrum=-1).to_numpy().reshape(-1, 2)
    radius = float(run_of(data)["architecture"]["prior"]["w"]) ** 0.5
    edge = float(data["noise_edge"])
    size = float(np.clip(25.0 / np.sqrt(len(last)), 0.4, 2.0))
    axes.plot(last[:, 0], last[:, 1], "o", color="0.35", markersize=size, mew=0, rasterized=True)
    outside = np.hypot(last[:, 0], last[:, 1]) > edge
    axes.plot(last[outside, 0], last[outside, 1], ".", color="black", markersize=4)
    if exact is not None and "eigenvalue" in exact:
        other = exact["eigenvalue"].isel(chain=0, spectrum=-1).to_numpy().reshape(-1, 2)
        other = other[np.hypot(other[:, 0], other[:, 1]) > float(exact["noise_edge"])]
        axes.plot(other[:, 0], other[:, 1], "+", color=third, markersize=6)
    axes.add_patch(Circle((0, 0), radius, fill=False, color=noise, linewidth=1.0))
    axes.add_patch(Circle((0, 0), edge, fill=False, color=noise, linewidth=0.8, linestyle="--"))
    if "eigenvalue_theory" in data:
        predicted = data["eigenvalue_theory"].to_numpy()
        beyond = np.hypot(predicted[:, 0], predicted[:, 1]) > radius
        axes.plot(predicted[beyond, 0], predicted[beyond, 1], "x", color=theory, markersize=6)
    limit = 1.12 * max(edge, float(np.abs(last).max()), 1.3 * radius)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(-limit, limit)
    axes.set_aspect("equal")
    axes.set_xticks([-1, 0, 1])
    axes.set_yticks([-1, 0, 1])
    axes.set_ylabel("Im", labelpad=-4)
    axes.set_xlabel("Re", labelpad=0)
    axes.set_title("eigenvalues", fontsize=7, pad=3)


def outlier_count(data: xr.Dataset) -> str:
    """How many eigenvalues are beyond the edge of the noise, mean over all spectra kept, in words."""
    return f"outliers: {data['outliers'].to_numpy().mean():.2g}"


def show_split_kernel(
    axes: Axes, measured: Array, theory: Array | None, norm: Normalize, index: str
) -> None:
    """A kernel whose lower left triangle shows the theory."""
    show_matrix(axes, measured, norm, f"${index}$", f"${index}'$")
    if theory is None:
        return
    size = len(measured)
    lower = Polygon([(-0.5, -0.5), (-0.5, size - 0.5), (size - 0.5, size - 0.5)], closed=True)
    shown = show_matrix(axes, theory, norm, f"${index}$", f"${index}'$")
    lower.set_transform(axes.transData)
    shown.set_clip_path(lower)
    axes.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color="black", linewidth=0.6)


def show_matrix(axes: Axes, matrix: Array, norm: Normalize, row: str, column: str) -> AxesImage:
    """A matrix with its first and last index marked. row, column: names of the indices."""
    for spine in ("top", "right"):
        axes.spines[spine].set_visible(True)
    axes.set_xticks([0, matrix.shape[1] - 1])
    axes.set_yticks([0, matrix.shape[0] - 1])
    axes.set_ylabel(row, labelpad=-4)
    axes.set_xlabel(column, labelpad=-5)
    return axes.imshow(matrix, cmap=KERNEL_COLOURS, norm=norm, interpolation="nearest")
