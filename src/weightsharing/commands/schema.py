"""schema: print the JSON schema of the configuration, for editors and for reference."""

from __future__ import annotations

import argparse
import json

from weightsharing.config import schema


def arguments(parser: argparse.ArgumentParser) -> None:
    """No arguments."""


def execute(options: argparse.Namespace) -> None:
    """Print the schema; workflow/schemas/config.schema.json is its output."""
    print(json.dumps(schema(), indent=2))
