"""The folder and environment of the workflow, checked before Snakemake fails there with a traceback."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def faults(here: Path, written: Iterable[str]) -> list[str]:
    """Why the workflow cannot run in the folder ``here``, a line each.

    written: the folders below it that the workflow writes to; they need not exist.
    """
    lines = []
    if set("{}") & set(str(here)):
        lines.append(
            f"{here}: has a brace, which Snakemake takes for a wildcard; use another folder"
        )
    for name in written:
        folder = here / name
        while not os.path.lexists(folder):
            folder = folder.parent
        if not folder.is_dir():
            lines.append(f"{folder}: not a folder, but the workflow writes to {name}/")
        elif not os.access(folder, os.W_OK | os.X_OK):
            lines.append(f"{folder}: not writable, but the workflow writes to {name}/")
    return lines


def search_first(variable: str, folder: str) -> None:
    """Put a folder in front of those that a variable of the environment, such as PATH, lists."""
    listed = os.environ.get(variable, "").split(os.pathsep)
    os.environ[variable] = os.pathsep.join(dict.fromkeys([folder, *filter(None, listed)]))


def use_temporary_folder() -> None:
    """Make TMPDIR the folder that Python found usable: Snakemake's scheduler takes it unseen."""
    os.environ["TMPDIR"] = tempfile.gettempdir()
