"""costs: print the time and memory of each figure, from the benchmarks that Snakemake wrote."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.costs import costs, table


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("folder", type=Path, help="benchmarks/<preset>")


def execute(options: argparse.Namespace) -> None:
    """Print the table."""
    print(table(costs(options.folder)))
