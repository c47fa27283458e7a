"""The networks of figure 4, which its claims and its drawing tell apart."""

from __future__ import annotations

from collections.abc import Iterable

from weightsharing.figures.results import Result
from weightsharing.model.architecture import Kind


def by_network(runs: Iterable[Result]) -> dict[tuple[Kind, int], list[Result]]:
    """The runs of each kind and depth of network, by increasing lambda."""
    networks: dict[tuple[Kind, int], list[Result]] = {}
    for run in sorted(runs, key=lambda run: run.signal):
        networks.setdefault((run.kind, run.run.architecture.steps), []).append(run)
    return networks
