"""Figure 5: generalisation in sequence tasks. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle

from weightsharing.figures.fig5.config import Section
from weightsharing.figures.fig5.starts import parted
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import (
    complex_plane,
    kernel_bar,
    kernel_norm,
    output_key,
    sampler_key,
    show_label_kernel,
    show_outputs,
    show_point,
    show_spectrum,
    show_split_kernel,
    spectrum_limit,
)
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import by_supervised_count, extremes
from weightsharing.figures.style import (
    EXACT,
    GUIDE,
    NETWORK_COLOURS,
    NETWORK_DASHES,
    SMALL,
    TARGET,
    page_figure,
    part_title,
    symbol,
)
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.tasks import rotation_teacher

Runs = Sequence[Result]
# Errors below this are not drawn: they are the square of a deviation of about 1e-4 from the targets.
SMALLEST_ERROR = 1e-8


def draw(results: Results, section: Section, preset: str) -> Figure:
    """Panels a (task), b (generalisation error), c (DNNs) and d (RNNs).

    Of each number of supervised steps in panels c and d, the set with the median error of the RNN in
    theory is drawn. Sets that did not converge are drawn hollow and counted below the panels.
    """
    results, _ = parted(results)
    trained = {kind: results.select(kind=kind, role="trained") for kind in KINDS}
    chosen = [_typical(trained["rnn"], count) for count in section.shown]
    networks = {
        kind: [next(run for run in trained[kind] if run.set_name == name) for name in chosen]
        for kind in KINDS
    }
    every = [run for runs in networks.values() for run in runs]
    norm, limit = kernel_norm(every), spectrum_limit(every)

    rows = 0.83 * len(section.shown)
    figure = page_figure(height=3.1 + rows)
    parts: Any = figure.subfigures(3, 1, height_ratios=[2.4, 0.35 + rows, 0.3])
    left, right = parts[0].subfigures(1, 2, width_ratios=[0.8, 1.0])
    _task(left, section.period, networks["rnn"])
    _errors(right, results)
    cells = parts[1].subfigures(1, len(KINDS))
    for letter, cell, (kind, runs) in zip("cd", cells, networks.items(), strict=True):
        part_title(cell, letter, f"{kind.upper()}: kernel, eigenvalues, output")
        _cells(cell, runs, norm, limit)
    _key(parts[2], norm, networks["rnn"][0].method)
    footer(figure, preset, results.runs)
    return figure


def _typical(runs: Runs, count: int) -> str:
    """Name of the set of this number of times with the median error in theory."""
    sets = by_supervised_count(runs)[count]
    ordered = sorted(sets, key=lambda run: run.value("generalisation_error_theory"))
    return ordered[len(ordered) // 2].set_name


def _families(results: Results) -> list[list[Result]]:
    """The sets of each kind of network by each sampler, in the order of the files."""
    return [list(runs) for _, runs in groupby(results.runs, lambda run: (run.kind, run.method))]


def _task(part: SubFigure, period: float, shown: Runs) -> None:
    """Label kernel, spectrum of the teacher's weights, its output, and the steps that cells supervise."""
    part_title(part, "a", "task: the output of a linear teacher")
    grid = part.add_gridspec(3, 2, height_ratios=[1.0, 0.8, 0.2 * len(shown)])
    kernel, spectrum = part.add_subplot(grid[0, 0]), part.add_subplot(grid[0, 1])
    output = part.add_subplot(grid[1, :])
    supervised = part.add_subplot(grid[2, :], sharex=output)
    target = shown[0].task.targets[0]
    steps = len(target)
    show_label_kernel(kernel, np.outer(target, target), Normalize(-1.0, 1.0))
    kernel.set_title(r"label kernel $\mathbb{Y}^{tt'}$")
    teacher = np.linalg.eigvals(rotation_teacher(period)[0])
    spectrum.add_patch(Circle((0, 0), 1.0, fill=False, color=GUIDE, linewidth=0.8))
    spectrum.plot(teacher.real, teacher.imag, "o", color=TARGET, markersize=3.5)
    complex_plane(spectrum, 1.25)
    spectrum.set_title(r"eigenvalues of $W^\star$")
    output.axhline(0.0, color=GUIDE, linewidth=0.6)
    output.plot(np.arange(1, steps + 1), target, "o-", color=TARGET, markersize=3, linewidth=1.0)
    output.set(xlim=(0.5, steps + 0.5), ylim=(-1.3, 1.3), yticks=[-1, 0, 1])
    output.tick_params(labelbottom=False)
    output.set_ylabel("$y^t$", labelpad=-2)
    for row, run in enumerate(shown):
        times = run.supervised_times
        supervised.plot(times, [row] * len(times), "o", color=TARGET, markersize=2.5)
    numbers = [str(len(run.supervised_times)) for run in shown]
    supervised.set_yticks(range(len(shown)), numbers, fontsize=SMALL)
    supervised.set_ylim(len(shown) - 0.5, -0.5)
    supervised.set_ylabel("super-\nvised", labelpad=2)
    supervised.set_xlabel("output time $t$", labelpad=1)


