"""Figure 2: kernels of nonlinear RNNs against their width. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.figures.fig2.config import Section
from weightsharing.figures.results import Results
from weightsharing.figures.style import (
    MARKERS,
    SAMPLER_NAMES,
    STEP_NAMES,
    colours,
    page_figure,
    panel_letter,
    run_of,
)

ANTIDIAGONAL = "#1b7837"


def _draw(measures: Sequence[xr.Dataset], shown: Sequence[int]) -> Figure:
    """Panels a (alignment against N), b (kernels beside theory) and c (along the anti-diagonal).

    measures: one for each sampler and width, in any order. shown: widths of panels b and c; where several
    samplers have one, the first of style.MARKERS is drawn. Runs that did not converge are hollow and
    named below.
    """
    figure = page_figure(height=2.9)
    grid = figure.add_gridspec(1, 3, width_ratios=[1.0, 1.3, 0.85])
    _alignment(figure.add_subplot(grid[0]), measures)
    chosen = [_at_width(measures, width) for width in sorted(shown)]
    _kernels(figure, grid[1], chosen)
    _autocorrelation(figure.add_subplot(grid[2]), chosen)
    figure.supxlabel(conditions(measures), fontsize=6, color="0.25")
    return figure


def conditions(measures: Sequence[xr.Dataset]) -> str:
    """N, chains, samplers and what did not converge: the lines below the panels."""
    parts = []
    for method in MARKERS:
        own = sorted(_of(measures, method), key=_width)
        if not own:
            continue
        widths = f"$N = {_width(own[0])}$ to ${_width(own[-1])}$"
        sampler = run_of(own[0])["sampler"]
        counts = sorted({run_of(data)["sampler"]["chains"] for data in own})
        chains = f"{counts[0]} chains" if len(counts) == 1 else f"{counts[0]}-{counts[-1]} chains"
        step = ""
        if method in STEP_NAMES:
            step = f", ${STEP_NAMES[method]} = {sampler['step_size']:g}$"
        parts.append(f"{SAMPLER_NAMES[method]}: {widths}, {chains}{step}")
    text = (
        "; ".join(parts)
        + rf"; $\kappa = {run_of(measures[0])['kappa']:g}$; error bars: standard error"
    )
    failed = [data for data in measures if not _converged(data)]
    if not failed:
        rhat = max(float(data["alignment_rhat"]) for data in measures)
        size = min(float(data["alignment_effective_size"]) for data in measures)
        return (
            f"{text}\nall runs converged: CKA has $\\hat R \\leq {rhat:.3f}$, effective sample size "
            rf"$\geq {size:.0f}$"
        )
    named = ", ".join(
        f"{SAMPLER_NAMES[data.attrs['method']]} $N = {_width(data)}$" for data in failed
    )
    return f"{text}\nNOT CONVERGED (hollow): {named}"


def _alignment(axes: Axes, measures: Sequence[xr.Dataset]) -> None:
    inset = axes.inset_axes((0.42, 0.16, 0.56, 0.5))
    axes.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    widths = sorted({_width(data) for data in measures})
    present = [method for method in MARKERS if _of(measures, method)]
    for method, colour in zip(present, colours(len(present)), strict=True):
        for data in _of(measures, method):
            value = float(data["alignment"])
            style: dict[str, Any] = {
                "marker": MARKERS[method],
                "markersize": 4 if method == "exact" else 4.5,
                "color": colour,
                "markeredgecolor": "black",
                "markerfacecolor": colour if _converged(data) else "white",
                "markeredgewidth": 0.6,
                "linestyle": "none",
            }
            error = float(data["alignment_standard_error"])
            axes.errorbar(_width(data), value, yerr=error, **style)
            inset.errorbar(_width(data), 1.0 - value, yerr=error, **style | {"markersize": 3})
        axes.plot([], [], **style | {"markerfacecolor": colour}, label=SAMPLER_NAMES[method])
    axes.set_xscale("log", base=2)
    axes.set_xlabel("width $N$")
    axes.set_ylabel(r"CKA($\Phi_{\mathrm{exp}}, \Phi_{\mathrm{theory}}$)")
    # Beside the points of the smallest widths, below those of the others.
    axes.legend(
        loc="upper right",
        bbox_to_anchor=(1.03, 0.85),
        handlelength=1.0,
        fontsize=6,
        labelspacing=0.3,
    )
    panel_letter(axes, "a")
    inset.set_xscale("log")
    inset.set_yscale("log")
    exact = sorted(_of(measures, "exact") or measures, key=_width)
    middle = exact[len(exact) // 2]
    line = np.array([widths[0], widths[-1]], dtype=float)
    inset.plot(
        line,
        (1.0 - float(middle["alignment"])) * _width(middle) / line,
        color="black",
        linewidth=0.8,
        linestyle="--",
        zorder=0,
        label="$\\propto 1/N$",
    )
    inset.legend(loc="upper right", fontsize=6, handlelength=1.2)
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.minorticks_off()
    inset.set_ylabel("1 - CKA", fontsize=6, labelpad=0)
    inset.set_xlabel("$N$", fontsize=6, labelpad=0)


def _kernels(figure: Figure, place: Any, chosen: Sequence[xr.Dataset]) -> None:
    panels = [
        (f"$N = {_width(data)}$", data["activation_kernel"][0, 0].to_numpy()) for data in chosen
    ]
    panels.append(("theory", chosen[-1]["activation_kernel_theory"][0, 0].to_numpy()))
    largest = max(float(np.abs(kernel).max()) for _, kernel in panels)
    columns = 2
    grid = place.subgridspec(-(-len(panels) // columns), columns, wspace=0.05, hspace=0.1)
    every = [figure.add_subplot(grid[i // columns, i % columns]) for i in range(len(panels))]
    for index, (axes, (title, kernel)) in enumerate(zip(every, panels, strict=True)):
        image = axes.imshow(kernel, cmap="RdBu_r", vmin=-largest, vmax=largest)
        size = len(kernel)
        axes.plot([-0.5, size - 0.5], [size - 0.5, -0.5], color=ANTIDIAGONAL, linewidth=1.0)
        axes.set_title(title, fontsize=6.5, pad=2)
        axes.set_xticks([0, size - 1])
        axes.set_yticks([0, size - 1])
        axes.tick_params(labelsize=6, length=2, pad=1)
        if index % columns == 0:
            axes.set_ylabel("$t$", labelpad=-4)
        if index // columns == (len(panels) - 1) // columns:
            axes.set_xlabel("$t'$", labelpad=-4)
    bar = figure.colorbar(image, ax=every, shrink=0.8, aspect=18, pad=0.02)
    bar.set_label(r"$\Phi^{tt'}$", labelpad=0)
    bar.ax.tick_params(labelsize=6)
    every[0].text(
        -0.45, 1.15, "b", transform=every[0].transAxes, fontweight="bold", fontsize=10, va="bottom"
    )


def _autocorrelation(axes: Axes, chosen: Sequence[xr.Dataset]) -> None:
    steps = chosen[0].sizes["time"]
    time = np.arange(steps)
    lag = 2 * time - (steps - 1)
    axes.axhline(0.0, color="0.85", linewidth=0.6, zorder=0)
    for data, colour in zip(chosen, colours(len(chosen) + 2)[2:], strict=True):
        along = data["activation_kernel"][0, 0].to_numpy()[time, time[::-1]]
        error = data["activation_kernel_standard_error"][0, 0].to_numpy()[time, time[::-1]]
        axes.errorbar(
            lag, along, yerr=error, color=colour, linewidth=1.8, label=f"$N = {_width(data)}$"
        )
    theory = chosen[-1]["activation_kernel_theory"][0, 0].to_numpy()[time, time[::-1]]
    axes.plot(lag, theory, color="black", linestyle="--", linewidth=1.2, zorder=4, label="theory")
    axes.set_xlabel("$t - t'$")
    axes.set_ylabel(r"$\Phi^{t,\,T-1-t}$", color=ANTIDIAGONAL)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.02), fontsize=6, handlelength=1.4, ncols=2,
                columnspacing=0.8)  # fmt: skip
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.35 * (high - low))
    panel_letter(axes, "c")


def _at_width(measures: Sequence[xr.Dataset], width: int) -> xr.Dataset:
    own = [data for data in measures if _width(data) == width]
    return min(own, key=lambda data: list(MARKERS).index(data.attrs["method"]))


def _of(measures: Sequence[xr.Dataset], method: str) -> list[xr.Dataset]:
    return [data for data in measures if data.attrs["method"] == method]


def _width(data: xr.Dataset) -> int:
    return int(data.attrs["width"])


def _converged(data: xr.Dataset) -> bool:
    return {data.attrs["converged"], data.attrs["alignment_converged"]} == {"yes"}


def draw(results: Results, section: Section) -> Figure:
    """Stand-in until the branch of the claims is merged."""
    return _draw([result.data for result in results.runs], section.shown)
