"""Networks at a transition of second order beside their law of m, as claims and plot use them (THEORY 5).

At lambda_c, F(m) grows as m^4, so m is of order N^(-1/4). Around it, the law of m N^(1/4) depends on
x = (lambda / lambda_c - 1) N^(1/2) only, up to corrections of order N^(-1/2), as F(m) and
the 1/N terms are even in m.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from weightsharing.figures.results import Result, Scan
from weightsharing.model.axes import Array

# Exponents of m and of lambda - lambda_c.
OF_M, OF_SIGNAL = 0.25, 0.5
# 1 - <m^4> / (3 <m^2>^2) of p(m) proportional to exp(-const m^4).
UNIVERSAL_BINDER = 1.0 - math.gamma(5 / 4) * math.gamma(1 / 4) / (3.0 * math.gamma(3 / 4) ** 2)


def at_transition(runs: Iterable[Result], scan: Scan) -> list[Result]:
    """The runs at lambda_c, by increasing width."""
    found = [run for run in runs if np.isclose(run.signal, scan.critical_signal, rtol=1e-9)]
    return sorted(found, key=lambda run: run.width)


def around_transition(runs: Iterable[Result]) -> dict[int, list[Result]]:
    """The runs of each width that has several lambdas, by increasing lambda."""
    by_width: dict[int, list[Result]] = {}
    for run in sorted(runs, key=lambda run: (run.width, run.signal)):
        by_width.setdefault(run.width, []).append(run)
    return {width: group for width, group in by_width.items() if len(group) > 1}


def offset(run: Result, scan: Scan) -> float:
    """x = (lambda / lambda_c - 1) N^(1/2)."""
    return float((run.signal / scan.critical_signal - 1.0) * run.width**OF_SIGNAL)


def widths(runs: Sequence[Result]) -> Array:
    """N of each run."""
    return np.array([run.width for run in runs], dtype=float)