def _errors(part: SubFigure, results: Results) -> None:
    """Generalisation error against the number of supervised steps: theory, and each set measured."""
    part_title(part, "b", r"generalisation error $\frac{1}{2T}\sum_{t=2}^{T}(y^t - f^t)^2$")
    grid = part.add_gridspec(2, 1, height_ratios=[1.0, 0.5])
    axes = part.add_subplot(grid[0])
    _alignments(part.add_subplot(grid[1], sharex=axes), results)
    axes.tick_params(labelbottom=False)
    for family in _families(results):
        groups = by_supervised_count(family)
        if family[0].role == "trained":
            _theory_of_sets(axes, groups, "generalisation_error_theory", family[0].kind)
        for count, sets in groups.items():
            shifts = 0.6 * (np.linspace(0.0, 1.0, len(sets)) - 0.5) if len(sets) > 1 else [0.0]
            for shift, run in zip(shifts, sets, strict=True):
                _measured(axes, count + shift, run)
    for kind in KINDS:  # a column of the legend for each
        axes.plot([], [], **_line(kind), label=f"{kind.upper()}: theory")
        trained = results.select(kind=kind, role="trained")
        sampler_key(axes, trained, NETWORK_COLOURS[kind], EXACT, scale=0.75)
        if kind == KINDS[0] and results.select(role="exact"):
            axes.plot([], [], **symbol("exact", EXACT, scale=0.75), label="exact sampler, both")
    last = results.runs[0].run.architecture.steps
    axes.set(yscale="log", yticks=[1e-8, 1e-6, 1e-4, 1e-2, 1.0], ylabel="generalisation error")
    axes.set(xlim=(0.5, last + 0.5), xticks=range(1, last + 1))
    axes.set_ylim(0.03 * SMALLEST_ERROR, 1.0)  # room for the legend
    axes.minorticks_off()
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.01, -0.03), fontsize=SMALL, handlelength=2.0,
        ncols=len(KINDS), columnspacing=0.5,
    )  # fmt: skip


def _line(kind: Kind) -> dict[str, Any]:
    return {"color": NETWORK_COLOURS[kind], "linestyle": NETWORK_DASHES[kind]}


def _theory_of_sets(axes: Axes, groups: dict[int, list[Result]], name: str, kind: Kind) -> None:
    """Median and range over the sets of each number of supervised steps."""
    low, median, high = extremes(groups.values(), name)
    axes.plot(list(groups), median, **_line(kind), zorder=2)
    axes.fill_between(
        list(groups), low, high, color=NETWORK_COLOURS[kind], alpha=0.18, linewidth=0, zorder=1
    )


def _alignments(axes: Axes, results: Results) -> None:
    """Alignment of H with the targets' kernel of all steps: theory, and the median over sets measured."""
    for family in _families(results):
        groups, exact = by_supervised_count(family), family[0].role == "exact"
        if not exact:
            _theory_of_sets(axes, groups, "target_alignment_theory", family[0].kind)
        median = extremes(groups.values(), "target_alignment")[1]
        face = EXACT if exact else NETWORK_COLOURS[family[0].kind]
        style = symbol(family[0].method, face, scale=0.5 if exact else 0.75)
        axes.plot(list(groups), median, **style, zorder=3 + exact)
    axes.set(ylim=(0.0, 1.05), xlabel="number of supervised steps", ylabel="alignment")


def _measured(axes: Axes, place: float, run: Result) -> None:
    """One set by one sampler; a dash marks the theory of the same set."""
    exact, edge = run.role == "exact", NETWORK_COLOURS[run.kind]
    value, bar, theory = (
        run.value(f"generalisation_error{end}") for end in ("", "_standard_error", "_theory")
    )
    axes.plot(place, theory, "_", color=edge, markersize=5, markeredgewidth=0.8, zorder=2.5)
    # On a logarithmic axis a bar that reaches 0 ends at its lower edge.
    bars = [[min(bar, 0.999 * max(value, SMALLEST_ERROR))], [bar]]
    show_point(
        axes, run, place, max(value, 2.0 * SMALLEST_ERROR), bars, EXACT if exact else edge,
        scale=0.55 if exact else 0.75, zorder=4 if exact else 3, elinewidth=0.6, markeredgewidth=0.3,
    )  # fmt: skip


def _cells(part: SubFigure, runs: Runs, norm: Normalize, limit: float) -> None:
    """One row for each set: kernel, spectrum, and the output beside the target.

    limit: of the axes of the spectra.
    """
    grid = part.add_gridspec(len(runs), 3, width_ratios=[1.0, 1.0, 1.9], wspace=0.02)
    for row, run in enumerate(runs):
        kernel, spectrum, output = (part.add_subplot(grid[row, column]) for column in range(3))
        measured, theory = run.array("kernel")[0, 0], run.array("kernel_theory")[0, 0]
        show_split_kernel(kernel, measured, theory, norm, "t")
        show_spectrum(spectrum, run, limit=limit)
        show_outputs(output, run)
        count = len(run.supervised_times)
        kernel.set_title(r"$\mathbb{H}^{tt'}$")
        output.set_title(f"{count} supervised {'step' if count == 1 else 'steps'}")
        for axes in (kernel, spectrum, output):
            axes.set_title(axes.get_title(), fontsize=7, pad=3)
            if run is not runs[-1]:
                axes.tick_params(labelbottom=False)
                axes.set_xlabel("")


def _key(part: SubFigure, norm: Normalize, method: str) -> None:
    """The scale of the kernels, and the key to the outputs."""
    # Axes in fixed places: the layout would make them as wide as those above.
    bar, key = part.add_axes((0.27, 0.6, 0.2, 0.25)), part.add_axes((0.5, 0.0, 0.5, 1.0))
    kernel_bar(part, norm, cax=bar, orientation="horizontal")
    words = "$\\mathbb{H}$: upper right measured,\nlower left theory"
    part.text(0.25, 0.72, words, ha="right", va="center", fontsize=SMALL)
    key.axis("off")
    key.legend(*output_key(method), loc="center", ncols=4, fontsize=SMALL)
