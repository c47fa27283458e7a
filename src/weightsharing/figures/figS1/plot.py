"""Figure S1: networks at the transition. Reads measures, draws, computes nothing but shares of draws."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.figures.figS1.scaling import (
    OF_M,
    UNIVERSAL_BINDER,
    around_transition,
    at_transition,
    offset,
    widths,
)
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import powers_of_two, sampler_key, show_point
from weightsharing.figures.results import Result, Results, Scan, values_and_errors
from weightsharing.figures.statistics import histogram
from weightsharing.figures.style import (
    DASHES,
    GUIDE,
    depth_colour,
    page_figure,
    panel_letter,
    symbol,
    width_colours,
)

Runs = Sequence[Result]
# By N: the runs around the transition, and their colours.
Groups = dict[int, list[Result]]
Palette = dict[int, str]


def draw(results: Results, section: object, preset: str) -> Figure:
    """Panels a (m at lambda_c against N), b (Binder cumulants), c (collapse) and d (law of m).

    Runs that did not converge are drawn hollow and named below the panels.
    """
    figure = page_figure(height=4.6)
    grid = figure.add_gridspec(2, 2)
    scans = sorted(results.scans, key=lambda scan: -scan.depth)
    _order_parameter(figure.add_subplot(grid[0, 0]), scans, results)
    scan = scans[0]
    exact = results.select(role="exact")
    groups = around_transition([run for run in exact if run.run.architecture.steps == scan.depth])
    palette = dict(zip(groups, width_colours(len(groups)), strict=True))
    _cumulants(figure.add_subplot(grid[0, 1]), scan, groups, palette)
    _collapse(figure.add_subplot(grid[1, 0]), scan, groups, palette)
    _law(figure.add_subplot(grid[1, 1]), scan, groups, palette)
    footer(figure, preset, results.runs)
    return figure


def _points(axes: Axes, runs: Runs, x: Any, y: Any, error: Any, colour: str) -> None:
    """Symbols of several runs."""
    for run, *point in zip(runs, x, y, error, strict=True):
        show_point(axes, run, *point, colour)


def _order_parameter(axes: Axes, scans: Sequence[Scan], results: Results) -> None:
    """<|m|> at lambda_c against N."""
    for scan, dash in zip(scans, [*DASHES, *DASHES * len(scans)], strict=False):
        colour = depth_colour(scan.depth)
        mine = [run for run in results.runs if run.run.architecture.steps == scan.depth]
        runs = at_transition(mine, scan)
        _points(axes, runs, widths(runs), *values_and_errors(runs, "order_parameter"), colour)
        at = sorted({run.width for run in runs})
        law = [scan.law(width, scan.critical_signal).mean for width in at]
        words = f", $T = {scan.depth}$"
        axes.plot(at, law, color=colour, linewidth=1.0, linestyle=dash, label=f"theory{words}")
        sampler_key(axes, runs, colour, colour, words)
    guide = np.array([at[0], at[-1]], dtype=float)
    axes.plot(
        guide, 0.75 * law[0] * (guide / guide[0]) ** -OF_M, "--", color=GUIDE, linewidth=0.8,
        label=r"$\propto N^{-1/4}$",
    )  # fmt: skip
    axes.set_yscale("log")
    powers_of_two(axes, at)
    axes.set(xlabel="width $N$", ylabel=r"$\langle |m| \rangle$ at $\lambda_c$")
    axes.set_ylim(top=4.0 * max(law))
    axes.set_yticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    axes.minorticks_off()
    axes.legend(loc="upper right")
    panel_letter(axes, "a")


def _cumulants(axes: Axes, scan: Scan, groups: Groups, palette: Palette) -> None:
    """U against lambda / lambda_c."""
    axes.axhline(UNIVERSAL_BINDER, color=GUIDE, linewidth=0.6, linestyle="--")
    axes.axvline(1.0, color=GUIDE, linewidth=0.6, linestyle="--")
    for width, runs in groups.items():
        ratio = [run.signal / scan.critical_signal for run in runs]
        laws = [scan.law(width, run.signal).binder_cumulant for run in runs]
        axes.plot(ratio, laws, color=palette[width], linewidth=1.0)
        _points(axes, runs, ratio, *values_and_errors(runs, "binder_cumulant"), palette[width])
        style = symbol(runs[0].method, palette[width]) | {"linestyle": "-", "linewidth": 1.0}
        axes.plot([], [], **style, label=f"$N = {width}$")
    axes.set(xlabel=r"$\lambda / \lambda_c$", ylabel="Binder cumulant $U$")
    axes.legend(loc="upper left")
    axes.set_title(f"$T = {scan.depth}$")
    panel_letter(axes, "b")


def _collapse(axes: Axes, scan: Scan, groups: Groups, palette: Palette) -> None:
    """<|m|> N^(1/4) against the scaled distance from lambda_c."""
    for width, runs in groups.items():
        scale = width**OF_M
        x = [offset(run, scan) for run in runs]
        laws = [scale * scan.law(width, run.signal).mean for run in runs]
        values, errors = values_and_errors(runs, "order_parameter")
        axes.plot(x, laws, color=palette[width], linewidth=1.0)
        _points(axes, runs, x, scale * values, scale * errors, palette[width])
    axes.axvline(0.0, color=GUIDE, linewidth=0.6, linestyle="--")
    axes.set(
        xlabel=r"$(\lambda / \lambda_c - 1)\, N^{1/2}$", ylabel=r"$\langle |m| \rangle\, N^{1/4}$"
    )
    panel_letter(axes, "c")


def _law(axes: Axes, scan: Scan, groups: Groups, palette: Palette) -> None:
    """The density of |m| N^(1/4) at lambda_c."""
    critical = at_transition([run for runs in groups.values() for run in runs], scan)
    for run in critical:
        law, scale, colour = scan.law(run.width, run.signal), run.width**OF_M, palette[run.width]
        axes.plot(scale * law.order_parameter, law.density / scale, color=colour, linewidth=1.0)
        place, density, error = histogram(np.abs(run.array("order_parameter_draws")), law).densities
        show_point(axes, run, scale * place, density / scale, error / scale, colour, scale=0.8)
    last = max(float(run.width**OF_M * run.value("order_parameter")) for run in critical)
    axes.set(xlabel=r"$|m|\, N^{1/4}$ at $\lambda_c$", ylabel="density", xlim=(0.0, 3.0 * last))
    axes.set_ylim(bottom=0.0)
    panel_letter(axes, "d")
