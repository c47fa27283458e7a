"""resolve: write the YAML file of one run."""

from __future__ import annotations

import argparse
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from weightsharing.errors import ConfigError
from weightsharing.records import Run, Transition
from weightsharing.storage import explain, write_record


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "parameters", help="the run as JSON; `check --json` prints those of a config"
    )
    parser.add_argument("output", type=Path, help="YAML file to write")


def execute(options: argparse.Namespace) -> None:
    """Validate the parameters and write them."""
    adapter: TypeAdapter[Run | Transition] = TypeAdapter(Run | Transition)
    try:
        record = adapter.validate_json(options.parameters)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(error))) from error
    write_record(record, options.output)
