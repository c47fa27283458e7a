"""Where results come from: the version and the commit of the code."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

VERSION = "0.1.0"
FOLDER = Path(__file__).parent


def git_commit() -> str:
    """The commit of the source tree, with a + if the tree has changes.

    Without git, or if this package is no part of the repository that it lies in, as when it is installed
    in an environment inside one: "source " and a hash of its files.
    """
    # Jobs that end together must not block each other, and a killed job must not leave a lock.
    git = ["git", "--no-optional-locks"]
    try:
        _lines([*git, "ls-files", "--error-unmatch", Path(__file__).name])
        status = _lines([*git, "status", "--porcelain=v2", "--branch", "--untracked-files=no"])
        (commit,) = (line.split()[2] for line in status if line.startswith("# branch.oid"))
    except (OSError, ValueError, subprocess.CalledProcessError):
        return f"source {source_hash()}"
    changed = any(not line.startswith("#") for line in status)
    return commit[:12] + ("+" if changed else "")


def commit_in_words() -> str:
    """Such as "commit 0123456789ab", or "source 0123456789ab" without one."""
    commit = git_commit()
    return commit if commit.startswith("source ") else f"commit {commit}"


def source_hash() -> str:
    """A hash of the package's source files and their places, 12 hexadecimal digits."""
    digest = hashlib.sha256()
    for path in sorted(FOLDER.rglob("*.py")):
        digest.update(f"{path.relative_to(FOLDER)} {path.stat().st_size} ".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _lines(command: list[str]) -> list[str]:
    """What a command prints, run in the package's folder."""
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
