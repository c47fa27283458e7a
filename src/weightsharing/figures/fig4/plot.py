"""Figure 4: the phase transition of linear RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from weightsharing.figures import conditions
from weightsharing.figures.fig4.networks import by_network
from weightsharing.figures.results import Result, Results, Scan
from weightsharing.figures.statistics import histogram
from weightsharing.figures.style import (
    MARKERS,
    SAMPLER_NAMES,
    colours,
    greys,
    page_figure,
    panel_letter,
)

Runs = Sequence[Result]
# Symbols of the two samplers at one lambda are drawn this many points to its left and right.
BESIDE = 1.6
DNN_COLOUR = "0.8"
# Half the length of the line that shows the theory at N, relative to lambda.
LAW_LENGTH = 0.12


def draw(results: Results, section: object) -> Figure:
    """Panels a (order parameter against lambda) and b (Landau curve) with a line of conditions.

    Runs that did not converge are drawn hollow and named below the panels.
    """
    figure = page_figure(height=3.6)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.65, 1.0])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    scans = sorted(results.scans, key=lambda scan: scan.depth)
    _order_parameter(left, scans, results.runs)
    sampled = next(scan for scan in scans if "landau_action" in scan.data)
    _landau(right, sampled, results.select(role="trained"))
    conditions.write_conditions(figure, _conditions(results), size=6.5)
    return figure


def _conditions(results: Results) -> list[str]:
    """N, chains, samplers, and the runs that did not converge."""
    runs = results.runs
    first, exact = results.select(role="trained")[:1], results.select(role="exact")[:1]
    others = len(by_network(runs)) > 1
    lines = [
        f"{conditions.names(first)}: {conditions.size(first)}{conditions.schedule(first)}; "
        rf"$\kappa = {first[0].run.kappa:g}$; branch $m > 0$; error bars: fluctuation at equilibrium"
    ]
    if exact:
        lines.append(
            "circles, side by side with them about $\\lambda$: exact sampler of the activities, "
            f"weights integrated out, {conditions.size(exact)}"
        )
    if others:
        lines.append(
            "circles in the colours of other $T$ and in grey (DNN): exact sampler; "
            "dotted beside them: theory at their $N$"
        )
    failed = [run for run in runs if not run.converged]
    if not failed:
        verdict = conditions.run_diagnostics(runs)
        return [*lines, f"all runs of both samplers converged: {verdict}"]
    for method, name in SAMPLER_NAMES.items():
        signals = [
            f"{run.signal:.3g} ({run.kind.upper()}, $T = {run.run.architecture.steps}$)"
            for run in failed
            if run.method == method
        ]
        if signals:
            lines.append(f"NOT CONVERGED (hollow), {name}: $\\lambda$ = {', '.join(signals)}")
    return lines


def _order_parameter(axes: Axes, scans: Sequence[Scan], runs: Runs) -> None:
    depths = [scan.depth for scan in scans]
    palette = dict(zip(depths, colours(len(depths)), strict=True))
    networks = by_network(runs)
    inset = axes.inset_axes((0.12, 0.62, 0.29, 0.28), zorder=5)
    # Curves start well below the transitions, and below every network.
    first = 0.25 * min(scan.critical_signal for scan in scans)
    first = min([first, *(0.9 * run.signal for run in runs)])
    last = max(float(scan.branch.signal.max()) for scan in scans)
    axes.plot(
        [first, last], [0, 0], color=DNN_COLOUR, linewidth=4, label="DNN, every $T$", zorder=0.5
    )
    for scan in reversed(scans):
        colour, critical = palette[scan.depth], scan.critical_signal
        m, signal, stable = scan.branch
        order = "2nd" if scan.is_second_order else "1st"
        # Shorter depths lie on top at m = 0, where each is stable up to its own lambda_c.
        below = 1.0 + 0.1 / critical
        axes.plot(np.where(stable, signal, np.nan), m, color=colour)
        axes.plot(np.where(stable, np.nan, signal), m, color=colour, linestyle=":", linewidth=1.2)
        axes.plot(
            [first, critical],
            [0, 0],
            color=colour,
            zorder=below,
            label=f"RNN, $T = {scan.depth}$ ({order} order)",
        )
        axes.axvline(critical, color=colour, linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
        if scan.is_second_order:
            inset.plot(signal / critical - 1.0, m, color=colour)
        if "finite_width_mean" in scan.data:
            _finite_width(axes, scan, colour)
        _markers(axes, inset, networks.get(("rnn", scan.depth), []), colour, scan)
    for (kind, _), dnns in networks.items():
        if kind == "dnn":
            _markers(axes, None, dnns, DNN_COLOUR, None)

    top = max(run.value("order_parameter") + run.value("order_parameter_deviation") for run in runs)
    axes.set_xscale("log")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if first <= tick <= last]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(first, last)
    axes.set_ylim(-0.03 * top, 1.45 * top)
    axes.set_xlabel(r"signal strength $\lambda = \sum_p y_p^2$")
    axes.set_ylabel(r"order parameter $m = \mathbb{H}^{T-1,T-2}$")
    axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.46, -0.2),
        fontsize=6.5,
        ncols=3,
        handlelength=1.4,
        labelspacing=0.3,
        columnspacing=1.0,
    )
    panel_letter(axes, "a")
    _slope_guide(inset, [scan for scan in scans if scan.is_second_order])
    folded = [scan for scan in scans if not scan.is_second_order]
    if folded:
        fold = axes.inset_axes((0.12, 0.23, 0.25, 0.17), zorder=5)
        _fold(fold, folded[0], palette[folded[0].depth])


def _fold(inset: Axes, scan: Scan, colour: str) -> None:
    """The fold of a first-order branch: where two minima coexist."""
    m, signal, stable = scan.branch
    ratio = signal / scan.critical_signal
    lowest = float(ratio.min())
    left, right = 1.0 - 1.5 * (1.0 - lowest), 1.0 + 0.5 * (1.0 - lowest)
    inset.plot(ratio[stable], m[stable], color=colour)
    inset.plot(ratio[~stable], m[~stable], color=colour, linestyle=":", linewidth=1.2)
    inset.plot([left, 1.0], [0, 0], color=colour)
    inset.plot([1.0, right], [0, 0], color=colour, linestyle=":", linewidth=1.2)
    if "coexistence_signal" in scan.data.attrs:
        equal = float(scan.data.attrs["coexistence_signal"]) / scan.critical_signal
        inset.axvline(equal, color="0.4", linewidth=0.6)
    inset.set_xlim(left, right)
    top = float(np.interp(right, ratio[stable], m[stable]))
    inset.set_ylim(-0.08 * top, top)
    inset.set_xticks([lowest, 1.0], [f"{lowest:.3f}", "1"])
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.set_xlabel(r"$\lambda/\lambda_c$", fontsize=6.5, labelpad=0)
    inset.set_title(f"fold, $T = {scan.depth}$", fontsize=5.5, pad=2)


def _finite_width(axes: Axes, scan: Scan, colour: str) -> None:
    """Mean and standard deviation of |m| in theory at the width of the networks."""
    mean, deviation, signal = (
        scan.data[name].to_numpy()
        for name in ("finite_width_mean", "finite_width_deviation", "signal")
    )
    name = rf"theory of $\langle|m|\rangle$, $N = {scan.transition.width}$"
    axes.plot(signal, mean, color=colour, linewidth=0.9, linestyle=(0, (1, 1)), label=name)
    axes.fill_between(
        signal, mean - deviation, mean + deviation, color=colour, alpha=0.13, linewidth=0,
        zorder=0.4,
    )  # fmt: skip


def _markers(axes: Axes, inset: Axes | None, runs: Runs, colour: str, scan: Scan | None) -> None:
    """Symbols of one network; the exact sampler is black beside trained networks, else of their colour.

    inset, scan: that of the approach to the transition, for transitions of second order.
    """
    both = len({run.role for run in runs}) == 2
    for run in runs:
        exact = run.role == "exact"
        style = _symbol(run.method, "black" if exact and both else colour)
        if not run.converged:
            style["markerfacecolor"] = "white"
        # Side by side: on top of each other one would hide whether the other agrees.
        points = (BESIDE if exact else -BESIDE) if both else 0.0
        aside = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
        m, bar = run.value("order_parameter"), run.value("order_parameter_deviation")
        if scan and not both:
            ends = np.array([1.0 - LAW_LENGTH, 1.0 + LAW_LENGTH]) * run.signal
            mean = scan.law(run.width, run.signal).mean
            axes.plot(ends, [mean, mean], color=colour, linewidth=0.9, linestyle=(0, (1, 1)))
        axes.errorbar(
            run.signal, m, yerr=bar, elinewidth=1.0, zorder=4 if exact else 3, transform=aside,
            **style | {"markeredgewidth": 0.6},
        )  # fmt: skip
        if inset and scan and scan.is_second_order and run.signal > scan.critical_signal:
            inset.plot(
                run.signal / scan.critical_signal - 1.0, m,
                **style | {"markeredgewidth": 0.6, "markersize": 1.8 if exact else 2.6},
            )  # fmt: skip
    for method, name in SAMPLER_NAMES.items():
        steps = {run.run.architecture.steps for run in runs if run.method == method}
        if steps and both:
            face = "black" if method == "exact" else colour
            axes.plot([], [], **_symbol(method, face), label=f"{name}, $T = {max(steps)}$")


def _symbol(method: str, colour: str) -> dict[str, Any]:
    return {
        "marker": MARKERS[method], "markersize": 3.2 if method == "exact" else 4.5,
        "color": colour, "markerfacecolor": colour, "markeredgecolor": "black", "linestyle": "none",
    }  # fmt: skip


def _slope_guide(inset: Axes, scans: Sequence[Scan]) -> None:
    """Logarithmic axes of transitions of second order, with a line of the critical exponent 1/2."""
    if not scans:
        inset.set_visible(False)
        return
    inset.set_xscale("log")
    inset.set_yscale("log")
    largest = max(float(scan.branch.signal.max() / scan.critical_signal) for scan in scans)
    inset.set_xlim(1e-3, largest)
    reference = scans[-1]
    distance = reference.branch.signal / reference.critical_signal - 1
    guide = np.array([2e-3, 6e-2])
    m = np.interp(guide, distance, reference.branch.order_parameter)
    inset.set_ylim(0.3 * m[0], 10 * m[1])
    inset.plot(guide, 2.2 * m[0] * (guide / guide[0]) ** 0.5, color="black", linewidth=0.8)
    inset.text(guide[0], 3.2 * m[1], "slope 1/2", fontsize=6)
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.minorticks_off()
    inset.set_xlabel(r"$(\lambda - \lambda_c)/\lambda_c$", fontsize=6.5, labelpad=0)
    inset.set_ylabel("$m$", fontsize=6.5, labelpad=0, rotation=0)
    inset.yaxis.set_label_coords(-0.1, 0.78)
    fitted = ", ".join(
        f"$T={scan.depth}$: {scan.data.attrs['critical_exponent']:.3f}" for scan in scans
    )
    inset.set_title(f"fitted exponent\n{fitted}", fontsize=5.5, pad=2)


def _landau(axes: Axes, scan: Scan, runs: Runs) -> None:
    """F(m) - F(0), which is even in m, below, at and above the transition, and histograms of m.

    Of the histograms -ln p(m) / N is shown, relative to the law of m at N at m = 0, and dotted that law.
    """
    m = scan.data["landau_order_parameter"].to_numpy()
    ratios, action = scan.data["landau"].to_numpy(), scan.data["landau_action"].to_numpy()
    gain = action - action[:, :1]
    lowest = min(0.0, float(gain.min()))
    for ratio, curve, colour in zip(ratios, gain, greys(len(ratios)), strict=True):
        axes.plot(
            np.concatenate([-m[::-1], m]), np.concatenate([curve[::-1], curve]), color=colour,
            label=rf"$\lambda = {ratio:g}\,\lambda_c$",
        )  # fmt: skip
        for run in runs:
            if np.isclose(run.signal, ratio * scan.critical_signal, rtol=1e-9):
                _histogram(axes, scan, run, colour)
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set_ylim(1.6 * lowest, -2.2 * lowest) if lowest < 0 else None
    axes.set_xlim(-m[-1], m[-1])
    axes.set_xlabel(r"order parameter $m = \mathbb{H}^{T-1,T-2}$")
    axes.set_ylabel(r"$F(m) - F(0)$, per unit")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.42, -0.2), fontsize=6.5, ncols=3,
        handlelength=1.1, labelspacing=0.3, columnspacing=0.9,
    )  # fmt: skip
    axes.set_title(f"$T = {scan.depth}$", loc="right")
    panel_letter(axes, "b")


def _histogram(axes: Axes, scan: Scan, run: Result, colour: str) -> None:
    """Draws of m of one run, in bins of equal probability, and the law of m at this N."""
    law = scan.law(run.width, run.signal)
    m, reference = law.order_parameter, law.density[0]
    exponent = -np.log(law.density / reference) / run.width
    axes.plot(np.concatenate([-m[::-1], m]), np.concatenate([exponent[::-1], exponent]),
              color=colour, linewidth=0.8, linestyle=(0, (1, 1)))  # fmt: skip
    counted = histogram(np.abs(run.array("order_parameter_draws")), law)
    # The last bin has no end, and a bin without draws no logarithm.
    edges, filled = counted.edges[:-1], counted.share[:-1] > 0
    shares, errors = counted.share[:-1][filled], counted.error[:-1][filled]
    at, sizes = counted.place[:-1][filled], np.diff(edges)[filled]
    heights, bars = -np.log(shares / sizes / reference) / run.width, errors / shares / run.width
    style = _symbol(run.method, colour) | {"markersize": 2.6, "markeredgewidth": 0.4}
    for side in (-1.0, 1.0):
        axes.errorbar(side * at, heights, yerr=bars, elinewidth=0.8, **style)
