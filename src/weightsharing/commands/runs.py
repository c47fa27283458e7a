"""runs: list every run with its sampler, diagnostics, wall time and commit."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.listing import page, table
from weightsharing.figures.results import read_results
from weightsharing.figures.tables import write_page, write_table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="table of tab-separated values")
    parser.add_argument("--page", type=Path, help="the same as HTML")
    parser.add_argument("--results", type=Path, nargs="+", required=True, help="NetCDF files")


def execute(options: argparse.Namespace) -> None:
    """Read the files and write the table."""
    runs = table(read_results(options.results))
    write_table(runs, options.output)
    if options.page is not None:
        write_page(page(runs), options.page)
