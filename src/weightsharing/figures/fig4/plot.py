"""Figure 4: the phase transition of linear RNNs. Reads measures, draws, computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from weightsharing.figures.fig4.config import Section
from weightsharing.figures.results import Results
from weightsharing.figures.style import (
    MARKERS,
    SAMPLER_NAMES,
    STEP_NAMES,
    colours,
    greys,
    page_figure,
    panel_letter,
    run_of,
)

# Symbols of the two samplers at one lambda are drawn this many points to its left and right.
BESIDE = 1.6


def _draw(transitions: Sequence[xr.Dataset], measures: Sequence[xr.Dataset]) -> Figure:
    """Panels a (order parameter against lambda) and b (Landau curve) with a line of conditions.

    transitions: theory scans, one for each depth. measures: theory against experiment, one for each
    lambda and sampler. Runs that did not converge are drawn hollow and named below the panels.
    """
    figure = page_figure(height=3.6)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.65, 1.0])
    left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    by_depth = sorted(transitions, key=lambda scan: int(scan.attrs["steps"]))
    depths = [int(scan.attrs["steps"]) for scan in by_depth]
    palette = dict(zip(depths, colours(len(depths)), strict=True))
    _order_parameter(left, by_depth, measures, palette)
    sampled = next(scan for scan in by_depth if "landau_action" in scan)
    _landau(right, sampled)
    figure.supxlabel(conditions(measures), fontsize=6.5, color="0.25")
    return figure


def conditions(measures: Sequence[xr.Dataset]) -> str:
    """N, chains, sampler and what did not converge: the line below the panels."""
    run = next(run for run in map(run_of, measures) if run["sampler"]["method"] != "exact")
    exact = [run["sampler"] for run in map(run_of, measures) if run["sampler"]["method"] == "exact"]
    sampler = run["sampler"]
    step = STEP_NAMES[sampler["method"]]
    text = (
        f"{SAMPLER_NAMES[sampler['method']]}: $N = {sampler['width']}$, {sampler['chains']} chains, "
        rf"${step} = {sampler['step_size']:g}$, ${step}\times$steps $= {sampler['burn_in']:g}$ (burn-in) "
        rf"+ {sampler['duration']:g}; $\kappa = {run['kappa']:g}$; "
        "branch $m > 0$; error bars: fluctuation at equilibrium"
    )
    if exact:
        text += (
            f"\ncircles, side by side with them about $\\lambda$: exact sampler of the activities, "
            f"weights integrated out, $N = {exact[0]['width']}$, {exact[0]['chains']} chains"
        )
    failed = [data for data in measures if data.attrs["converged"] != "yes"]
    if not failed:
        rhat = max(float(data.attrs["largest_rhat"]) for data in measures)
        size = min(float(data.attrs["smallest_effective_size"]) for data in measures)
        verdict = rf"$\hat R \leq {rhat:.3f}$, effective sample size $\geq {size:.0f}$"
        return f"{text}\nall runs of both samplers converged: {verdict}"
    for method in MARKERS:
        own = [f"{data.attrs['signal']:.3g}" for data in failed if data.attrs["method"] == method]
        if own:
            text += (
                f"\nNOT CONVERGED (hollow), {SAMPLER_NAMES[method]}: $\\lambda$ = {', '.join(own)}"
            )
    return text


def _order_parameter(
    axes: Axes,
    scans: Sequence[xr.Dataset],
    measures: Sequence[xr.Dataset],
    palette: dict[int, str],
) -> None:
    inset = axes.inset_axes((0.12, 0.62, 0.29, 0.28), zorder=5)
    first = 0.25 * min(float(scan.attrs["critical_signal"]) for scan in scans)
    last = max(float(scan["ordered_signal"].max()) for scan in scans)
    axes.plot([first, last], [0, 0], color="0.8", linewidth=4, label="DNN, every $T$", zorder=0.5)
    for scan in reversed(scans):
        steps = int(scan.attrs["steps"])
        colour, critical = palette[steps], float(scan.attrs["critical_signal"])
        stable = scan["ordered_curvature"].to_numpy() > 0
        signal = scan["ordered_signal"].to_numpy()
        m = scan["ordered_order_parameter"].to_numpy()
        kind = "2nd" if scan.attrs["order"] == "second" else "1st"
        # Shorter depths lie on top at m = 0, where each is stable up to its own lambda_c.
        below = 1.0 + 0.1 / critical
        axes.plot(np.where(stable, signal, np.nan), m, color=colour)
        axes.plot(np.where(stable, np.nan, signal), m, color=colour, linestyle=":", linewidth=1.2)
        axes.plot(
            [first, critical],
            [0, 0],
            color=colour,
            zorder=below,
            label=f"RNN, $T = {steps}$ ({kind} order)",
        )
        axes.axvline(critical, color=colour, linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)
        if scan.attrs["order"] == "second":
            inset.plot(signal / critical - 1.0, m, color=colour)
        if "finite_width_mean" in scan:
            _finite_width(axes, scan, colour)
        if any(_depth(data) == steps for data in measures):
            _markers(axes, inset, measures, colour, critical)

    tops = [float(data["order_parameter"] + data["order_parameter_deviation"]) for data in measures]
    axes.set_xscale("log")
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if first <= tick <= last]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(first, last)
    axes.set_ylim(-0.03 * max(tops), 1.45 * max(tops))
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
    _slope_guide(inset, scans)
    folded = [scan for scan in scans if scan.attrs["order"] == "first"]
    if folded:
        _fold(axes.inset_axes((0.12, 0.23, 0.25, 0.17), zorder=5), folded[0], palette)


def _fold(inset: Axes, scan: xr.Dataset, palette: dict[int, str]) -> None:
    """The fold of a first-order branch: where two minima coexist."""
    steps, critical = int(scan.attrs["steps"]), float(scan.attrs["critical_signal"])
    ratio = scan["ordered_signal"].to_numpy() / critical
    m = scan["ordered_order_parameter"].to_numpy()
    stable = scan["ordered_curvature"].to_numpy() > 0
    lowest = float(ratio.min())
    left, right = 1.0 - 1.5 * (1.0 - lowest), 1.0 + 0.5 * (1.0 - lowest)
    inset.plot(ratio[stable], m[stable], color=palette[steps])
    inset.plot(ratio[~stable], m[~stable], color=palette[steps], linestyle=":", linewidth=1.2)
    inset.plot([left, 1.0], [0, 0], color=palette[steps])
    inset.plot([1.0, right], [0, 0], color=palette[steps], linestyle=":", linewidth=1.2)
    if "coexistence_signal" in scan.attrs:
        equal = float(scan.attrs["coexistence_signal"]) / critical
        inset.axvline(equal, color="0.4", linewidth=0.6)
    inset.set_xlim(left, right)
    top = float(np.interp(right, ratio[stable], m[stable]))
    inset.set_ylim(-0.08 * top, top)
    inset.set_xticks([lowest, 1.0], [f"{lowest:.3f}", "1"])
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.set_xlabel(r"$\lambda/\lambda_c$", fontsize=6.5, labelpad=0)
    inset.set_title(f"fold, $T = {steps}$", fontsize=5.5, pad=2)


def _finite_width(axes: Axes, scan: xr.Dataset, colour: str) -> None:
    mean, deviation = scan["finite_width_mean"], scan["finite_width_deviation"]
    signal = scan["signal"]
    name = rf"theory of $\langle|m|\rangle$, $N = {scan.attrs['width']}$"
    axes.plot(signal, mean, color=colour, linewidth=0.9, linestyle=(0, (1, 1)), label=name)
    axes.fill_between(
        signal,
        mean - deviation,
        mean + deviation,
        color=colour,
        alpha=0.13,
        linewidth=0,
        zorder=0.4,
    )


def _markers(
    axes: Axes, inset: Axes, measures: Sequence[xr.Dataset], colour: Any, critical: float
) -> None:
    for data in measures:
        signal, m = float(data.attrs["signal"]), float(data["order_parameter"])
        converged = data.attrs["converged"] == "yes"
        method = data.attrs["method"]
        exact = method == "exact"
        # Side by side: on top of each other one would hide whether the other agrees.
        points = BESIDE if exact else -BESIDE
        aside = axes.transData + ScaledTranslation(points / 72, 0, axes.figure.dpi_scale_trans)
        style: dict[str, Any] = {
            "marker": MARKERS[method],
            "markersize": 3.2 if exact else 4.5,
            "color": "black" if exact else colour,
            "markeredgecolor": "black",
            "markerfacecolor": ("black" if exact else colour) if converged else "white",
            "markeredgewidth": 0.6,
            "linestyle": "none",
        }
        bar = float(data["order_parameter_deviation"])
        axes.errorbar(
            signal, m, yerr=bar, elinewidth=1.0, zorder=4 if exact else 3, transform=aside, **style
        )
        if signal > critical:
            inset.plot(signal / critical - 1.0, m, **style | {"markersize": 1.8 if exact else 2.6})
    for method in MARKERS:
        own = [data for data in measures if data.attrs["method"] == method]
        if own:
            exact = method == "exact"
            label = f"{SAMPLER_NAMES[method]}, $T = {_depth(own[0])}$"
            axes.plot(
                [],
                [],
                MARKERS[method],
                markersize=3.2 if exact else 4.5,
                color="black" if exact else colour,
                markeredgecolor="black",
                label=label,
            )


def _slope_guide(inset: Axes, scans: Sequence[xr.Dataset]) -> None:
    second = [scan for scan in scans if scan.attrs["order"] == "second"]
    if not second:
        inset.set_visible(False)
        return
    inset.set_xscale("log")
    inset.set_yscale("log")
    largest = max(
        float(scan["ordered_signal"].max() / scan.attrs["critical_signal"]) for scan in second
    )
    inset.set_xlim(1e-3, largest)
    reference = second[-1]
    distance = (
        reference["ordered_signal"].to_numpy() / float(reference.attrs["critical_signal"]) - 1
    )
    guide = np.array([2e-3, 6e-2])
    m = np.interp(guide, distance, reference["ordered_order_parameter"].to_numpy())
    inset.set_ylim(0.3 * m[0], 10 * m[1])
    inset.plot(guide, 2.2 * m[0] * (guide / guide[0]) ** 0.5, color="black", linewidth=0.8)
    inset.text(guide[0], 3.2 * m[1], "slope 1/2", fontsize=6)
    inset.tick_params(labelsize=5.5, pad=1, length=2)
    inset.minorticks_off()
    inset.set_xlabel(r"$(\lambda - \lambda_c)/\lambda_c$", fontsize=6.5, labelpad=0)
    inset.set_ylabel("$m$", fontsize=6.5, labelpad=0, rotation=0)
    inset.yaxis.set_label_coords(-0.1, 0.78)
    fitted = ", ".join(
        f"$T={int(scan.attrs['steps'])}$: {scan.attrs['critical_exponent']:.3f}" for scan in second
    )
    inset.set_title(f"fitted exponent\n{fitted}", fontsize=5.5, pad=2)


def _landau(axes: Axes, scan: xr.Dataset) -> None:
    m = scan["landau_order_parameter"].to_numpy()
    lowest = 0.0
    ratios = scan["landau"].to_numpy()
    for ratio, colour in zip(ratios, greys(len(ratios)), strict=True):
        free = scan["landau_action"].sel(landau=ratio).to_numpy()
        gain = free - free[0]
        lowest = min(lowest, float(gain.min()))
        axes.plot(
            np.concatenate([-m[::-1], m]),
            np.concatenate([gain[::-1], gain]),
            color=colour,
            label=rf"$\lambda = {ratio:g}\,\lambda_c$",
        )
    axes.axhline(0.0, color="0.8", linewidth=0.6, zorder=0)
    axes.set_ylim(1.4 * lowest, -2.2 * lowest) if lowest < 0 else None
    axes.set_xlim(-m[-1], m[-1])
    axes.set_xlabel(r"order parameter $m = \mathbb{H}^{T-1,T-2}$")
    axes.set_ylabel(r"$F(m) - F(0)$, per unit")
    axes.legend(
        loc="upper center", bbox_to_anchor=(0.42, -0.2), fontsize=6.5, ncols=3,
        handlelength=1.1, labelspacing=0.3, columnspacing=0.9,
    )  # fmt: skip
    axes.set_title(f"$T = {int(scan.attrs['steps'])}$", loc="right")
    panel_letter(axes, "b")


def _depth(data: xr.Dataset) -> int:
    return int(run_of(data)["architecture"]["steps"])


def draw(results: Results, section: Section) -> Figure:
    """Stand-in until the branch of the claims is merged."""
    return _draw([scan.data for scan in results.scans], [result.data for result in results.runs])
