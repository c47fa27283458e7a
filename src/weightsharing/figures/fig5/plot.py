"""Figure 5: generalisation in sequence tasks. Reads measures and draws; computes quartiles over sets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle
from numpy.typing import NDArray

from weightsharing.figures.fig5.config import Section
from weightsharing.figures.panels import (
    kernel_norm,
    outlier_count,
    show_matrix,
    show_spectrum,
    show_split_kernel,
)
from weightsharing.figures.results import Results
from weightsharing.figures.style import (
    MARKERS,
    SAMPLER_NAMES,
    STEP_NAMES,
    colours,
    page_figure,
    run_of,
)
from weightsharing.model.architecture import KINDS, Kind
from weightsharing.model.tasks import Task, rotation_teacher

# The measures of one run's sets.
Family = Sequence[xr.Dataset]

QUARTILES = (0.25, 0.5, 0.75)
# Errors below this are not drawn: they are the square of a deviation of about 1e-4 from the targets.
SMALLEST_ERROR = 1e-8
TARGET = "black"
# Of networks and theory in panels c and d, as in the paper; panel b has others for RNN and DNN.
PREDICTION = colours(3)[1]


def _draw(
    task: Task,
    teacher: NDArray[np.complex128],
    families: Sequence[Family],
    shown: Sequence[int],
) -> Figure:
    """Panels a (task), b (generalisation error), c (DNNs) and d (RNNs).

    task: any one of the sets. teacher: eigenvalues of its weights. families: DNN and RNN, by each
    sampler, in any order. shown: numbers of supervised steps of the cells; of each, the set with the
    median error of the RNN in theory is drawn. Sets that did not converge are drawn hollow and counted.
    """
    figure = page_figure(height=2.6 + 2.1 * len(shown))
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.2, 2.1 * len(shown)])
    left, right = parts[0].subfigures(1, 2, width_ratios=[0.8, 1.0])
    _task(left, task, teacher)
    _errors(right, families)
    trained = {_kind(family): family for family in families if _method(family) != "exact"}
    chosen = [_typical(trained["rnn"], count) for count in shown]
    cells = parts[1].subfigures(1, len(KINDS))
    norm = kernel_norm([trained[kind][index] for kind in KINDS for index in chosen])
    for letter, cell, kind in zip("cd", cells, KINDS, strict=True):
        _title(cell, letter, f"{kind.upper()}: kernel, eigenvalues of the weights, output")
        _cells(cell, [trained[kind][index] for index in chosen], task, norm)
    figure.supxlabel(conditions(families, float(norm.vmax or 1.0)), fontsize=6, color="0.25")
    return figure


def conditions(families: Sequence[Family], largest: float) -> str:
    """N, chains, sampler, phases and what did not converge: the lines below the panels.

    largest: end of the colour scale of the kernels.
    """
    lines, failed = [], []
    chains = elsewhere = 0
    for kind in KINDS:
        own = sorted(
            (family for family in families if _kind(family) == kind),
            key=lambda family: _method(family) == "exact",
        )
        words = []
        for family in own:
            sampler, method = run_of(family[0])["sampler"], _method(family)
            text = f"{SAMPLER_NAMES[method]}, $N = {sampler['width']}$, {sampler['chains']} chains"
            if method != "exact":
                step = STEP_NAMES[method]
                text += (
                    rf", ${step} = {sampler['step_size']:g}$, ${step}\times$steps "
                    rf"$= {sampler['burn_in']:g}$ (burn-in) + {sampler['duration']:g}"
                )
            words.append(text)
            chains += sum(data.sizes["chain"] for data in family)
            elsewhere += sum(int((data["nearest_point"] != 0).sum()) for data in family)
            hollow = [data for data in family if data.attrs["converged"] != "yes"]
            if hollow:
                text = f"{kind.upper()}, {SAMPLER_NAMES[method]}: {len(hollow)} of {len(family)}"
                mixed = sum(int(data["phases"]) > 1 for data in hollow)
                failed.append(f"{text}, {mixed} with several phases at this $N$" if mixed else text)
        lines.append(f"{kind.upper()}: {'; '.join(words)}")
    run = run_of(families[0][0])
    lines.append(
        rf"$T = {run['architecture']['steps']}$, $\kappa = {run['kappa']:g}$, "
        rf"$w = {run['architecture']['prior']['w']:g}$; error bars: standard error of the mean; kernels: "
        f"upper right measured, lower left theory, {-largest:.2g} (blue) to {largest:.2g} (red)"
    )
    everything = [data for family in families for data in family]
    verdict = (
        f"{sum(map(_agrees, everything))} of {len(everything)} symbols within two standard errors of the "
        f"theory at their $N$; {chains - elsewhere} of {chains} chains in the phase of lowest action"
    )
    if failed:
        lines += [verdict, f"sets that did NOT CONVERGE (hollow): {'; '.join(failed)}"]
    else:
        lines.append(f"{verdict}; all sets converged")
    return "\n".join(lines)


def _title(part: SubFigure, letter: str, text: str) -> None:
    part.suptitle(rf"$\mathbf{{{letter}}}$   {text}", x=0.02, ha="left", fontsize=8)


def _task(part: SubFigure, task: Task, teacher: NDArray[np.complex128]) -> None:
    """Label kernel, spectrum of the teacher's weights, and its output."""
    _title(part, "a", "task: the output of a linear teacher")
    grid = part.add_gridspec(2, 2)
    kernel, spectrum = part.add_subplot(grid[0, 0]), part.add_subplot(grid[0, 1])
    output = part.add_subplot(grid[1, :])
    target = task.targets[0]
    steps = task.steps
    show_matrix(kernel, np.outer(target, target), Normalize(-1.0, 1.0), "$t$", "$t'$")
    kernel.set_xticks([0, steps - 1], ["1", f"{steps}"])
    kernel.set_yticks([0, steps - 1], ["1", f"{steps}"])
    kernel.set_title(r"label kernel $\mathbb{Y}^{tt'}$", fontsize=7, pad=3)
    spectrum.add_patch(Circle((0, 0), 1.0, fill=False, color="0.7", linewidth=0.8))
    spectrum.plot(teacher.real, teacher.imag, "o", color=TARGET, markersize=3.5)
    spectrum.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    spectrum.set_aspect("equal")
    spectrum.set_xlabel("Re", labelpad=0)
    spectrum.set_ylabel("Im", labelpad=-4)
    spectrum.set_title(r"eigenvalues of $W^\star$", fontsize=7, pad=3)
    output.axhline(0.0, color="0.85", linewidth=0.6)
    output.plot(np.arange(1, steps + 1), target, "o-", color=TARGET, markersize=3, linewidth=1.0)
    output.set(xlim=(0.5, steps + 0.5), ylim=(-1.3, 1.3), yticks=[-1, 0, 1])
    output.set_xlabel("output time $t$", labelpad=1)
    output.set_ylabel("$y^t$", labelpad=-2)


