"""All rows of the scorecard, by figure and panel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from weightsharing.records import Task
from weightsharing.scorecard import figure2, figure3, figure4, figure5
from weightsharing.scorecard.claims import Claim, Evidence, figure_of, members

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
