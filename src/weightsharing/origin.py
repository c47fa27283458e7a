"""Where results come from: the version and the commit of the code."""

from __future__ import annotations

import subprocess
from pathlib import Path

VERSION = "0.1.0"


def git_commit() -> str:
    """The commit of the source tree, with a + if the tree has changes; "unknown" without git."""
    # Jobs that end together must not block each other, and a killed job must not leave a lock.
    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch"]
    try:
        status = subprocess.run(
            [*command, "--untracked-files=no"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    (commit,) = (line.split()[2] for line in status if line.startswith("# branch.oid"))
    changed = any(not line.startswith("#") for line in status)
    return commit[:12] + ("+" if changed else "")
