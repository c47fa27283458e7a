"""measure: compare theory and samples of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.measures import compare
from weightsharing.records import Run
from weightsharing.storage import read_dataset, read_record, read_task, write_dataset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("task", type=Path, help="task, NetCDF")
    parser.add_argument("samples", type=Path, help="samples, NetCDF")
    parser.add_argument("output", type=Path, help="measures, NetCDF")
    parser.add_argument(
        "--theory", type=Path, help="stationary points, NetCDF, where there are any"
    )


def execute(options: argparse.Namespace) -> None:
    """Measure and write."""
    run = read_record(options.run, Run)
    theory = None if options.theory is None else read_dataset(options.theory, "theory")
    samples = read_dataset(options.samples, "samples")
    measures = compare(run, read_task(options.task), theory, samples)
    write_dataset(measures, options.output, "measures", run)
