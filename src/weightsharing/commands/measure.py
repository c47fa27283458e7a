"""measure: compare theory and samples of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

import xarray as xr

from weightsharing.files import join, read_dataset, read_record, read_tasks, split, write_dataset
from weightsharing.measures.compare import compare
from weightsharing.sampling.run import Run


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
    tasks = read_tasks(options.task)
    samples = split(read_dataset(options.samples, "samples"))
    theories: list[xr.Dataset] | list[None] = [None] * len(tasks)
    if options.theory is not None:
        theories = split(read_dataset(options.theory, "theory"))
    measures = [
        compare(*member) for member in zip(run.members, tasks, theories, samples, strict=True)
    ]
    write_dataset(join(measures, run.member_names), options.output, "measures", run)
