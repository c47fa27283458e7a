"""Figure 4: the phase transition of linear RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from weightsharing.figures.fig4.networks import by_network
from weightsharing.figures.footer import footer
from weightsharing.figures.panels import sampler_key, show_point
from weightsharing.figures.results import Result, Results, Scan
from weightsharing.figures.statistics import histogram
from weightsharing.figures.style import (
    DASHES,
    DNN_COLOUR,
    DOTTED,
    EXACT,
    GUIDE,
    SIGNAL_COLOURS,
    SMALL,
    depth_colour,
    page_figure,
    panel_letter,
)

Runs = Sequence[Result]
ORDER_PARAMETER = r"order parameter $m = \mathbb{H}^{T-1,T-2}$"
# Colour and dashes of a curve.
Look = dict[str, Any]


def draw(results: Results, section: object, preset: str) -> Figure:
    """Panels a (order parameter against lambda, with its scaling and its fold) and b (Landau curves).

    Runs that did not converge are drawn hollow and named below the panels.
    """
    scans = sorted(results.scans, key=lambda scan: scan.depth)
    second = [scan for scan in scans if scan.is_second_order]
    first = [scan for scan in scans if not scan.is_second_order]
    sampled = next(scan for scan in scans if "landau_action" in scan.data)
    looks = dict(zip((scan.depth for scan in scans), _looks(scans, sampled), strict=True))

    figure = page_figure(height=3.3)
    columns = figure.add_gridspec(1, 3, width_ratios=[1.75, 0.8, 1.35])
    _order_parameter(figure.add_subplot(columns[0]), scans, looks, results.runs)
    details = columns[1].subgridspec(bool(second) + bool(first), 1)
    if second:
        _scaling(figure.add_subplot(details[0]), second, looks, results.runs)
    if first:
        _fold(figure.add_subplot(details[-1]), first[0], looks[first[0].depth])
    _landau(figure.add_subplot(columns[2]), sampled, results.runs)
    footer(figure, preset, results.runs)
    return figure


def _looks(scans: Sequence[Scan], sampled: Scan) -> list[Look]:
    """Colour and dashes of the curve of each depth; that of the trained networks is solid."""
    dashes = iter(DASHES[1:] * len(scans))
    styles = [DASHES[0] if scan is sampled else next(dashes) for scan in scans]
    return [
        {"color": depth_colour(scan.depth), "linestyle": style}
        for scan, style in zip(scans, styles, strict=True)
    ]


def _order_parameter(axes: Axes, scans: Sequence[Scan], looks: dict[int, Look], runs: Runs) -> None:
    """Theory for each depth and for DNNs, and the networks."""
    last = max(float(scan.branch.signal.max()) for scan in scans)
    top = 1.4 * max(
        run.value("order_parameter") + run.value("order_parameter_deviation") for run in runs
    )
    axes.set(xlim=(0.0, last), ylim=(-0.03 * top, top))
    axes.plot([0, last], [0, 0], color=DNN_COLOUR, linewidth=3, zorder=0.5)
    _label(axes, last, 0.0, "DNN,\nany $T$", DNN_COLOUR)
    for scan in reversed(scans):
        look, critical = looks[scan.depth], scan.critical_signal
        m, signal, stable = scan.branch
        axes.plot(np.where(stable, signal, np.nan), m, **look)
        # Shorter depths lie on top at m = 0, where each is stable up to its own lambda_c.
        axes.plot([0, critical], [0, 0], **look, zorder=1.0 + 0.1 / critical)
        axes.axvline(critical, color=look["color"], linewidth=0.5, zorder=0)
        leaves = float(np.interp(top, m, signal))
        end = min(leaves, last)
        height = float(np.interp(end, signal[stable], m[stable]))
        _label(axes, end, height, f"$T = {scan.depth}$", look["color"])
        if "finite_width_mean" in scan.data:
            _finite_width(axes, scan, look["color"])
    for (kind, depth), group in by_network(runs).items():
        rnn = next((scan for scan in scans if (kind, scan.depth) == ("rnn", depth)), None)
        _symbols(axes, group, looks[depth]["color"] if rnn else DNN_COLOUR, rnn)
    axes.set(xlabel=r"signal strength $\lambda = \sum_p y_p^2$", ylabel=ORDER_PARAMETER)
    # Above the labels of the curves.
    axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.06), ncols=2)
    panel_letter(axes, "a")


def _label(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A label where a curve leaves the axes: above them, or to their right."""
    above = y >= 0.999 * axes.get_ylim()[1]
    axes.annotate(
        text, (x, y), xytext=(0, 2) if above else (3, 0), textcoords="offset points", color=colour,
        ha="center" if above else "left", va="bottom" if above else "center", fontsize=7,
        annotation_clip=False,
    )  # fmt: skip


