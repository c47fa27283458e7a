"""figure: draw a figure."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.registry import FIGURES
from weightsharing.figures.results import read_results
from weightsharing.figures.style import save


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", choices=FIGURES, help="name of the figure's folder")
    parser.add_argument("output", type=Path, nargs="+", help="figure; each ending names a format")
    parser.add_argument(
        "--section", required=True, help="its section as JSON, as `check --section` prints it"
    )
    parser.add_argument(
        "--results", type=Path, nargs="+", required=True, help="measures and transitions, NetCDF"
    )


def execute(options: argparse.Namespace) -> None:
    """Read the results and draw them."""
    figure = FIGURES[options.name]
    section = figure.read_section(options.section)
    save(figure.module("plot").draw(read_results(options.results), section), *options.output)
