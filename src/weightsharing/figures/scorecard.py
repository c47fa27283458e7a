"""All rows of the scorecard, by figure and panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from weightsharing.figures.claims import Claim, Evidence, figure_of, members
from weightsharing.figures.fig2 import claims as figure2
from weightsharing.figures.fig3 import claims as figure3
from weightsharing.figures.fig4 import claims as figure4
from weightsharing.figures.fig5 import claims as figure5
from weightsharing.model.tasks import Task

FIGURES = {"2": figure2, "3": figure3, "4": figure4, "5": figure5}


def scorecard(
    measures: Sequence[xr.Dataset],
    transitions: Sequence[xr.Dataset],
    tasks: Mapping[str, Sequence[Task]],
) -> list[Claim]:
    """Every claim, whatever files there are: what lacks its data says so.

    measures, transitions: of all figures, in any order. tasks: by the figure's number.
    """
    rows: list[Claim] = []
    for number, figure in FIGURES.items():
        evidence = Evidence(
            measures=members(measures, number),
            transitions=tuple(scan for scan in transitions if figure_of(scan) == number),
            tasks=tuple(tasks.get(number, ())),
        )
        rows += sorted(figure.rows(evidence), key=lambda row: row.panel)
    return rows
