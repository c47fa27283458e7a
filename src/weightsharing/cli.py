"""The command line: ``python -m weightsharing VERB ...``, one verb for each step of the pipeline."""

from __future__ import annotations

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence

from weightsharing import __version__
from weightsharing.errors import UserError

# Each verb is a module of weightsharing.commands, imported only when it is called: drawing a figure
# does not load PyTorch, and a rule depends on the code of its own verb only.
VERBS = {
    "check": "validate a configuration and list its runs",
    "schema": "print the JSON schema of the configuration",
    "resolve": "write the YAML file of one run, and its task",
    "theory": "solve the kernel theory of a run",
    "transition": "scan the theory of one depth over the signal strength",
    "sample": "train the networks of a run",
    "measure": "compare theory and samples of a run",
    "figure": "draw a figure",
    "scorecard": "judge every claim of the captions",
    "caption": "write the caption of a figure",
    "runs": "list every run with its diagnostics and origin",
    "archive": "pack files into one zip archive",
    "costs": "print the time and memory of each figure",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. Returns 0, or 1 after printing what the user has to mend, one line each.

    After Ctrl-C 130, as a shell has it, unless the verb makes something of it.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("weightsharing").setLevel(logging.INFO)
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = argparse.ArgumentParser(
        prog="python -m weightsharing",
        description="Kernel theory and Langevin training of RNNs and DNNs.",
        epilog="`python -m weightsharing VERB --help` explains a verb.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    chosen = next((word for word in words if not word.startswith("-")), None)
    command = None
    for verb, summary in VERBS.items():
        subparser = subparsers.add_parser(verb, help=summary, description=summary)
        if verb == chosen:
            command = importlib.import_module(f"weightsharing.commands.{verb}")
            command.arguments(subparser)
    options = parser.parse_args(words)
    assert command is not None  # argparse has refused anything but a known verb
    try:
        command.execute(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0
