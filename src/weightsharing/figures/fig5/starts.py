"""Where the RNNs of figure 5 start: those of the figure in the theory's phase, others untrained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from weightsharing.figures.fig5.config import UNTRAINED
from weightsharing.figures.results import Result, Results
from weightsharing.figures.statistics import by_supervised_count


def parted(results: Results) -> tuple[Results, list[Result]]:
    """The results of the figure, and those of the RNNs that start untrained."""
    apart = [run for run in results.runs if _is_untrained(run)]
    others = tuple(run for run in results.runs if not _is_untrained(run))
    return Results(others, results.scans), apart


def _is_untrained(run: Result) -> bool:
    return run.name.partition(" ")[0].endswith(f"/{UNTRAINED}")


def chains_by_count(runs: Sequence[Result]) -> dict[int, tuple[int, int]]:
    """``chains_in_phase`` of the sets of each number of supervised steps."""
    return {count: chains_in_phase(sets) for count, sets in by_supervised_count(runs).items()}


def chains_in_phase(runs: Iterable[Result]) -> tuple[int, int]:
    """How many chains are nearest to the theory's point of lowest action, and how many there are."""
    nearest = np.concatenate([run.array("nearest_point") for run in runs])
    return int((nearest == 0).sum()), nearest.size
