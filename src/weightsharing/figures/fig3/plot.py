"""Figure 3: kernels and spectra of DNNs and RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from weightsharing.figures import conditions
from weightsharing.figures.fig3.cells import PANELS, STRENGTHS, cell
from weightsharing.figures.panels import (
    OUTLIERS,
    kernel_norm,
    outlier_count,
    show_label_kernel,
    show_matrix,
    show_spectrum,
    show_split_kernel,
    spectrum_limit,
)
from weightsharing.figures.results import Result, Results
from weightsharing.figures.style import colours, page_figure, part_title
from weightsharing.model.architecture import KINDS
from weightsharing.model.task import Task, label_kernels


def draw(results: Results, section: object) -> Figure:
    """Panel a (the task) above the four cells: DNN and RNN, weak and strong signal.

    Upper right of each kernel: measured in the trained networks; lower left: theory. The exact sampler
    adds its outliers.
    """
    figure = page_figure(height=5.3)
    norm = kernel_norm(results.runs)
    parts: Any = figure.subfigures(2, 1, height_ratios=[0.48, 1.0])
    top, bottom = parts
    _task(top, max(results.runs, key=lambda run: run.signal).task, norm)
    cells = bottom.subfigures(len(STRENGTHS), len(KINDS), squeeze=False)
    spectra = [run for run in results.runs if "eigenvalue" in run.data]
    limit = spectrum_limit(spectra) if spectra else None
    for (kind, strength), panel in PANELS.items():
        place = cells[STRENGTHS.index(strength), KINDS.index(kind)]
        axes = place.subplots(1, 3)
        trained = cell(results, kind, strength, "trained")
        if trained is None:
            continue
        _cell(axes, trained, cell(results, kind, strength, "exact"), norm, limit)
        signal = rf"$\lambda = {trained.signal:g}$"
        part_title(place, panel, f"{kind.upper()}, {strength} signal ({signal})")
    conditions.write_conditions(figure, _conditions(results))
    return figure


def _conditions(results: Results) -> list[str]:
    """N, chains, samplers, and the runs that did not converge."""
    runs = results.runs
    trained, exact = results.select(role="trained"), results.select(role="exact")
    how = f"{conditions.names(trained)}: {conditions.size(trained)}{conditions.schedule(trained)}"
    lines = [
        rf"{how}; $\kappa = {runs[0].run.kappa:g}$; upper right: measured, lower left: theory; "
        r"branch $m > 0$"
    ]
    if exact:
        lines.append(f"exact: exact sampler, {conditions.size(exact[:1])}")
    failed = [run for run in runs if run.faults_with("coherence")]
    if not failed:
        lines[-1] += f"; all runs converged: {conditions.run_diagnostics(runs)}"
        return lines
    named = [run.name.removeprefix("fig3/") for run in failed]
    groups = [", ".join(named[start : start + 4]) for start in range(0, len(named), 4)]
    return [*lines, "NOT CONVERGED: " + ",\n".join(groups)]


def _task(top: SubFigure, task: Task, norm: Normalize) -> None:
    """Inputs, labels and label kernels of the strong signal, and the key of the whole figure."""
    grid = top.add_gridspec(1, 5, width_ratios=[1, 1, 1, 1, 2.4])
    inputs, labels, temporal, samples, key = (top.add_subplot(grid[i]) for i in range(5))
    patterns, steps = task.patterns, task.steps
    part_title(
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
    over_time, over_patterns = label_kernels(task)
    show_label_kernel(temporal, over_time, norm)
    temporal.set_title(r"$\mathbb{Y}_{00}^{tt'}$", fontsize=7)
    show_matrix(samples, over_patterns, norm, "$p$", "$p'$")
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
    """The key to the triangles of the kernels and the marks of the spectra."""
    noise = colours(1)[0]
    for name, label in (
        ("network", "outlier of trained $W$"), ("theory", "outlier in theory"),
        ("exact", "outlier, exact sampler"),
    ):  # fmt: skip
        axes.plot([], [], linestyle="", **OUTLIERS[name], label=label)
    axes.plot([], [], color=noise, linewidth=1.0, label=r"disc, radius $\sqrt{w}$")
    axes.plot([], [], color=noise, linewidth=0.8, linestyle="--", label="edge of noise, this $N$")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.5, 1.12), fontsize=6.5, ncols=2, handlelength=1.2,
        columnspacing=0.8, title="kernels: upper right measured, lower left theory",
        title_fontsize=6.5,
    )  # fmt: skip


def _cell(
    panels: Sequence[Axes], run: Result, exact: Result | None, norm: Normalize, limit: float | None
) -> None:
    """Temporal kernel, sample kernel and spectrum of one network."""
    temporal, samples, spectrum = panels
    measured = run.array("kernel")
    theory = run.array("kernel_theory") if "kernel_theory" in run.data else None
    show_split_kernel(temporal, measured[0, 0], None if theory is None else theory[0, 0], norm, "t")
    last = measured[..., -1, -1], None if theory is None else theory[..., -1, -1]
    show_split_kernel(samples, *last, norm, "p")
    step = run.run.architecture.steps - 1
    temporal.set_title(r"$\mathbb{H}_{00}^{tt'}$", fontsize=7, pad=3)
    samples.set_title(rf"$\mathbb{{H}}_{{pp'}}^{{{step}\,{step}}}$", fontsize=7, pad=3)
    if "eigenvalue" in run.data:
        show_spectrum(spectrum, run, exact, limit)
        spectrum.set_title(outlier_count(run), fontsize=7, pad=3)
    else:
        spectrum.axis("off")