def _errors(part: SubFigure, families: Sequence[Family]) -> None:
    """Generalisation error against the number of supervised steps: theory, and each set measured."""
    _title(part, "b", r"generalisation error $\frac{1}{2T}\sum_{t=2}^{T}(y^t - f^t)^2$")
    axes = part.add_subplot()
    palette = _palette()
    for family in families:
        kind, method = _kind(family), _method(family)
        colour, exact = palette[kind], method == "exact"
        if not exact:
            count, (low, median, high) = _quartiles(family, "generalisation_error_theory")
            axes.plot(count, median, color=colour, zorder=2)
            axes.fill_between(count, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
        groups: dict[int, int] = {}
        for data in family:
            supervised = _count(data)
            place = groups[supervised] = groups.get(supervised, -1) + 1
            sets = sum(_count(other) == supervised for other in family)
            shift = 0.0 if sets == 1 else 0.6 * (place / (sets - 1) - 0.5)
            _measured(axes, supervised + shift, data, "black" if exact else colour, colour)
    for kind in KINDS:  # a column of the legend for each
        axes.plot([], [], color=palette[kind], label=f"{kind.upper()}: theory")
        for method in MARKERS:
            if any((_kind(family), _method(family)) == (kind, method) for family in families):
                axes.plot(
                    [], [], MARKERS[method], markersize=2.6, markeredgewidth=0.5,
                    color="black" if method == "exact" else palette[kind],
                    markeredgecolor=palette[kind], label=SAMPLER_NAMES[method],
                )  # fmt: skip
    last = int(run_of(families[0][0])["architecture"]["steps"])
    axes.set_yscale("log")
    axes.set_xlim(0.5, last + 0.5)
    axes.set_ylim(SMALLEST_ERROR, 1.0)
    axes.set_xticks(range(1, last + 1))
    axes.set_xlabel(
        "number of supervised steps (line, band: median, quartiles of sets)", fontsize=7
    )
    axes.set_ylabel("generalisation error")
    axes.legend(
        loc="lower left", fontsize=6, handlelength=1.0, labelspacing=0.25, ncols=len(KINDS),
        columnspacing=0.5,
    )  # fmt: skip


def _measured(axes: Axes, place: float, data: xr.Dataset, colour: str, edge: str) -> None:
    """One set by one sampler; a dash marks the theory of the same set."""
    exact = data.attrs["method"] == "exact"
    value = float(data["generalisation_error"])
    bar = float(data["generalisation_error_standard_error"])
    converged = data.attrs["converged"] == "yes"
    axes.plot(
        place, float(data["generalisation_error_theory"]), "_", color=edge, markersize=5,
        markeredgewidth=0.8, zorder=2.5,
    )  # fmt: skip
    # On a logarithmic axis a bar that reaches 0 ends at its lower edge.
    axes.errorbar(
        place, max(value, 2.0 * SMALLEST_ERROR),
        yerr=[[min(bar, 0.999 * max(value, SMALLEST_ERROR))], [bar]],
        marker=MARKERS[data.attrs["method"]], markersize=1.6 if exact else 2.8, color=colour,
        markerfacecolor=colour if converged else "white", markeredgecolor=edge,
        markeredgewidth=0.4, elinewidth=0.6, zorder=4 if exact else 3,
    )  # fmt: skip


def _cells(part: SubFigure, family: Family, task: Task, norm: Normalize) -> None:
    """One cell for each set: kernel and spectrum above the output beside the target."""
    cells: Any = part.subfigures(len(family), 1, squeeze=False)
    time = np.arange(1, task.steps + 1)
    for (cell,), data in zip(cells, family, strict=True):
        grid = cell.add_gridspec(2, 2, height_ratios=[1.0, 0.8])
        kernel, spectrum = cell.add_subplot(grid[0, 0]), cell.add_subplot(grid[0, 1])
        output = cell.add_subplot(grid[1, :])
        measured, theory = data["kernel"].to_numpy(), data["kernel_theory"].to_numpy()
        show_split_kernel(kernel, measured[0, 0], theory[0, 0], norm, "t")
        show_spectrum(spectrum, data)
        spectrum.set_title(f"eigenvalues, {outlier_count(data)}", fontsize=7, pad=3)
        output.axhline(0.0, color="0.85", linewidth=0.6)
        output.plot(time, task.targets[0], color=TARGET, linewidth=0.9, label="target $y^t$")
        supervised = np.flatnonzero(data["supervised"].to_numpy()[0])
        # Above the networks' larger symbols, which lie on the same points.
        output.plot(
            time[supervised], task.targets[0][supervised], "o", color=TARGET, markersize=2,
            label="supervised", zorder=4,
        )  # fmt: skip
        output.plot(
            time, data["output_theory"].to_numpy()[0], ":", color=PREDICTION, linewidth=1.6,
            label="theory",
        )  # fmt: skip
        output.errorbar(
            time, data["output"].to_numpy()[0], yerr=data["output_standard_error"].to_numpy()[0],
            fmt="s", color=PREDICTION, markersize=4, elinewidth=0.7, label="network $f^t$",
        )  # fmt: skip
        output.set(xlim=(0.5, task.steps + 0.5), ylim=(-1.45, 1.45), yticks=[-1, 0, 1])
        between = max(2, task.steps // 5)
        output.set_xticks(sorted({1, *range(between, task.steps, between), task.steps}))
        steps = "step" if len(supervised) == 1 else "steps"
        kernel.set_title(f"{len(supervised)} supervised {steps}", fontsize=7, pad=3)
        output.set_xlabel("$t$", labelpad=-2)
    part.legend(
        *output.get_legend_handles_labels(), loc="outside lower right", fontsize=6, ncols=4,
        handlelength=1.4, columnspacing=1.0,
    )  # fmt: skip


def _quartiles(family: Family, name: str) -> tuple[list[int], NDArray[np.float64]]:
    """Numbers of supervised times, and the quartiles over their sets of a measure, (quartile, number)."""
    counts = sorted({_count(data) for data in family})
    values = [[float(data[name]) for data in family if _count(data) == count] for count in counts]
    return counts, np.array([np.quantile(group, QUARTILES) for group in values]).T


def _agrees(data: xr.Dataset) -> bool:
    """Whether a measured error is within two standard errors of the theory with its 1/N term."""
    apart = abs(float(data["generalisation_error"] - data["generalisation_error_finite_width"]))
    return apart < 2.0 * float(data["generalisation_error_standard_error"])


def _count(data: xr.Dataset) -> int:
    return int(data["supervised"].sum())


def _typical(family: Family, count: int) -> int:
    """Of the sets with this number of times, the one with the median error in theory."""
    own = [index for index, data in enumerate(family) if _count(data) == count]
    errors = [float(family[index]["generalisation_error_theory"]) for index in own]
    return own[int(np.argsort(errors)[len(own) // 2])]


def _palette() -> dict[Kind, str]:
    first, _, third = colours(3)
    return {"rnn": first, "dnn": third}


def _kind(family: Family) -> Kind:
    kind: Kind = run_of(family[0])["architecture"]["kind"]
    return kind


def _method(family: Family) -> str:
    return str(family[0].attrs["method"])


def draw(results: Results, section: Section) -> Figure:
    """Stand-in until the branch of the claims is merged."""
    recurrent, _, _ = rotation_teacher(section.period)
    families: dict[str, list[xr.Dataset]] = {}
    for result in results.runs:
        families.setdefault(result.run.id.split()[0], []).append(result.data)
    eigenvalues = np.linalg.eigvals(recurrent).astype(np.complex128)
    return _draw(results.runs[0].task, eigenvalues, list(families.values()), section.shown)
