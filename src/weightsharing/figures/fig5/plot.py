"""Figure 5: generalisation in sequence tasks. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any, Protocol

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle

from weightsharing.figures import conditions
from weightsharing.figures.fig5.starts import chains_in_phase, parted
from weightsharing.figures.panels import (
    complex_plane,
    kernel_norm,
    outlier_count,
    show_label_kernel,
    show_spectrum,
    show_split_kernel,
)
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import by_supervised_count, quartiles, within_two_errors
from weightsharing.figures.style import MARKERS, SAMPLER_NAMES, colours, page_figure, part_title
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.axes import Array
from weightsharing.model.tasks import rotation_teacher

Runs = Sequence[Result]
# Errors below this are not drawn: they are the square of a deviation of about 1e-4 from the targets.
SMALLEST_ERROR = 1e-8
TARGET = "black"
# Of networks and theory in panels c and d, as in the paper; panel b has others for RNN and DNN.
PREDICTION = colours(3)[1]
COLOURS: dict[Kind, str] = {"rnn": colours(3)[0], "dnn": colours(3)[2]}


class Section(Protocol):
    """The parts of the figure's section that are drawn."""

    @property
    def period(self) -> float:
        """Of the teacher, in steps."""

    @property
    def shown(self) -> tuple[int, ...]:
        """Numbers of supervised steps of the cells of panels c and d."""


def draw(results: Results, section: Section) -> Figure:
    """Panels a (task), b (generalisation error), c (DNNs) and d (RNNs).

    Of each number of supervised steps in panels c and d, the set with the median error of the RNN in
    theory is drawn. Sets that did not converge are drawn hollow and counted.
    """
    results, untrained = parted(results)
    shown = section.shown
    figure = page_figure(height=3.5 + 0.9 * len(shown))
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.4, 0.45 + 0.9 * len(shown)])
    left, right = parts[0].subfigures(1, 2, width_ratios=[0.8, 1.0])
    _task(left, results.runs[0].task.targets[0], section.period)
    _errors(right, results)
    trained = {kind: results.select(kind=kind, role="trained") for kind in KINDS}
    chosen = [_typical(trained["rnn"], count) for count in shown]
    networks = {
        kind: [next(run for run in trained[kind] if run.set_name == name) for name in chosen]
        for kind in KINDS
    }
    norm = kernel_norm([run for runs in networks.values() for run in runs])
    cells = parts[1].subfigures(1, len(KINDS))
    for letter, cell, (kind, runs) in zip("cd", cells, networks.items(), strict=True):
        part_title(cell, letter, f"{kind.upper()}: kernel, eigenvalues, output")
        _cells(cell, runs, norm)
    lines = _conditions(results, float(norm.vmax or 1.0))
    inside, total = chains_in_phase(untrained)
    lines.append(
        f"RNNs start in the theory's phase; of untrained ones, {inside} of {total} chains reach it"
    )
    conditions.write_conditions(figure, lines)
    return figure


