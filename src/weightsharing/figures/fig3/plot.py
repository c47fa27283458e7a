"""Figure 3: kernels and spectra of DNNs and RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from weightsharing.figures.fig3.config import Section
from weightsharing.figures.panels import (
    kernel_norm,
    outlier_count,
    show_matrix,
    show_spectrum,
    show_split_kernel,
)
from weightsharing.figures.results import Results
from weightsharing.figures.style import SAMPLER_NAMES, STEP_NAMES, colours, page_figure, run_of
from weightsharing.model import tasks
from weightsharing.model.architecture import KINDS
from weightsharing.model.axes import Array
from weightsharing.model.tasks import Task

STRENGTHS = ("weak", "strong")


def _draw(task: Task, label_kernels: tuple[Array, Array], measures: Sequence[xr.Dataset]) -> Figure:
    """Panel a (the task) above the four cells: DNN and RNN, weak and strong signal.

    task, label_kernels: of the strong signal. measures: theory against experiment of the four cells,
    in any order, trained by a Langevin sampler and drawn by the exact one. Of each kernel the upper
    right is measured in the trained networks and the lower left is theory.
    """
    figure = page_figure(height=6.0)
    norm = kernel_norm(measures)
    parts: Any = figure.subfigures(2, 1, height_ratios=[0.48, 1.0])
    top, bottom = parts
    _task(top, task, label_kernels, norm)
    signals = sorted({round(float(data.attrs["signal"]), 9) for data in measures})
    cells = bottom.subfigures(len(signals), len(KINDS), squeeze=False)
    letters = iter("bcde")
    for column, kind in enumerate(KINDS):
        for row, signal in enumerate(signals):
            own = {
                data.attrs["method"] != "exact": data
                for data in measures
                if run_of(data)["architecture"]["kind"] == kind
                and round(float(data.attrs["signal"]), 9) == signal
            }
            cell = cells[row, column]
            _cell(cell.subplots(1, 3), own[True], own.get(False), norm)
            title = rf"{kind.upper()}, {STRENGTHS[row]} signal ($\lambda = {signal:g}$)"
            _title(cell, next(letters), title)
    figure.supxlabel(conditions(measures), fontsize=6, color="0.25")
    return figure


def conditions(measures: Sequence[xr.Dataset]) -> str:
    """N, chains, sampler and what did not converge: the lines below the panels."""
    trained = [data for data in measures if data.attrs["method"] != "exact"]
    exact = [data for data in measures if data.attrs["method"] == "exact"]
    samplers = [run_of(data)["sampler"] for data in trained]

    def span(name: str) -> str:
        values = sorted({sampler[name] for sampler in samplers})
        return f"{values[0]:g}" if len(values) == 1 else f"{values[0]:g}-{values[-1]:g}"

    names = "/".join(sorted({SAMPLER_NAMES[sampler["method"]] for sampler in samplers}))
    step = "/".join(sorted({STEP_NAMES[sampler["method"]] for sampler in samplers}))
    text = (
        f"{names}: $N = {span('width')}$, {span('chains')} chains, ${step} = {span('step_size')}$, "
        rf"${step}\times$steps $= {span('burn_in')}$ (burn-in) + {span('duration')}; "
        rf"$\kappa = {run_of(measures[0])['kappa']:g}$; upper right: measured, lower left: theory; "
        r"branch $m > 0$"
    )
    if exact:
        sampler = run_of(exact[0])["sampler"]
        text += f"\nexact: exact sampler, $N = {sampler['width']}$, {sampler['chains']} chains"
    failed = [data for data in measures if not _converged(data)]
    if not failed:
        rhat = max(float(data.attrs["largest_rhat"]) for data in measures)
        size = min(float(data.attrs["smallest_effective_size"]) for data in measures)
        return (
            f"{text}; all runs converged: $\\hat R \\leq {rhat:.3f}$, effective sample size "
            rf"$\geq {size:.0f}$"
        )
    named = [run_of(data)["id"].removeprefix("fig3/") for data in failed]
    lines = [", ".join(named[start : start + 4]) for start in range(0, len(named), 4)]
    return f"{text}\nNOT CONVERGED: " + ",\n".join(lines)


def _title(cell: SubFigure, letter: str, text: str) -> None:
    cell.suptitle(rf"$\mathbf{{{letter}}}$   {text}", x=0.02, ha="left", fontsize=8)


def _task(top: SubFigure, task: Task, label_kernels: tuple[Array, Array], norm: Normalize) -> None:
    """Inputs, labels and label kernels, and the key of the whole figure."""
    grid = top.add_gridspec(1, 5, width_ratios=[1, 1, 1, 1, 2.4])
    inputs, labels, temporal, samples, key = (top.add_subplot(grid[i]) for i in range(5))
    patterns, steps = task.patterns, task.steps
    _title(
        top,
        "a",
        f"task: {patterns} orthonormal inputs at $t = 0$, one label each at $t = T = {steps}$",
    )
    image = show_matrix(inputs, task.inputs[:, 0], norm, "$p$", "dimension")
    inputs.xaxis.labelpad = 0
    inputs.set_title("inputs $x_p^0$", fontsize=7)
    labels.axvline(0.0, color="0.8", linewidth=0.6)
    labels.barh(np.arange(patterns), task.targets[:, -1], color="0.4", height=0.6)
    labels.set_ylim(patterns - 0.5, -0.5)
    labels.set_yticks([0, patterns - 1])
    labels.set_ylabel("$p$", labelpad=-4)
    labels.set_box_aspect(1)
    labels.set_title("labels $y_p$ (strong)", fontsize=7)
    show_matrix(temporal, label_kernels[0], norm, "$t$", "$t'$")
    temporal.set_title(r"$\mathbb{Y}_{00}^{tt'}$", fontsize=7)
    temporal.set_xticks([0, steps - 1], ["1", f"{steps}"])
    temporal.set_yticks([0, steps - 1], ["1", f"{steps}"])
    show_matrix(samples, label_kernels[1], norm, "$p$", "$p'$")
    samples.set_title(r"$\mathbb{Y}_{pp'}^{TT}$", fontsize=7)
    key.axis("off")
    _key(key)
    bar = key.inset_axes((0.08, 0.1, 0.88, 0.12))
    largest = float(norm.vmax or 1.0)
    ticks = [tick for tick in (-10, -5, -2, -1, 0, 1, 2, 5, 10) if abs(tick) <= largest]
    top.colorbar(image, cax=bar, orientation="horizontal", ticks=ticks, format="%g")
    bar.minorticks_off()
    bar.set_title(r"$\mathbb{H}$ and $\mathbb{Y}$, one scale", fontsize=7, pad=3)


def _key(axes: Axes) -> None:
    """What the triangles of the kernels and the marks of the spectra mean."""
    noise, theory, third = colours(3)
    axes.plot([], [], ".", color="black", markersize=4, label="eigenvalue of trained $W$")
    axes.plot([], [], "x", color=theory, markersize=5, label="outlier in theory")
    axes.plot([], [], "+", color=third, markersize=5, label="outlier, exact sampler")
    axes.plot([], [], color=noise, linewidth=1.0, label=r"disc, radius $\sqrt{w}$")
    axes.plot([], [], color=noise, linewidth=0.8, linestyle="--", label="edge of noise, this $N$")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 1.12), fontsize=6.5, ncols=2, handlelength=1.2,
        columnspacing=0.8, title="kernels: upper right measured, lower left theory",
        title_fontsize=6.5,
    )  # fmt: skip


def _cell(
    panels: Sequence[Axes], data: xr.Dataset, exact: xr.Dataset | None, norm: Normalize
) -> None:
    """Temporal kernel, sample kernel and spectrum of one network."""
    temporal, samples, spectrum = panels
    measured = data["kernel"].to_numpy()
    theory = data["kernel_theory"].to_numpy() if "kernel_theory" in data else None
    show_split_kernel(temporal, measured[0, 0], None if theory is None else theory[0, 0], norm, "t")
    last = measured[..., -1, -1], None if theory is None else theory[..., -1, -1]
    show_split_kernel(samples, *last, norm, "p")
    step = data.sizes["time"] - 1
    temporal.set_title(r"$\mathbb{H}_{00}^{tt'}$", fontsize=7, pad=3)
    samples.set_title(rf"$\mathbb{{H}}_{{pp'}}^{{{step}\,{step}}}$", fontsize=7, pad=3)
    coherence = f"coherence {_with_error(data, 'temporal_coherence')}"
    if theory is not None:
        coherence = (
            f"{_errors(data, exact, 'temporal_kernel')}\n{coherence}\n"
            f"(theory {data['temporal_coherence_theory']:.3f}, at this $N$ "
            f"{data['temporal_coherence_finite_width']:.3f})"
        )
        _note(samples, _errors(data, exact, "sample_kernel"))
    _note(temporal, coherence)
    if "eigenvalue" in data:
        show_spectrum(spectrum, data, exact)
        spectrum.set_xlabel(f"Re\n{outlier_count(data)}", fontsize=6, labelpad=0, linespacing=1.25)
    else:
        spectrum.axis("off")


def _note(axes: Axes, text: str) -> None:
    axes.set_xlabel(f"{axes.get_xlabel()}\n{text}", fontsize=6, labelpad=-3, linespacing=1.25)


def _errors(data: xr.Dataset, exact: xr.Dataset | None, name: str) -> str:
    """Relative Frobenius errors of a kernel with their error bars."""
    text = f"error {_error(data, name)}"
    return text if exact is None else f"{text}\nexact {_error(exact, name)}"


def _error(data: xr.Dataset, name: str) -> str:
    value = 100.0 * float(data[f"{name}_relative_error"])
    bar = 100.0 * float(data[f"{name}_relative_error_standard_error"])
    return f"{value:.1f} $\\pm$ {bar:.1f} %"


def _with_error(data: xr.Dataset, name: str) -> str:
    return f"{float(data[name]):.3f} $\\pm$ {float(data[f'{name}_standard_error']):.3f}"


def _converged(data: xr.Dataset) -> bool:
    return {data.attrs["converged"], data.attrs["coherence_converged"]} == {"yes"}


def draw(results: Results, section: Section) -> Figure:
    """Stand-in until the branch of the claims is merged."""
    task = results.runs[-1].task
    return _draw(task, tasks.label_kernels(task), [result.data for result in results.runs])
