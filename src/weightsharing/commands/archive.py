"""archive: pack files into one zip archive."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.archive import write_archive


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="zip archive")
    parser.add_argument("files", type=Path, nargs="+", help="kept under their relative paths")


def execute(options: argparse.Namespace) -> None:
    """Write the archive."""
    write_archive(options.files, options.output)
