"""Checks of the folder that the workflow runs in, before Snakemake fails there with a traceback."""

from __future__ import annotations

import os
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
