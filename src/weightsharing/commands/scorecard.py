"""scorecard: judge every claim of the captions."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.results import read_results
from weightsharing.figures.scorecard import page, scorecard, table
from weightsharing.figures.tables import write_page, write_table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="table of tab-separated values")
    parser.add_argument("--page", type=Path, help="the same as HTML")
    parser.add_argument(
        "--results", type=Path, nargs="*", default=[], help="measures and transitions, NetCDF"
    )


def execute(options: argparse.Namespace) -> None:
    """Read the results that exist, judge and write."""
    claims = scorecard(read_results(options.results))
    write_table(table(claims), options.output)
    if options.page is not None:
        write_page(page(claims), options.page)
