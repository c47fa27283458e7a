"""Figure 3: kernels and spectra of DNNs and RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from weightsharing.figures.fig3.cells import PANELS, STRENGTHS, cell
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import (
    OUTLIERS,
    kernel_bar,
    kernel_norm,
    show_label_kernel,
    show_matrix,
    show_spectrum,
    show_split_kernel,
    spectrum_limit,
)
from weightsharing.figures.results import Result, Results
from weightsharing.figures.style import NOISE, SMALL, TARGET, page_figure, part_title
from weightsharing.model.architecture import KINDS
from weightsharing.model.task import Task, label_kernels


def draw(results: Results, section: object, preset: str) -> Figure:
    """Panel a (the task) above the four cells: DNN and RNN, weak and strong signal.

    Upper right of each kernel: measured in the trained networks; lower left: theory. The exact sampler
    adds its outliers. Runs that did not converge are named below.
    """
    figure = page_figure(height=4.75)
    norm = kernel_norm(results.runs)
    parts: Any = figure.subfigures(2, 1, height_ratios=[0.4, 1.0])
    top, bottom = parts
    theory = any("kernel_theory" in run.data for run in results.runs)
    _task(top, max(results.runs, key=lambda run: run.signal).task, norm, theory)
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
    footer(figure, preset, results.runs, "coherence")
    return figure


def _task(top: SubFigure, task: Task, norm: Normalize, theory: bool) -> None:
    """Labels and label kernels of the strong signal, and the key of the whole figure.

    theory: whether kernels show theory as well.
    """
    grid = top.add_gridspec(1, 4, width_ratios=[1, 1, 1, 3.1])
    labels, temporal, samples, key = (top.add_subplot(grid[i]) for i in range(4))
    patterns, steps = task.patterns, task.steps
    words = f"{patterns} orthonormal inputs at $t = 0$, one label each at $t = T = {steps}$"
    part_title(top, "a", f"task: {words}")
    labels.axvline(0.0, color="0.8", linewidth=0.6)
    labels.barh(np.arange(patterns), task.targets[:, -1], color=TARGET, height=0.6)
    labels.set(ylim=(patterns - 0.5, -0.5), yticks=[0, patterns - 1], box_aspect=1)
    labels.set_ylabel("$p$", labelpad=-4)
    labels.set_title("labels $y_p$ (strong)")
    over_time, over_patterns = label_kernels(task)
    show_label_kernel(temporal, over_time, norm)
    temporal.set_title(r"$\mathbb{Y}_{00}^{tt'}$")
    show_matrix(samples, over_patterns, norm, "$p$", "$p'$")
    samples.set_title(r"$\mathbb{Y}_{pp'}^{TT}$")
    key.axis("off")
    _key(key, theory)
    bar = key.inset_axes((0.52, 0.3, 0.44, 0.15))
    kernel_bar(top, norm, cax=bar, orientation="horizontal")
    halves = "\nupper right measured, lower left theory" if theory else ""
    bar.set_title(rf"$\mathbb{{H}}$ and $\mathbb{{Y}}$, one scale{halves}", fontsize=SMALL)


def _key(axes: Axes, theory: bool) -> None:
    """The key to the marks of the spectra."""
    for name, label in (
        ("network", "outlier of trained $W$"), ("theory", "outlier in theory"),
        ("exact", "outlier, exact sampler"),
    ):  # fmt: skip
        if name == "theory" and not theory:
            continue
        axes.plot([], [], linestyle="", **OUTLIERS[name], label=label)
    axes.plot([], [], color=NOISE, linewidth=1.0, label=r"disc, radius $\sqrt{w}$")
    axes.plot([], [], color=NOISE, linewidth=0.8, linestyle="--", label="edge of noise, this $N$")
    axes.legend(loc="center left", bbox_to_anchor=(0.0, 0.5), fontsize=SMALL)


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
    temporal.set_title(r"$\mathbb{H}_{00}^{tt'}$")
    samples.set_title(rf"$\mathbb{{H}}_{{pp'}}^{{{step}\,{step}}}$")
    if "eigenvalue" in run.data:
        show_spectrum(spectrum, run, exact, limit)
    else:
        spectrum.axis("off")
