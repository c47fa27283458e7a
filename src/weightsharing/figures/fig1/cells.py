"""The networks of figure 1, which its claims and its drawing tell apart."""

from __future__ import annotations

from weightsharing.figures.fig1.config import Part
from weightsharing.figures.results import Result, Results
from weightsharing.model.architecture import Kind


def cells(results: Results, part: Part, kind: Kind) -> list[Result]:
    """The runs of one network on the task of a panel, by increasing lambda."""
    runs = [run for run in results.runs if run.name.partition(" ")[0].endswith(f"/{kind}-{part}")]
    return sorted(runs, key=lambda run: run.signal)
