"""The footer of a figure: N, preset, and in red the runs that did not converge."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from weightsharing.figures.convergence import failures
from weightsharing.figures.results import Result
from weightsharing.figures.style import EDGE, NOT_CONVERGED, SAMPLER_NAMES, SMALL

# Between lines, in points.
LINE = 8.0


def footer(figure: Figure, preset: str, runs: Sequence[Result], *measures: str) -> None:
    """Write N, preset and, in red, what did not converge at the lower edge; panels make room for it.

    measures: as of ``convergence.failures``.
    """
    failed = failures(runs, *measures)
    red = textwrap.wrap(f"not converged: {failed}", 150) if failed else []
    lines = [(f"{sizes(runs)}; preset {preset}", "0.35"), *((line, NOT_CONVERGED) for line in red)]
    height = 72.0 * figure.get_figheight()
    for below, (line, colour) in zip(reversed(range(len(lines))), lines, strict=True):
        place = (72.0 * EDGE + below * LINE) / height
        figure.text(0.99, place, line, ha="right", va="bottom", fontsize=SMALL, color=colour)
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    used = (len(lines) + 0.4) * LINE / height
    engine.set(rect=(0.0, used, 1.0, 1.0 - used))


def sizes(runs: Sequence[Result]) -> str:
    """N of each sampler, as in "SGLD: N = 16 to 512; exact sampler: N = 16 to 16384"."""
    widths = {
        name: span(run.width for run in runs if run.method == method)
        for method, name in SAMPLER_NAMES.items()
        if any(run.method == method for run in runs)
    }
    if len(set(widths.values())) == 1:
        return f"{' and '.join(widths)}: $N = {next(iter(widths.values()))}$"
    return "; ".join(f"{name}: $N = {width}$" for name, width in widths.items())


def span(values: Iterable[float]) -> str:
    """The one value there is, or the smallest and the largest, as mathematics."""
    different = sorted(set(values))
    ends = different[:1] + different[1:][-1:]
    return r"$ to $".join(f"{value:g}" for value in ends)
