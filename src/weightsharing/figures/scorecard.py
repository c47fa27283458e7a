"""All rows of the scorecard, by figure and panel, and its table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from weightsharing.errors import FileError
from weightsharing.figures.claims import Claim
from weightsharing.figures.fig2 import claims as figure2
from weightsharing.figures.fig3 import claims as figure3
from weightsharing.figures.fig4 import claims as figure4
from weightsharing.figures.fig5 import claims as figure5
from weightsharing.figures.results import Results
from weightsharing.files import replacing

FIGURES = {"2": figure2, "3": figure3, "4": figure4, "5": figure5}


def scorecard(results: Results) -> list[Claim]:
    """Every claim, whatever files there are: a claim without its data is a row that says so."""
    rows: list[Claim] = []
    for number, figure in FIGURES.items():
        claims = figure.claims(results.of_figure(number))
        rows += sorted(claims, key=lambda row: row.panel)
    return rows


def write_table(rows: Sequence[Claim], path: Path) -> None:
    """Write the rows as tab-separated values, a header first. NaN is an empty cell."""
    with replacing(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file, dialect="excel-tab", lineterminator="\n")
        names = [field.name for field in fields(Claim)]
        writer.writerow(names)
        for row in rows:
            writer.writerow([_cell(getattr(row, name)) for name in names])


def _cell(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return "" if np.isnan(value) else f"{value:.6g}"


def read_table(path: Path) -> list[Claim]:
    """The inverse of ``write_table``. Raises FileError for another table."""
    with path.open(newline="") as file:
        found = list(csv.reader(file, dialect="excel-tab"))
    names = [field.name for field in fields(Claim)]
    if not found or found[0] != names:
        raise FileError(f"{path}: not a scorecard")
    numbers = ("theory", "measured", "standard_error")
    rows = []
    for line in found[1:]:
        values: dict[str, Any] = dict(zip(names, line, strict=True))
        rows.append(Claim(**values | {name: float(values[name] or "nan") for name in numbers}))
    return rows