def _finite_width(axes: Axes, scan: Scan, colour: str) -> None:
    """Mean and standard deviation of |m| in theory at the width of the networks."""
    mean, deviation, signal = (
        scan.data[name].to_numpy()
        for name in ("finite_width_mean", "finite_width_deviation", "signal")
    )
    name = rf"theory, $N = {scan.transition.width}$"
    axes.plot(signal, mean, color=colour, linewidth=0.9, linestyle=DOTTED, label=name)
    axes.fill_between(
        signal, mean - deviation, mean + deviation, color=colour, alpha=0.15, linewidth=0,
        zorder=0.4,
    )  # fmt: skip


def _symbols(axes: Axes, runs: Runs, colour: str, scan: Scan | None) -> None:
    """Networks of one kind and depth; the exact sampler is black beside trained networks.

    scan: of the theory, for RNNs.
    """
    both = len({run.role for run in runs}) == 2
    for run in runs:
        exact = run.role == "exact"
        m, bar = run.value("order_parameter"), run.value("order_parameter_deviation")
        if scan and not both:
            mean = scan.law(run.width, run.signal).mean
            axes.plot(run.signal, mean, "o", color=colour, markersize=6.5, markerfacecolor="none")
        # The thin bar of one sampler lies inside the wide one of the other.
        face, scale = (EXACT, 0.7) if exact and both else (colour, 1.0)
        look = {"elinewidth": 0.7 if exact else 1.8, "zorder": 4 if exact else 3}
        show_point(axes, run, run.signal, m, bar, face, scale=scale, **look)
    if both:
        sampler_key(axes, runs, colour, EXACT)


def _scaling(axes: Axes, scans: Sequence[Scan], looks: dict[int, Look], runs: Runs) -> None:
    """The approach to transitions of second order, on logarithmic axes, beside a line of slope 1/2."""
    axes.set(xscale="log", yscale="log")
    for scan in scans:
        m, signal, _ = scan.branch
        axes.plot(signal / scan.critical_signal - 1.0, m, **looks[scan.depth])
        networks = by_network(runs).get(("rnn", scan.depth), [])
        for run in networks if "finite_width_mean" in scan.data else ():
            if run.signal > 1.05 * scan.critical_signal:
                face = EXACT if run.role == "exact" else looks[scan.depth]["color"]
                distance, height = (
                    run.signal / scan.critical_signal - 1,
                    run.value("order_parameter"),
                )
                show_point(axes, run, distance, height, None, face, scale=0.7)
    reference = scans[-1]
    m, signal, _ = reference.branch
    largest = float(signal.max() / reference.critical_signal)
    guide = np.array([2e-3, 2e-1])
    start, end = np.interp(guide, signal / reference.critical_signal - 1.0, m)
    line = 3.0 * start * (guide / guide[0]) ** 0.5
    axes.plot(guide, line, color=GUIDE, linewidth=0.8)
    axes.annotate(
        "slope 1/2", (guide[1], line[1]), xytext=(-3, 1), textcoords="offset points", ha="right",
        fontsize=SMALL, color="0.3",
    )  # fmt: skip
    axes.set(xlim=(1e-3, largest), ylim=(0.4 * start, 12.0 * end), xticks=[1e-2, 1.0])
    axes.minorticks_off()
    axes.set_xlabel(r"$\lambda / \lambda_c - 1$", labelpad=1)
    axes.set_ylabel("$m$", labelpad=0)
    depths = ", ".join(str(scan.depth) for scan in scans)
    axes.set_title(f"2nd order: $T = {depths}$")


