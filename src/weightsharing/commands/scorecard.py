"""scorecard: judge every claim of the captions."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from weightsharing.figures.claims import VERDICTS, Claim, Verdict
from weightsharing.figures.pages import Cell, Table, table_page, write_page
from weightsharing.figures.results import read_results
from weightsharing.figures.scorecard import scorecard, write_table
from weightsharing.figures.statistics import FALSE_ALARM

COLUMNS = (
    "panel", "claim", "verdict", "quantity", "theory", "measured", "standard error", "criterion",
    "explanation", "id",
)  # fmt: skip
LOOKS: dict[Verdict, tuple[str, str]] = {
    "pass": ("\N{CHECK MARK}", "good"),
    "fail": ("\N{MULTIPLICATION X}", "bad"),
    "not converged": ("\N{WHITE CIRCLE}", "open"),
    "no data": ("\N{EN DASH}", "open"),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="table of tab-separated values")
    parser.add_argument("--page", type=Path, help="the same as HTML")
    for name in ("measures", "transitions"):
        parser.add_argument(f"--{name}", type=Path, nargs="*", default=[], help="NetCDF files")


def execute(options: argparse.Namespace) -> None:
    """Read what there is, judge and write."""
    rows = scorecard(read_results([*options.measures, *options.transitions]))
    write_table(rows, options.output)
    if options.page is not None:
        write_page(page(rows), options.page)


def page(rows: Sequence[Claim]) -> str:
    """The rows as HTML, one table for each figure."""
    tables = []
    for figure in sorted({row.figure for row in rows}):
        own = [row for row in rows if row.figure == figure]
        tables.append(
            Table(f"Figure {figure}: {summary(own)}", COLUMNS, [_cells(row) for row in own])
        )
    introduction = [
        f"{summary(rows)}.",
        "Every claim of the captions of figures 2 to 5, beside what was computed and measured. Theory "
        "is that at the networks' own N where the 1/N term is known; the explanation then gives the "
        "value for N to infinity. A criterion that compares measurements refuses a correct program "
        f"with probability {FALSE_ALARM:.1%} unless it says otherwise, corrected for the number of "
        "values compared. What rests on a run that did not converge is never a pass.",
    ]
    return table_page("Scorecard", introduction, tables)


def summary(rows: Sequence[Claim]) -> str:
    """How many rows have each verdict."""
    counts = Counter(row.verdict for row in rows)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{words}, of {len(rows)} claims"


def _cells(row: Claim) -> list[Cell]:
    sign, look = LOOKS[row.verdict]
    return [
        Cell(row.panel),
        Cell(row.claim, "words"),
        Cell(f"{sign} {row.verdict}", f"verdict {look}"),
        Cell(row.quantity, "small words"),
        *(
            Cell(_number(value), "number")
            for value in (row.theory, row.measured, row.standard_error)
        ),
        Cell(row.criterion, "small words"),
        Cell(row.explanation, "small words"),
        Cell(row.id, "small"),
    ]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
