"""fig4: draw figure 4."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.fig4.plot import draw
from weightsharing.figures.style import save
from weightsharing.files import read_dataset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, nargs="+", help="figure; each ending names a format")
    parser.add_argument("--transitions", type=Path, nargs="+", required=True, help="NetCDF files")
    parser.add_argument("--measures", type=Path, nargs="+", required=True, help="NetCDF files")


def execute(options: argparse.Namespace) -> None:
    """Read the measures and draw them."""
    figure = draw(
        [read_dataset(path, "transition") for path in options.transitions],
        [read_dataset(path, "measures") for path in options.measures],
    )
    save(figure, *options.output)
