"""archive: pack files into one zip archive."""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path

from weightsharing.errors import FileError
from weightsharing.files import replacing


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("output", type=Path, help="zip archive")
    parser.add_argument("files", type=Path, nargs="+", help="kept under their relative paths")


def execute(options: argparse.Namespace) -> None:
    """Write the archive, without dates: the same files give the same archive."""
    with (
        replacing(options.output) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for path in options.files:
            if path.is_absolute() or ".." in path.parts:
                raise FileError(f"{path}: want a path relative to, and within, the current folder")
            try:
                content = path.read_bytes()
            except OSError as error:
                raise FileError(f"{path}: cannot be read: {error.strerror}") from error
            archive.writestr(zipfile.ZipInfo(path.as_posix()), content, zipfile.ZIP_DEFLATED)
