"""Figure 2: kernels of nonlinear RNNs against their width. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from weightsharing.figures import conditions
from weightsharing.figures.panels import show_matrix
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import antidiagonal
from weightsharing.figures.style import MARKERS, SAMPLER_NAMES, colours, page_figure, panel_letter

ANTIDIAGONAL = "#1b7837"
Runs = Sequence[Result]


class Section(Protocol):
    """The part of the figure's section that is drawn."""

    @property
    def shown(self) -> tuple[int, ...]:
        """Widths of panels b and c."""


def draw(results: Results, section: Section) -> Figure:
    """Panels a (alignment against N), b (kernels beside theory) and c (along the anti-diagonal).

    Kernels of panels b and c are those of one network each, not means: they approach the theory with N.
    Where several samplers have a width of panels b and c, the first of ``style.MARKERS`` is drawn.
    Runs that did not converge are hollow and named below.
    """
    runs = results.runs
    figure = page_figure(height=3.3)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.0, 1.35], height_ratios=[1.0, 1.15])
    _alignment(figure.add_subplot(grid[:, 0]), runs)
    order = list(MARKERS)
    chosen = [
        min((run for run in runs if run.width == width), key=lambda run: order.index(run.method))
        for width in sorted(section.shown)
    ]
    _kernels(figure, grid[0, 1], chosen)
    _autocorrelation(figure.add_subplot(grid[1, 1]), chosen)
    conditions.write_conditions(figure, _conditions(runs))
    return figure


def _conditions(runs: Runs) -> list[str]:
    """N, chains, samplers, and the runs that did not converge."""
    parts = []
    for method, group in _by_method(runs).items():
        size = f"$N = {group[0].width}$ to ${group[-1].width}$, {conditions.chains(group)}"
        parts.append(f"{SAMPLER_NAMES[method]}: {size}{conditions.step_size(group)}")
    kappa = rf"$\kappa = {runs[0].run.kappa:g}$"
    first = "; ".join([*parts, kappa, "error bars: standard error"])
    failed = [run for run in runs if run.faults_with("alignment")]
    if failed:
        named = ", ".join(f"{SAMPLER_NAMES[run.method]} $N = {run.width}$" for run in failed)
        return [first, f"NOT CONVERGED (hollow): {named}"]
    verdict = conditions.diagnostics(
        (run.value("alignment_rhat") for run in runs),
        (run.value("alignment_effective_size") for run in runs),
    )
    return [first, f"all runs converged: CKA has {verdict}"]


def _by_method(runs: Runs) -> dict[str, list[Result]]:
    """Runs of each sampler there is, by increasing width."""
    ordered = sorted(runs, key=lambda run: run.width)
    groups = {method: [run for run in ordered if run.method == method] for method in MARKERS}
    return {method: group for method, group in groups.items() if group}


def _alignment(axes: Axes, runs: Runs) -> None:
    inset = axes.inset_axes((0.42, 0.16, 0.56, 0.5))
    axes.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    groups = _by_method(runs)
    for (method, group), colour in zip(groups.items(), colours(len(groups)), strict=True):
        style: dict[str, Any] = {
            "marker": MARKERS[method], "markersize": 4 if method == "exact" else 4.5,
            "color": colour, "markeredgecolor": "black", "markeredgewidth": 0.6,
            "linestyle": "none",
        }  # fmt: skip
        for run in group:
            value, error = run.value("alignment"), run.value("alignment_standard_error")
            hollow = bool(run.faults_with("alignment"))
            face = style | {"markerfacecolor": "white" if hollow else colour}
            axes.errorbar(run.width, value, yerr=error, **face)
            inset.errorbar(run.width, 1.0 - value, yerr=error, **face | {"markersize": 3})
        axes.plot([], [], **style | {"markerfacecolor": colour}, label=SAMPLER_NAMES[method])
    axes.set_xscale("log", base=2)
    axes.set_xlabel("width $N$")
    axes.set_ylabel(r"CKA($\Phi_{\mathrm{exp}}, \Phi_{\mathrm{theory}}$)")
    # Beside the points of the smallest widths, below those of the others.
    axes.legend(
        loc="upper right", bbox_to_anchor=(1.03, 0.85), handlelength=1.0, fontsize=6,
        labelspacing=0.3,
    )  # fmt: skip
    panel_letter(axes, "a")
    _distance(inset, groups.get("exact") or sorted(runs, key=lambda run: run.width), runs)


