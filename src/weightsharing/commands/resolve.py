"""resolve: write the YAML file of one run, and its task."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from weightsharing.errors import ConfigError
from weightsharing.files import join, task_dataset, write_dataset, write_record
from weightsharing.model.record import explain
from weightsharing.model.tasks import make_task
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "parameters", help="the run as JSON; `check --json` prints those of a config"
    )
    parser.add_argument("output", type=Path, help="YAML file to write")
    parser.add_argument("--task", type=Path, help="inputs and targets to write as well, NetCDF")


def execute(options: argparse.Namespace) -> None:
    """Validate the parameters and write them, and the tasks of the run's members."""
    adapter: TypeAdapter[Run | Transition] = TypeAdapter(Run | Transition)
    try:
        record = adapter.validate_json(options.parameters)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error
    if options.task is not None:
        if not isinstance(record, Run):
            raise ConfigError(f"{record.id}: a scan of the theory has no task")
        tasks = [make_task(member.task, member.architecture.steps) for member in record.members]
        dataset = join([task_dataset(task) for task in tasks], record.member_names)
        write_dataset(dataset, options.task, "task", record)
    write_record(record, options.output)