def _typical(runs: Runs, count: int) -> str:
    """Name of the set of this number of times with the median error in theory."""
    sets = by_supervised_count(runs)[count]
    ordered = sorted(sets, key=lambda run: run.value("generalisation_error_theory"))
    return ordered[len(ordered) // 2].set_name


def _families(results: Results) -> list[list[Result]]:
    """The sets of each kind of network by each sampler, in the order of the files."""
    return [list(runs) for _, runs in groupby(results.runs, lambda run: (run.kind, run.method))]


def _conditions(results: Results, largest: float) -> list[str]:
    """N, chains, samplers, phases, and the sets that did not converge.

    largest: end of the colour scale of the kernels.
    """
    runs = results.runs
    lines, failed = [], []
    for kind in KINDS:
        words = []
        for method, name in SAMPLER_NAMES.items():
            family = [run for run in runs if (run.kind, run.method) == (kind, method)]
            if not family:
                continue
            words.append(f"{name}, {conditions.size(family)}{conditions.schedule(family)}")
            hollow = [run for run in family if not run.converged]
            if hollow:
                text = f"{kind.upper()}, {name}: {len(hollow)} of {len(family)}"
                mixed = sum(int(run.data["phases"]) > 1 for run in hollow)
                failed.append(f"{text}, {mixed} with several phases at this $N$" if mixed else text)
        lines.append(f"{kind.upper()}: {'; '.join(words)}")
    first = runs[0].run
    lines.append(
        rf"$T = {first.architecture.steps}$, $\kappa = {first.kappa:g}$, "
        rf"$w = {first.architecture.prior.w:g}$; error bars: standard error of the mean; kernels: "
        f"upper right measured, lower left theory, {-largest:.2g} (blue) to {largest:.2g} (red)"
    )
    nearest = np.concatenate([run.array("nearest_point") for run in runs])
    verdict = (
        f"{within_two_errors(runs).sum()} of {len(runs)} symbols within two standard errors of the "
        f"theory at their $N$; {(nearest == 0).sum()} of {nearest.size} chains in the phase of lowest "
        "action"
    )
    if not failed:
        return [*lines, f"{verdict}; all sets converged"]
    return [*lines, verdict, f"sets that did NOT CONVERGE (hollow): {'; '.join(failed)}"]


def _task(part: SubFigure, target: Array, period: float) -> None:
    """Label kernel, spectrum of the teacher's weights, and its output."""
    part_title(part, "a", "task: the output of a linear teacher")
    grid = part.add_gridspec(2, 2)
    kernel, spectrum = part.add_subplot(grid[0, 0]), part.add_subplot(grid[0, 1])
    output = part.add_subplot(grid[1, :])
    steps = len(target)
    show_label_kernel(kernel, np.outer(target, target), Normalize(-1.0, 1.0))
    kernel.set_title(r"label kernel $\mathbb{Y}^{tt'}$", fontsize=7, pad=3)
    teacher = np.linalg.eigvals(rotation_teacher(period)[0])
    spectrum.add_patch(Circle((0, 0), 1.0, fill=False, color="0.7", linewidth=0.8))
    spectrum.plot(teacher.real, teacher.imag, "o", color=TARGET, markersize=3.5)
    complex_plane(spectrum, 1.25)
    spectrum.set_title(r"eigenvalues of $W^\star$", fontsize=7, pad=3)
    output.axhline(0.0, color="0.85", linewidth=0.6)
    output.plot(np.arange(1, steps + 1), target, "o-", color=TARGET, markersize=3, linewidth=1.0)
    output.set(xlim=(0.5, steps + 0.5), ylim=(-1.3, 1.3), yticks=[-1, 0, 1])
    output.set_xlabel("output time $t$", labelpad=1)
    output.set_ylabel("$y^t$", labelpad=-2)


def _errors(part: SubFigure, results: Results) -> None:
    """Generalisation error against the number of supervised steps: theory, and each set measured."""
    part_title(part, "b", r"generalisation error $\frac{1}{2T}\sum_{t=2}^{T}(y^t - f^t)^2$")
    grid = part.add_gridspec(2, 1, height_ratios=[1.0, 0.5])
    axes = part.add_subplot(grid[0])
    _alignments(part.add_subplot(grid[1], sharex=axes), results)
    axes.tick_params(labelbottom=False)
    for family in _families(results):
        colour, groups = COLOURS[family[0].kind], by_supervised_count(family)
        if family[0].role == "trained":
            _theory_of_sets(axes, groups, "generalisation_error_theory", colour)
        for count, sets in groups.items():
            shifts = 0.6 * (np.linspace(0.0, 1.0, len(sets)) - 0.5) if len(sets) > 1 else [0.0]
            for shift, run in zip(shifts, sets, strict=True):
                _measured(axes, count + shift, run)
    for kind in KINDS:  # a column of the legend for each
        axes.plot([], [], color=COLOURS[kind], label=f"{kind.upper()}: theory")
        for method in MARKERS:
            if any((run.kind, run.method) == (kind, method) for run in results.runs):
                axes.plot(
                    [], [], MARKERS[method], markersize=2.6, markeredgewidth=0.5,
                    color="black" if method == "exact" else COLOURS[kind],
                    markeredgecolor=COLOURS[kind], label=SAMPLER_NAMES[method],
                )  # fmt: skip
    last = results.runs[0].run.architecture.steps
    axes.set_yscale("log")
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylim(SMALLEST_ERROR, 1.0)
    axes.set_xticks(range(1, last + 1))
    axes.set_ylabel("generalisation error")
    axes.legend(
        loc="lower left", fontsize=6, handlelength=1.0, labelspacing=0.25, ncols=len(KINDS),
        columnspacing=0.5,
    )  # fmt: skip


def _theory_of_sets(axes: Axes, groups: dict[int, list[Result]], name: str, colour: str) -> None:
    """Median and quartiles over the sets of each number of supervised steps."""
    low, median, high = quartiles(groups.values(), name)
    axes.plot(list(groups), median, color=colour, zorder=2)
    axes.fill_between(list(groups), low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)


def _alignments(axes: Axes, results: Results) -> None:
    """Alignment of H with the targets' kernel of all steps: theory, and the median over sets measured."""
    for family in _families(results):
        colour, groups = COLOURS[family[0].kind], by_supervised_count(family)
        exact = family[0].role == "exact"
        if not exact:
            _theory_of_sets(axes, groups, "target_alignment_theory", colour)
        median = quartiles(groups.values(), "target_alignment")[1]
        axes.plot(
            list(groups), median, MARKERS[family[0].method], color="black" if exact else colour,
            markersize=1.6 if exact else 2.8, markeredgecolor=colour, markeredgewidth=0.4, zorder=3,
        )  # fmt: skip
    axes.set_ylim(0.0, 1.05)
    axes.set_xlabel(
        "number of supervised steps (line, band: median, quartiles of sets)", fontsize=7
    )
    axes.set_ylabel("alignment of\n$\\mathbb{H}$ with $\\mathbb{Y}$", fontsize=7)


def _measured(axes: Axes, place: float, run: Result) -> None:
    """One set by one sampler; a dash marks the theory of the same set."""
    exact, edge = run.role == "exact", COLOURS[run.kind]
    colour = "black" if exact else edge
    value, bar, theory = (
        run.value(f"generalisation_error{end}") for end in ("", "_standard_error", "_theory")
    )
    axes.plot(place, theory, "_", color=edge, markersize=5, markeredgewidth=0.8, zorder=2.5)
    # On a logarithmic axis a bar that reaches 0 ends at its lower edge.
    axes.errorbar(
        place, max(value, 2.0 * SMALLEST_ERROR),
        yerr=[[min(bar, 0.999 * max(value, SMALLEST_ERROR))], [bar]],
        marker=MARKERS[run.method], markersize=1.6 if exact else 2.8, color=colour,
        markerfacecolor=colour if run.converged else "white", markeredgecolor=edge,
        markeredgewidth=0.4, elinewidth=0.6, zorder=4 if exact else 3,
    )  # fmt: skip


def _cells(part: SubFigure, runs: Runs, norm: Normalize) -> None:
    """One row for each set: kernel, spectrum, and the output beside the target."""
    grid = part.add_gridspec(len(runs), 3, width_ratios=[1.0, 1.0, 1.9], wspace=0.02)
    for row, run in enumerate(runs):
        kernel, spectrum, output = (part.add_subplot(grid[row, column]) for column in range(3))
        measured, theory = run.array("kernel")[0, 0], run.array("kernel_theory")[0, 0]
        show_split_kernel(kernel, measured, theory, norm, "t")
        show_spectrum(spectrum, run)
        _output(output, run)
        count = len(run.supervised_times)
        for axes, title in (
            (kernel, r"$\mathbb{H}^{tt'}$"),
            (spectrum, outlier_count(run)),
            (output, f"{count} supervised {'step' if count == 1 else 'steps'}"),
        ):
            axes.set_title(title, fontsize=7, pad=2)
            axes.tick_params(labelsize=6.5, length=2, pad=1)
            if run is not runs[-1]:
                axes.tick_params(labelbottom=False)
                axes.set_xlabel("")
    part.legend(
        *output.get_legend_handles_labels(), loc="outside lower right", fontsize=6.5, ncols=4,
        handlelength=1.4, columnspacing=1.0,
    )  # fmt: skip


def _output(axes: Axes, run: Result) -> None:
    """Outputs of theory and networks beside the target."""
    steps, target = run.run.architecture.steps, run.array("target")[0]
    time, supervised = np.arange(1, steps + 1), np.array(run.supervised_times)
    axes.axhline(0.0, color="0.85", linewidth=0.6)
    axes.plot(time, target, color=TARGET, linewidth=0.9, label="target $y^t$")
    # Above the networks' larger symbols, which lie on the same points.
    axes.plot(
        supervised, target[supervised - 1], "o", color=TARGET, markersize=2, label="supervised",
        zorder=4,
    )  # fmt: skip
    axes.plot(
        time, run.array("output_theory")[0], ":", color=PREDICTION, linewidth=1.6, label="theory"
    )
    axes.errorbar(
        time, run.array("output")[0], yerr=run.array("output_standard_error")[0], fmt="s",
        color=PREDICTION, markersize=4, elinewidth=0.7, label="network $f^t$",
    )  # fmt: skip
    axes.set(xlim=(0.5, steps + 0.5), ylim=(-1.45, 1.45), yticks=[-1, 0, 1])
    between = max(2, steps // 5)
    axes.set_xticks(sorted({1, *range(between, steps, between), steps}))
    axes.set_xlabel("$t$", labelpad=0)