def _distance(inset: Axes, guided: Runs, runs: Runs) -> None:
    """Axes of 1 - CKA, and a line of slope -1 through the run in the middle of ``guided``."""
    inset.set_xscale("log")
    inset.set_yscale("log")
    middle = guided[len(guided) // 2]
    widths = [run.width for run in runs]
    line = np.array([min(widths), max(widths)], dtype=float)
    inset.plot(
        line, (1.0 - middle.value("alignment")) * middle.width / line, color="black",
        linewidth=0.8, linestyle="--", zorder=0, label="$\\propto 1/N$",
    )  # fmt: skip
    inset.legend(loc="upper right", fontsize=6, handlelength=1.2)
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.minorticks_off()
    inset.set_ylabel("1 - CKA", fontsize=6, labelpad=0)
    inset.set_xlabel("$N$", fontsize=6, labelpad=0)


def _kernels(figure: Figure, place: Any, chosen: Runs) -> None:
    panels = [(f"$N = {run.width}$", run.array("activation_kernel_draw")[0, 0]) for run in chosen]
    panels.append(("theory", chosen[-1].array("activation_kernel_theory")[0, 0]))
    largest = max(float(np.abs(kernel).max()) for _, kernel in panels)
    grid = place.subgridspec(1, len(panels), wspace=0.05)
    every = [figure.add_subplot(grid[index]) for index in range(len(panels))]
    for axes, (title, kernel) in zip(every, panels, strict=True):
        image = show_matrix(axes, kernel, Normalize(-largest, largest), "$t$", "$t'$")
        size = len(kernel)
        axes.plot([-0.5, size - 0.5], [size - 0.5, -0.5], color=ANTIDIAGONAL, linewidth=1.0)
        axes.set_title(title, fontsize=7, pad=2)
        axes.tick_params(labelsize=6.5, length=2, pad=1)
        axes.label_outer()
    bar = figure.colorbar(image, ax=every, shrink=0.9, aspect=14, pad=0.02)
    bar.set_label(r"$\Phi^{tt'}$", labelpad=0)
    bar.ax.tick_params(labelsize=6.5)
    panel_letter(every[0], "b")


def _autocorrelation(axes: Axes, chosen: Runs) -> None:
    steps = chosen[0].run.architecture.steps
    lag = 2 * np.arange(steps) - (steps - 1)
    axes.axhline(0.0, color="0.85", linewidth=0.6, zorder=0)
    for run, colour in zip(chosen, colours(len(chosen) + 2)[2:], strict=True):
        one, mean, deviation = (
            antidiagonal(run.array(f"activation_kernel{end}"))
            for end in ("_draw", "", "_deviation")
        )
        axes.fill_between(
            lag, mean - deviation, mean + deviation, color=colour, alpha=0.2, linewidth=0
        )
        axes.plot(lag, one, color=colour, linewidth=1.4, label=f"$N = {run.width}$")
    theory = antidiagonal(chosen[-1].array("activation_kernel_theory"))
    axes.plot(lag, theory, color="black", linestyle="--", linewidth=1.2, zorder=4, label="theory")
    axes.set_xlabel("$t - t'$")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_ylabel(r"$\Phi^{t,\,T-1-t}$", color=ANTIDIAGONAL)
    # Beside the curves: they fill the panel.
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, handlelength=1.4)
    panel_letter(axes, "c")
