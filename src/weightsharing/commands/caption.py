"""caption: write the caption of a figure."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.figures.captions import caption
from weightsharing.figures.registry import FIGURES
from weightsharing.files import replacing


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("name", choices=FIGURES, help="name of the figure's folder")
    parser.add_argument("output", type=Path, help="reStructuredText")
    parser.add_argument(
        "--section", required=True, help="its section as JSON, as `check --section` prints it"
    )
    parser.add_argument("--seed", type=int, required=True, help="root seed")
    parser.add_argument("--scorecard", type=Path, required=True, help="table of all claims")


def execute(options: argparse.Namespace) -> None:
    """Write the caption, with the claims that do not pass."""
    figure = FIGURES[options.name]
    section = figure.read_section(options.section)
    text = caption(figure, section, options.seed, options.scorecard)
    with replacing(options.output) as temporary:
        temporary.write_text(text)
