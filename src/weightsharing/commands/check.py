"""check: validate a configuration and list its runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.config import load, runs


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("config", type=Path, nargs="+", help="config.yaml and presets over it")
    parser.add_argument("--json", action="store_true", help="print each run's parameters")


def execute(options: argparse.Namespace) -> None:
    """Print the id, or the parameters, of each run."""
    for run in runs(load(options.config)).values():
        print(run.model_dump_json() if options.json else run.id)
