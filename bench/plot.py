"""The plot of the benchmarks. It draws measurements and computes nothing."""

from __future__ import annotations

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.figures.style import SAMPLER_NAMES, colours, page_figure


def draw(measured: xr.Dataset) -> Figure:
    """One panel for each measured part: steps against N, effective samples, solutions against T P."""
    panels = [
        panel
        for name, panel in (
            ("step_seconds", _steps),
            ("effective_samples_per_second", _efficiency),
            ("minimum_seconds", _theory),
        )
        if name in measured
    ]
    figure = page_figure(height=2.8)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        panel(axes, measured)
    text = f"{measured.attrs['device']}, PyTorch {measured.attrs['torch']}"
    figure.supxlabel(text, fontsize=6.5, color="0.25")
    return figure


def _steps(axes: Axes, measured: xr.Dataset) -> None:
    palette = colours(measured.sizes["implementation"])
    for network, style in (("rnn", "o-"), ("dnn", "s--")):
        steps = measured.sel(network=network)
        for name, colour in zip(steps["implementation"].to_numpy(), palette, strict=True):
            values = steps["step_seconds"].sel(implementation=name)
            label = str(name) if network == "rnn" else None
            axes.plot(steps["width"], values, style, color=colour, markersize=3, label=label)
        axes.plot(
            steps["width"], steps["roofline_seconds"], style[1:], color="0.6", linewidth=1.0,
            label="roofline" if network == "rnn" else None,
        )  # fmt: skip
    axes.set(
        xscale="log", yscale="log", xlabel="width $N$", ylabel="seconds per SGLD step and chain"
    )
    axes.set_xticks(measured["width"].to_numpy(), [str(n) for n in measured["width"].to_numpy()])
    axes.minorticks_off()
    axes.set_title("RNN: circles, DNN: squares", fontsize=7)
    axes.legend(fontsize=5.5)


def _efficiency(axes: Axes, measured: xr.Dataset) -> None:
    names = [SAMPLER_NAMES.get(str(name), str(name)) for name in measured["sampler"].to_numpy()]
    first = measured.isel(signal=0)
    axes.bar(np.arange(len(names)), first["effective_samples_per_second"], color="0.6")
    axes.set_xticks(np.arange(len(names)), names, fontsize=5.5, rotation=30)
    axes.set(yscale="log", ylabel="effective samples of $|m|$ per second")
    title = rf"$T = 4$, $\lambda = {float(first['signal']):g}$, $N = {int(first['sampler_width'])}$"
    axes.set_title(title, fontsize=7)


def _theory(axes: Axes, measured: xr.Dataset) -> None:
    for name, label, style in (
        ("minimum_seconds", "a minimum, Newton", "o-"),
        ("all_points_seconds", "all stationary points", "s-"),
        ("descent_seconds", "a minimum, gradient descent", "^--"),
    ):
        axes.plot(measured["size"], measured[name], style, markersize=3, label=label)
    axes.set(xscale="log", yscale="log", xlabel="$T\\,P$", ylabel="seconds")
    axes.legend(fontsize=5.5)
