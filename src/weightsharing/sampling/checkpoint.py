"""Checkpoints: NumPy's npz files, sealed with the SHA-256 of all their bytes.

A checkpoint belongs to a key, a hash of all that the draws depend on. A damaged file, or one of another
key, is not used, with a warning. A file of another kind is refused. That of a finished chain stays until
its measures are there: if the samples are lost, nothing is drawn anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from weightsharing.errors import FileError
from weightsharing.files import replacing
from weightsharing.sampling.run import Run

log = logging.getLogger(__name__)

Arrays = dict[str, Any]  # names to NumPy arrays

# The seal is the last bytes of a file, after the end of the zip archive.
SEAL_BYTES = 64


def save_checkpoint(path: Path, key: str, step: int, arrays: Arrays) -> None:
    """Write arrays atomically. Raises FileError if that fails.

    NumPy writes array after array, without a second copy in memory.
    """
    with replacing(path) as temporary, temporary.open("w+b") as file:
        np.savez(file, key=np.array(key), step=np.array(step), **arrays)
        file.seek(0)
        file.write(hashlib.file_digest(file, "sha256").hexdigest().encode())


def load_checkpoint(path: Path, key: str) -> tuple[int, Arrays] | None:
    """Step and arrays of a checkpoint; None, with a warning, if it is damaged or of another key.

    Raises FileError if the file is none: the chains would replace it.
    """
    refuse_foreign(path)
    try:
        content = np.memmap(path, mode="r").data
        digest = hashlib.sha256(content[:-SEAL_BYTES]).hexdigest()
        if digest.encode() != bytes(content[-SEAL_BYTES:]):
            raise ValueError("not as it was written")
        with np.load(path) as stored:
            arrays = dict(stored)
    except (OSError, ValueError):
        log.warning("%s: damaged; starting anew", path)
        return None
    if str(arrays.pop("key")) != key:
        log.warning("%s: belongs to other parameters or code; starting anew", path)
        return None
    return int(arrays.pop("step")), arrays


def refuse_foreign(path: Path) -> None:
    """Raise FileError if there is a file that is no checkpoint."""
    if path.exists() and _is_foreign(path):
        raise FileError(f"{path}: not a checkpoint, but another file; give another name")


def _is_foreign(path: Path) -> bool:
    """Whether a file is no checkpoint, not even a damaged one: it may be dear to somebody."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        head = file.read(64)
    if not head.strip(b"\0") or b"key.npy" in head:
        return False
    if zipfile.is_zipfile(path):
        return "key.npy" not in zipfile.ZipFile(path).namelist()
    return not b"PK".startswith(head[:2])


class Checkpoint:
    """The checkpoint of a batch of chains, written now and then; without a path nothing is kept.

    step: of the file, None if there is none.
    """

    def __init__(self, path: Path | None, key: str, seconds: float) -> None:
        self.path, self.key, self.seconds = path, key, seconds
        self.step: int | None = None
        self._written = time.monotonic()

    def load(self) -> tuple[int, Arrays] | None:
        """Step and arrays of the file, if there is one that belongs to these chains."""
        if self.path is None or not self.path.exists():
            return None
        found = load_checkpoint(self.path, self.key)
        if found is not None:
            self.step, _ = found
        return found

    def is_due(self) -> bool:
        """Whether the time between two checkpoints has passed."""
        return self.path is not None and time.monotonic() - self._written >= self.seconds

    def save(self, step: int, arrays: Arrays) -> None:
        """Replace the file. Raises FileError if that fails."""
        if self.path is not None:
            save_checkpoint(self.path, self.key, step, arrays)
            self.step = step
            self._written = time.monotonic()

    def outlook(self) -> str:
        """What a rerun will do."""
        return (
            "a rerun starts anew" if self.step is None else f"a rerun resumes at step {self.step}"
        )


def batch_names(run: Run, size: int) -> list[str]:
    """A batch of one member has its name, and the only batch the run's; others are numbered."""
    batches = [run.members[first : first + size] for first in range(0, len(run.members), size)]
    return [
        members[0].id
        if len(members) == 1
        else f"{run.id} group {number} of {len(batches)}"
        if len(batches) > 1
        else run.id
        for number, members in enumerate(batches, start=1)
    ]


def checkpoint_of(path: Path, run: Run, name: str) -> Path:
    """The checkpoint of a batch: ``path`` with what the batch's name adds to the run's."""
    return path.with_name(path.stem + name.removeprefix(run.id).replace(" ", "-") + path.suffix)


def remove_checkpoints(run: Run, path: Path) -> None:
    """Remove the checkpoints of all batches of a run, whatever their size was, and no other file.

    What cannot be removed stays: it only takes space.
    """
    sizes = range(1, len(run.members) + 1)
    for name in {name for size in sizes for name in batch_names(run, size)}:
        found = checkpoint_of(path, run, name)
        with contextlib.suppress(OSError):
            if found.exists() and not _is_foreign(found):
                found.unlink()
