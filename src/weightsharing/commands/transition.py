"""transition: scan the theory of one depth over the signal strength."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.files import read_record, write_dataset
from weightsharing.theory.curves import scan
from weightsharing.theory.scan import Transition


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved transition, YAML")
    parser.add_argument("output", type=Path, help="branches and Landau curves, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Trace the branches, the Landau curves and the finite-width prediction, and write them."""
    transition = read_record(options.run, Transition)
    write_dataset(scan(transition), options.output, "transition", transition)
