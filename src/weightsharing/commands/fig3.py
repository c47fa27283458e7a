"""fig3: draw figure 3."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from weightsharing.figures.fig3.plot import draw
from weightsharing.figures.results import read_results
from weightsharing.figures.style import save


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, nargs="+", help="figure; each ending names a format")
    parser.add_argument("--measures", type=Path, nargs="+", required=True, help="NetCDF files")


def execute(options: argparse.Namespace) -> None:
    """Read the measures and draw them."""
    section: Any = options
    save(draw(read_results(options.measures), section), *options.output)
