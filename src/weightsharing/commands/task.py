"""task: make the inputs and targets of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from weightsharing.records import Run
from weightsharing.storage import join, read_record, task_dataset, write_dataset
from weightsharing.tasks import make_task


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("run", type=Path, help="resolved run, YAML")
    parser.add_argument("output", type=Path, help="task, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Make the task and write it."""
    run = read_record(options.run, Run)
    tasks = [make_task(member.task, member.architecture.steps) for member in run.members]
    dataset = join([task_dataset(task) for task in tasks], run.member_names)
    write_dataset(dataset, options.output, "task", run)
