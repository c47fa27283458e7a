"""theory: solve the kernel theory of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

import xarray as xr

from weightsharing.errors import ConfigError
from weightsharing.files import join, read_record, read_tasks, write_dataset
from weightsharing.sampling.run import Run
from weightsharing.theory.solve import solve


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("task", type=Path, help="task, NetCDF")
    parser.add_argument("output", type=Path, help="stationary points, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Find all stationary points of every member and write them by increasing action."""
    run = read_record(options.run, Run)
    solutions: list[xr.Dataset] = []
    for member, task in zip(run.members, read_tasks(options.task), strict=True):
        try:
            solutions.append(solve(task, member.architecture, member.kappa))
        except ConfigError as error:
            raise ConfigError(f"{member.id}: {error}") from error
    write_dataset(join(solutions, run.member_names), options.output, "theory", run)
