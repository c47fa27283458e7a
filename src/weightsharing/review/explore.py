"""A page with sliders: the theory of the endpoint task at every point of a grid, RNN beside DNN.

Everything is solved beforehand by the functions of ``theory``; the page only picks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bokeh.document import Document
from bokeh.embed import file_html
from bokeh.layouts import column, row
from bokeh.models import ColumnDataSource, CustomJS, DataRange1d, LinearColorMapper, Range1d
from bokeh.models.widgets import Div, RadioButtonGroup, Slider
from bokeh.palettes import RdBu11
from bokeh.plotting import figure
from bokeh.resources import INLINE
from numpy.typing import NDArray

from weightsharing.figures.style import NETWORK_COLOURS, PREDICTION
from weightsharing.model.architecture import KINDS, Architecture, Kind, Prior
from weightsharing.model.axes import Array
from weightsharing.model.tasks import EndpointTask
from weightsharing.theory.solve import solve
from weightsharing.theory.transition import (
    critical_signal,
    endpoint_problem,
    landau_curve,
    ordered_branch,
)

# The axes of the grid. Signal strengths are relative to lambda_c, so that all grids hold the transition.
STEPS = (3, 4, 5, 6, 8)
KAPPAS = (0.03, 0.1, 0.3)
WIDTHS_OF_NOISE = (0.5, 0.75, 1.0)
RATIOS = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)
# Points of each curve F(m), and its end relative to the largest m of the branch.
POINTS, RANGE = 41, 1.2
SCRIPT = Path(__file__).with_name("explore.js")
Progress = Callable[[int, int], None]


class Network(NamedTuple):
    """The theory of one network at one point of the grid, for N to infinity.

    kernel: H over time, (T, T). outputs: f^t, (T,). eigenvalues: those that the activities give to W,
    (index, part).
    """

    kernel: Array
    outputs: Array
    eigenvalues: Array


class Slice(NamedTuple):
    """The theory at one T, kappa and w, over the signal strengths.

    critical: lambda_c. branch: m and lambda / lambda_c along the ordered branch, (2, point). stable:
    whether each point is a minimum. order_parameter: m of the lowest minimum, (ratio,). grid, action: m
    and F(m) - F(0), (point,) and (ratio, point). networks: by their kind, for each ratio.
    """

    critical: float
    branch: Array
    stable: NDArray[np.bool_]
    order_parameter: Array
    grid: Array
    action: Array
    networks: dict[Kind, list[Network]]


def solve_grid(threads: int, progress: Progress) -> list[Slice]:
    """``Slice`` for each T, kappa and w, in this order, the last running fastest.

    Raises SolverError if a point does not converge.
    """
    every = list(product(STEPS, KAPPAS, WIDTHS_OF_NOISE))
    slices = []
    with ProcessPoolExecutor(max_workers=threads) as pool:
        for number, one in enumerate(pool.map(_slice, every), start=1):
            slices.append(one)
            progress(number, len(every))
    return slices


def _slice(point: tuple[int, float, float]) -> Slice:
    steps, kappa, w = point
    prior = Prior(w=w, u=1.0, v=1.0)
    rnn = Architecture(kind="rnn", steps=steps, prior=prior)
    critical = critical_signal(steps, prior, kappa)
    branch = ordered_branch(rnn, kappa, 1.02 * max(RATIOS) * critical)
    grid = np.linspace(0.0, RANGE * float(branch.order_parameter.max()), POINTS)
    curves = [landau_curve(endpoint_problem(r * critical, rnn, kappa), grid).action for r in RATIOS]
    action = np.stack(curves)
    networks = {
        kind: [_network(kind, steps, prior, kappa, ratio * critical) for ratio in RATIOS]
        for kind in KINDS
    }
    return Slice(
        critical=critical,
        branch=np.stack([branch.order_parameter, branch.signal / critical]),
        stable=branch.stable,
        order_parameter=np.array([abs(one.kernel[-1, -2]) for one in networks["rnn"]]),
        grid=grid,
        action=action - action[:, :1],
        networks=networks,
    )


def _network(kind: Kind, steps: int, prior: Prior, kappa: float, signal: float) -> Network:
    """The lowest stationary point."""
    network = Architecture(kind=kind, steps=steps, prior=prior)
    theory = solve(EndpointTask(labels=(signal**0.5,)).make(steps), network, kappa).isel(point=0)
    return Network(
        kernel=theory["kernel"].to_numpy()[0, 0],
        outputs=theory["prediction"].to_numpy()[0],
        eigenvalues=theory["eigenvalue"].to_numpy(),
    )


def page(slices: Sequence[Slice]) -> str:
    """The page as HTML with its scripts inside. slices: of ``solve_grid``."""
    data = [_plain(one) for one in slices]
    sources = {
        name: ColumnDataSource(data={key: [] for key in keys}, name=name)
        for name, keys in {
            "rnn_kernel": ("t", "s", "value"), "dnn_kernel": ("t", "s", "value"),
            "rnn_eigenvalues": ("re", "im"), "dnn_eigenvalues": ("re", "im"),
            "rnn_outputs": ("t", "f"), "dnn_outputs": ("t", "f"), "target": ("t", "y"),
            "landau": ("m", "action"), "minimum": ("m", "action"), "disc": ("radius",),
            "stable": ("ratio", "m"), "unstable": ("ratio", "m"), "present": ("ratio", "m"),
        }.items()
    }  # fmt: skip
    plots, mapper = _plots(sources)
    words_of_signal = f"signal strength, λ / λ_c from {RATIOS[0]:g} to {RATIOS[-1]:g}"
    signal = Slider(title=words_of_signal, start=0,
                    end=len(RATIOS) - 1, value=RATIOS.index(2.0), step=1, show_value=False,
                    name="signal")  # fmt: skip
    choices = {
        name: RadioButtonGroup(
            labels=[f"{letter} = {value:g}" for value in values], active=values.index(start), name=name
        )
        for name, letter, values, start in (
            ("T", "T", STEPS, 4), ("kappa", "κ", KAPPAS, 0.1), ("w", "w", WIDTHS_OF_NOISE, 1.0)
        )
    }  # fmt: skip
    words = Div(text="")
    picked = CustomJS(
        args={
            "data": data, "ratios": list(RATIOS), "ws": list(WIDTHS_OF_NOISE), "sources": sources,
            "signal": signal, "choices": choices, "words": words, "mapper": mapper,
            "counts": [len(KAPPAS), len(WIDTHS_OF_NOISE)],
        },
        code=SCRIPT.read_text("utf-8"),
    )  # fmt: skip
    signal.js_on_change("value", picked)
    for choice in choices.values():
        choice.js_on_change("active", picked)
    head = Div(text=HEAD)
    layout = column(
        head, row(*choices.values(), styles={"flex-wrap": "wrap"}), signal, words,
        row(*plots, styles={"flex-wrap": "wrap", "max-width": "960px"}), sizing_mode="stretch_width",
    )  # fmt: skip
    # The first picture is picked when the page is ready.
    document = Document()
    document.add_root(layout)
    document.js_on_event("document_ready", picked)
    return file_html(document, INLINE, title="Explore the theory: RNN beside DNN")


HEAD = """
<h1 style="font: 1.4rem system-ui; margin: 0.5rem 0">Explore the theory</h1>
<p style="font: 1rem/1.5 system-ui; max-width: 60rem">Linear RNN and DNN with one input at t = 0 and one
target at t = T, y = λ<sup>1/2</sup>, at infinite width (u = v = 1). Everything was solved beforehand; the
slider and the buttons pick from a grid. Kernels are H<sup>tt'</sup> of the hidden activities. F(m) is the
action at fixed order parameter m = H<sup>T-1,T-2</sup>. Eigenvalues are those that the activities give
to W; outside the disc of radius w<sup>1/2</sup>, which noise fills, they are outliers.</p>
"""


def _plain(one: Slice) -> dict[str, Any]:
    """A slice as lists of numbers of few digits, for the script."""

    def short(values: Array) -> Any:  # noqa: ANN401
        return [float(f"{value:.4g}") for value in np.ravel(values)]

    return {
        "critical": one.critical, "m": short(one.branch[0]), "ratio": short(one.branch[1]),
        "stable": [bool(value) for value in one.stable], "order": short(one.order_parameter),
        "grid": short(one.grid), "action": [short(row) for row in one.action],
        **{
            kind: [
                {"kernel": short(each.kernel), "outputs": short(each.outputs),
                 "re": short(each.eigenvalues[:, 0]), "im": short(each.eigenvalues[:, 1])}
                for each in networks
            ]
            for kind, networks in one.networks.items()
        },
    }  # fmt: skip


def _plots(sources: dict[str, Any]) -> tuple[list[Any], Any]:
    """The panels, and the scale of the kernels."""
    size: dict[str, Any] = {
        "width": 300, "height": 300, "sizing_mode": "fixed", "toolbar_location": None, "tools": "",
    }  # fmt: skip
    mapper = LinearColorMapper(palette=RdBu11, low=-1.0, high=1.0)

    def kernel(kind: Kind) -> Any:  # noqa: ANN401
        panel = figure(
            title=f"{kind.upper()}: kernel",
            x_axis_label="t'",
            y_axis_label="t",
            y_range=DataRange1d(flipped=True),
            **size,
        )
        panel.rect("s", "t", 1, 1, source=sources[f"{kind}_kernel"], line_color=None,
                   fill_color={"field": "value", "transform": mapper})  # fmt: skip
        panel.grid.visible = False
        return panel

    spectrum = figure(title="eigenvalues", x_axis_label="Re", y_axis_label="Im", **size)
    spectrum.x_range = spectrum.y_range = Range1d(start=-2, end=2)
    spectrum.circle(
        0, 0, radius="radius", source=sources["disc"], fill_color=None, line_color="gray"
    )
    outputs = figure(title="outputs", x_axis_label="t", y_axis_label="f", **size)
    for kind in KINDS:
        look: dict[str, Any] = {"color": NETWORK_COLOURS[kind], "legend_label": kind.upper()}
        marker: Any = "circle" if kind == "rnn" else "square"
        spectrum.scatter("re", "im", source=sources[f"{kind}_eigenvalues"], size=9, marker=marker,
                         fill_alpha=0.3, **look)  # fmt: skip
        outputs.line("t", "f", source=sources[f"{kind}_outputs"], line_width=2, **look)
        outputs.scatter("t", "f", source=sources[f"{kind}_outputs"], size=6, marker=marker, **look)
    outputs.scatter("t", "y", source=sources["target"], size=10, marker="x", color="black",
                    legend_label="target")  # fmt: skip
    outputs.legend.location = "top_left"
    landau = figure(title="F(m) - F(0) of the RNN", x_axis_label="m", y_axis_label="action", **size)
    landau.line("m", "action", source=sources["landau"], line_width=2, color=NETWORK_COLOURS["rnn"])
    landau.scatter("m", "action", source=sources["minimum"], size=9, color=PREDICTION)
    order = figure(title="order parameter of the RNN", x_axis_label="λ / λ_c",
                   y_axis_label="m", **size)  # fmt: skip
    order.line("ratio", "m", source=sources["stable"], line_width=2, color=NETWORK_COLOURS["rnn"])
    order.line("ratio", "m", source=sources["unstable"], line_width=2, line_dash="dotted",
               color=NETWORK_COLOURS["rnn"])  # fmt: skip
    order.line([0, max(RATIOS)], [0, 0], line_width=2, color=NETWORK_COLOURS["dnn"])
    order.scatter("ratio", "m", source=sources["present"], size=9, color=PREDICTION)
    return [kernel("rnn"), kernel("dnn"), spectrum, order, landau, outputs], mapper
