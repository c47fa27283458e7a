"""Figure 2: kernels of nonlinear RNNs against their width. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightsharing.figures.fig2.config import Section
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import powers_of_two, sampler_key, show_matrix, show_point
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import antidiagonal
from weightsharing.figures.style import (
    EXACT,
    GUIDE,
    MARKERS,
    RNN_COLOUR,
    SMALL,
    page_figure,
    panel_letter,
    width_colours,
)

ANTIDIAGONAL = "#1b7837"
Runs = Sequence[Result]


def draw(results: Results, section: Section, preset: str) -> Figure:
    """Panels a (alignment against N), b (kernels beside theory) and c (along the anti-diagonal).

    Kernels of panels b and c are those of one network each, not means: they approach the theory with N.
    Where several samplers have a width of panels b and c, the first of ``style.MARKERS`` is drawn.
    Runs that did not converge are hollow and named below.
    """
    runs = sorted(results.runs, key=lambda run: run.width)
    figure = page_figure(height=3.1)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.0, 1.45], height_ratios=[1.0, 1.1])
    _alignment(figure.add_subplot(grid[:, 0]), runs)
    order = list(MARKERS)
    chosen = [
        min((run for run in runs if run.width == width), key=lambda run: order.index(run.method))
        for width in sorted(section.shown)
    ]
    _kernels(figure, grid[0, 1], chosen)
    _autocorrelation(figure.add_subplot(grid[1, 1]), chosen)
    footer(figure, preset, runs, "alignment")
    return figure


def _alignment(axes: Axes, runs: Runs) -> None:
    """CKA with the theory, and in the inset its distance from 1 beside a line of slope -1."""
    inset = axes.inset_axes((0.4, 0.13, 0.58, 0.5))
    axes.axhline(1.0, color=GUIDE, linewidth=0.6, zorder=0)
    for run in runs:
        value, error = run.value("alignment"), run.value("alignment_standard_error")
        # Circles of the exact sampler lie on the larger diamonds.
        colour, zorder = (EXACT, 4) if run.role == "exact" else (RNN_COLOUR, 3)
        for panel, height in ((axes, value), (inset, 1.0 - value)):
            show_point(panel, run, run.width, height, error, colour, "alignment", zorder=zorder)
    sampler_key(axes, runs, RNN_COLOUR, EXACT)
    axes.set_xlabel("width $N$")
    axes.set_ylabel(r"CKA$\,(\Phi_{\mathrm{exp}}, \Phi_{\mathrm{theory}})$")
    axes.legend(loc="upper right", bbox_to_anchor=(1.02, 0.9), handlelength=1.0)
    panel_letter(axes, "a")

    guided = [run for run in runs if run.role == "exact"] or runs
    middle = guided[len(guided) // 2]
    ends = np.array([runs[0].width, runs[-1].width], dtype=float)
    line = (1.0 - middle.value("alignment")) * middle.width / ends
    inset.plot(ends, line, "--", color=GUIDE, linewidth=0.8, zorder=0, label="$\\propto 1/N$")
    inset.legend(loc="upper right", bbox_to_anchor=(1.05, 1.05))
    inset.set_yscale("log")
    inset.tick_params(labelsize=SMALL, pad=1)
    inset.set_title(r"$1 - \mathrm{CKA}$", fontsize=7)
    for panel in (axes, inset):
        powers_of_two(panel, [run.width for run in runs])


def _kernels(figure: Figure, place: Any, chosen: Runs) -> None:
    """Kernels of one network of each width, and that of the theory, on one scale."""
    panels = [(f"$N = {run.width}$", run.array("activation_kernel_draw")[0, 0]) for run in chosen]
    panels.append(("theory", chosen[-1].array("activation_kernel_theory")[0, 0]))
    largest = max(float(np.abs(kernel).max()) for _, kernel in panels)
    grid = place.subgridspec(1, len(panels), wspace=0.05)
    every = [figure.add_subplot(grid[index]) for index in range(len(panels))]
    for axes, (title, kernel) in zip(every, panels, strict=True):
        image = show_matrix(axes, kernel, Normalize(-largest, largest), "$t$", "$t'$")
        size = len(kernel)
        axes.plot([-0.5, size - 0.5], [size - 0.5, -0.5], color=ANTIDIAGONAL, linewidth=1.0)
        axes.set_title(title)
        axes.label_outer()
    bar = figure.colorbar(image, ax=every, shrink=0.9, aspect=14, pad=0.02)
    bar.set_label(r"$\Phi^{tt'}$", labelpad=0)
    panel_letter(every[0], "b")


def _autocorrelation(axes: Axes, chosen: Runs) -> None:
    """The kernels of panel b along the anti-diagonal; bands are the fluctuation over draws."""
    steps = chosen[0].run.architecture.steps
    lag = 2 * np.arange(steps) - (steps - 1)
    axes.axhline(0.0, color=GUIDE, linewidth=0.6, zorder=0)
    for run, colour in zip(chosen, width_colours(len(chosen)), strict=True):
        one, mean, deviation = (
            antidiagonal(run.array(f"activation_kernel{end}"))
            for end in ("_draw", "", "_deviation")
        )
        axes.fill_between(
            lag, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0
        )
        axes.plot(lag, one, color=colour, label=f"$N = {run.width}$")
    theory = antidiagonal(chosen[-1].array("activation_kernel_theory"))
    axes.plot(lag, theory, color="black", linestyle="--", linewidth=1.2, zorder=4, label="theory")
    axes.set(xlabel="$t - t'$", xlim=(lag[0], lag[-1]))
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylabel(r"$\Phi^{t,\,T-1-t}$", color=ANTIDIAGONAL)
    # Above the curves: they fill the panel.
    axes.legend(
        loc="lower center", bbox_to_anchor=(0.5, 0.97), ncols=len(chosen) + 1, handlelength=1.6
    )
    panel_letter(axes, "c")