def _fold(axes: Axes, scan: Scan, look: Look) -> None:
    """The fold of a first-order branch, where two minima coexist; dotted where it is no minimum."""
    m, signal, stable = scan.branch
    ratio, colour = signal / scan.critical_signal, look["color"]
    lowest = float(ratio.min())
    left, right = 1.0 - 1.5 * (1.0 - lowest), 1.0 + 0.5 * (1.0 - lowest)
    axes.plot(ratio[stable], m[stable], color=colour)
    axes.plot(ratio[~stable], m[~stable], color=colour, linestyle=DOTTED, linewidth=1.2)
    axes.plot([left, 1.0], [0, 0], color=colour)
    axes.plot([1.0, right], [0, 0], color=colour, linestyle=DOTTED, linewidth=1.2)
    if "coexistence_signal" in scan.data.attrs:
        equal = float(scan.data.attrs["coexistence_signal"]) / scan.critical_signal
        axes.axvline(equal, color=GUIDE, linewidth=0.6)
    top = float(np.interp(right, ratio[stable], m[stable]))
    axes.set(xlim=(left, right), ylim=(-0.08 * top, top))
    axes.set_xticks([lowest, 1.0], [f"{lowest:.3f}", "1"])
    axes.set_xlabel(r"$\lambda/\lambda_c$", labelpad=1)
    axes.set_ylabel("$m$", labelpad=0)
    axes.set_title(f"1st order: $T = {scan.depth}$")


def _landau(axes: Axes, scan: Scan, runs: Runs) -> None:
    """-ln p(m) / N relative to m = 0: the theory F(m) - F(0), its minima, and histograms of m."""
    m = scan.data["landau_order_parameter"].to_numpy()
    ratios, action = scan.data["landau"].to_numpy(), scan.data["landau_action"].to_numpy()
    signals, gain = ratios * scan.critical_signal, action - action[:, :1]
    norm = Normalize(min(signals), max(signals))
    branch = scan.branch
    for signal, curve in zip(signals, gain, strict=True):
        colour = SIGNAL_COLOURS(norm(signal))
        axes.plot(np.concatenate([-m[::-1], m]), np.concatenate([curve[::-1], curve]), color=colour)
        lowest = float(np.interp(signal, branch.signal, branch.order_parameter, left=0.0))
        axes.plot(
            [-lowest, lowest], np.interp([lowest] * 2, m, curve), "o", color=colour, markersize=6,
            markerfacecolor="none", markeredgewidth=1.0,
        )  # fmt: skip
        for run in runs:
            if run.role == "trained" and np.isclose(run.signal, signal, rtol=1e-9):
                _histogram(axes, scan, run, colour)
    axes.axhline(0.0, color=GUIDE, linewidth=0.6, zorder=0)
    deepest = min(0.0, float(gain.min()))
    if deepest < 0:
        axes.set_ylim(1.2 * deepest, -1.6 * deepest)
    widest = 1.45 * float(np.interp(max(signals), branch.signal, branch.order_parameter))
    axes.set(xlabel=ORDER_PARAMETER, xlim=(-min(widest, m[-1]), min(widest, m[-1])))
    axes.set_ylabel(r"$-\frac{1}{N} \ln\, p(m) / p(0)$", labelpad=0)
    axes.set_title(f"$T = {scan.depth}$")
    panel_letter(axes, "b")
    assert isinstance(axes.figure, Figure)
    shades = ScalarMappable(norm, SIGNAL_COLOURS)
    bar = axes.figure.colorbar(shades, ax=axes, location="top", aspect=24, shrink=0.8, pad=0.02)
    bar.set_ticks([signals[0], scan.critical_signal, signals[-1]],
                  labels=[f"{signals[0]:.2g}", r"$\lambda_c$", f"{signals[-1]:.3g}"])  # fmt: skip
    bar.set_ticks(list(signals), minor=True)
    bar.ax.text(-0.03, 0.5, r"$\lambda$", ha="right", va="center", transform=bar.ax.transAxes)


def _histogram(axes: Axes, scan: Scan, run: Result, colour: Any) -> None:
    """Draws of |m| of one run in bins of equal probability, and dotted the law of m at this N.

    Both are relative to that law at m = 0.
    """
    law = scan.law(run.width, run.signal)
    counted = histogram(np.abs(run.array("order_parameter_draws")), law)
    # A bin without draws has no logarithm.
    place, density, error = (part[counted.share[:-1] > 0] for part in counted.densities)
    m = law.order_parameter[law.order_parameter <= counted.edges[-2]]
    expected = -np.log(law.density[: len(m)] / law.density[0]) / run.width
    axes.plot(m, expected, color=colour, linewidth=0.9, linestyle=DOTTED)
    heights, errors = -np.log(density / law.density[0]) / run.width, error / density / run.width
    show_point(axes, run, place, heights, errors, colour, scale=0.65, markeredgewidth=0.25)
