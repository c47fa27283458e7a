"""check: validate a configuration and list its runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.config import load, runs
from weightsharing.figures.registry import FIGURES


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, nargs="+", help="config.yaml and presets over it")
    parser.add_argument("--json", action="store_true", help="print each run's parameters")
    parser.add_argument("--section", choices=FIGURES, help="print a figure's section as JSON")


def execute(options: argparse.Namespace) -> None:
    """Print the id, or the parameters, of each run; or one figure's section."""
    config = load(options.config)
    if options.section is not None:
        print(config.section(options.section).model_dump_json())
        return
    for run in runs(config).values():
        print(run.model_dump_json() if options.json else run.id)
