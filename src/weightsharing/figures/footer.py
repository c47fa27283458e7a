"""The footer of a figure: N, preset, and in red the runs that did not converge."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from matplotlib.figure import Figure

from weightsharing.figures.convergence import failures
from weightsharing.figures.results import Result
from weightsharing.figures.style import SAMPLER_NAMES, write_footer


def footer(figure: Figure, preset: str, runs: Sequence[Result], *measures: str) -> None:
    """Write N, preset and the runs that did not converge at the lower edge of a figure.

    measures: as of ``convergence.failures``.
    """
    write_footer(figure, f"{sizes(runs)}; preset {preset}", failed=failures(runs, *measures))


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
