"""Figure 1: graphical abstract. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Circle, FancyArrowPatch

from weightsharing.figures.fig1.cells import cells
from weightsharing.figures.fig1.config import Section
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import (
    kernel_bar,
    kernel_norm,
    output_key,
    show_outputs,
    show_split_kernel,
)
from weightsharing.figures.results import Result, Results
from weightsharing.figures.style import (
    DNN_COLOUR,
    NETWORK_COLOURS,
    RNN_COLOUR,
    SMALL,
    page_figure,
    part_title,
)
from weightsharing.model.architecture import KINDS, Kind

Runs = Sequence[Result]
# Activities that the sketch of an unrolled network shows, and the radius of their nodes.
NODES = 4
RADIUS = 0.27


def draw(results: Results, section: Section, preset: str) -> Figure:
    """Panels a (sketch of both networks), b (kernels) and c (outputs): DNNs above, RNNs below.

    Runs that did not converge are named below the panels.
    """
    figure = page_figure(height=2.6)
    parts: Any = figure.subfigures(1, 3, width_ratios=[1.0, 0.95, 1.05])
    part_title(parts[0], "a", "weights independent, or shared")
    _networks(parts[0].subplots())
    part_title(parts[1], "b", "endpoint task: coherence")
    _kernels(parts[1], {kind: cells(results, "endpoint", kind) for kind in KINDS}, section)
    part_title(parts[2], "c", "sequence task: interpolation")
    _outputs(parts[2], {kind: cells(results, "sequence", kind)[0] for kind in KINDS})
    footer(figure, preset, results.runs)
    return figure


def _networks(axes: Axes) -> None:
    """A DNN, an RNN unrolled in time, and the RNN. Equal colours are equal weights."""
    shades = sns.light_palette(DNN_COLOUR, NODES + 1).as_hex()[2:]
    _title(axes, 3.6, "DNN: a matrix for each step", DNN_COLOUR)
    _unrolled(axes, 2.6, shades, [f"$W^{{({step})}}$" for step in range(1, NODES)])
    _title(axes, 1.8, "RNN, unrolled: one matrix", RNN_COLOUR)
    _unrolled(axes, 0.8, [RNN_COLOUR] * (NODES - 1), ["$W$"] * (NODES - 1))
    _title(axes, 0.0, "RNN", RNN_COLOUR)
    _arrow(axes, -0.75, -RADIUS, -0.8, "0.5")
    axes.text(-0.8, -0.8, "$x$", ha="right", va="center", fontsize=8)
    _node(axes, 0.0, -0.8, "$h$")
    loop = FancyArrowPatch(
        (0.17, -0.56), (0.17, -1.04), connectionstyle="arc3,rad=-1.9", arrowstyle="-|>",
        mutation_scale=7, color=RNN_COLOUR, linewidth=1.6, shrinkA=0, shrinkB=0,
    )  # fmt: skip
    axes.add_patch(loop)
    axes.text(0.85, -0.8, "$W$", color=RNN_COLOUR, ha="left", va="center", fontsize=8)
    axes.set(xlim=(-1.2, NODES - 0.4), ylim=(-1.4, 4.0), aspect="equal")
    axes.axis("off")


def _title(axes: Axes, y: float, words: str, colour: str) -> None:
    axes.text(-1.1, y, words, color=colour, ha="left", va="center", fontsize=7.5)


def _unrolled(axes: Axes, y: float, shades: Sequence[str], names: Sequence[str]) -> None:
    """Activities in a row, and the weights between them."""
    _arrow(axes, -0.75, -RADIUS, y, "0.5")
    axes.text(-0.8, y, "$x$", ha="right", va="center", fontsize=8)
    for step in range(NODES):
        _node(axes, step, y, f"$h^{step}$")
    for step, (shade, name) in enumerate(zip(shades, names, strict=True)):
        _arrow(axes, step + RADIUS, step + 1 - RADIUS, y, shade)
        axes.text(step + 0.5, y + 0.24, name, ha="center", va="bottom", fontsize=SMALL, color=shade)


def _node(axes: Axes, x: float, y: float, name: str) -> None:
    axes.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor="black", linewidth=0.8))
    axes.text(x, y, name, ha="center", va="center", fontsize=7)


def _arrow(axes: Axes, start: float, end: float, y: float, colour: str) -> None:
    arrow = FancyArrowPatch(
        (start, y), (end, y), arrowstyle="-|>", mutation_scale=7, color=colour, linewidth=1.6,
        shrinkA=0, shrinkB=0,
    )  # fmt: skip
    axes.add_patch(arrow)


def _kernels(part: SubFigure, networks: dict[Kind, list[Result]], section: Section) -> None:
    """Kernels over time below and above the transition."""
    every = [run for runs in networks.values() for run in runs]
    norm = kernel_norm(every)
    panels = part.subplots(len(KINDS), 2, squeeze=False)
    signs = (f"{section.endpoint.below:g}", f"{section.endpoint.above:g}")
    for row, (kind, runs) in zip(panels, networks.items(), strict=True):
        for axes, run, ratio in zip(row, runs, signs, strict=True):
            measured, theory = run.array("kernel")[0, 0], run.array("kernel_theory")[0, 0]
            show_split_kernel(axes, measured, theory, norm, "t")
            axes.set_title(
                rf"{kind.upper()}, $\lambda = {ratio}\,\lambda_c$", color=NETWORK_COLOURS[kind]
            )
            axes.label_outer()
    bar = kernel_bar(part, norm, ax=list(panels.ravel()), aspect=24, pad=0.03)
    bar.set_label(r"$\mathbb{H}^{tt'}$", labelpad=0)


def _outputs(part: SubFigure, networks: dict[Kind, Result]) -> None:
    """Outputs of both networks beside the target."""
    panels = part.subplots(len(KINDS), 1, sharex=True)
    for axes, (kind, run) in zip(np.ravel(panels), networks.items(), strict=True):
        show_outputs(axes, run)
        axes.set_title(kind.upper(), color=NETWORK_COLOURS[kind])
        axes.label_outer()
    part.legend(
        *output_key(networks["rnn"].method), loc="outside lower center", ncols=4, fontsize=SMALL,
        handlelength=1.2, columnspacing=0.8, handletextpad=0.4, borderpad=0.0,
    )  # fmt: skip
