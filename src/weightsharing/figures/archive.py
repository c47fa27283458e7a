"""One zip archive of the files that a reader gets."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

from weightsharing.errors import FileError
from weightsharing.files import read_bytes, replacing


def write_archive(files: Sequence[Path], output: Path) -> None:
    """Pack files under their relative paths, without dates: the same files give the same archive.

    Raises FileError if a path leads out of the current folder, or if a file cannot be read.
    """
    with (
        replacing(output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in files:
            if path.is_absolute() or ".." in path.parts:
                raise FileError(f"{path}: want a path relative to, and within, the current folder")
            entry = zipfile.ZipInfo(path.as_posix())
            archive.writestr(entry, read_bytes(path), zipfile.ZIP_DEFLATED)
