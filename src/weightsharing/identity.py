"""What a file belongs to: the parameters and the code that made it.

Each file of results, and each figure, carries its identity as text that is found without opening it.
The workflow compares it with that of the present configuration and code, and makes what differs anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from weightsharing.model.record import Record, shortened

# Contents that all samplers, widths and seeds of a condition share, and the keys that they depend on.
_SHARED = ("task", "theory")
_SHARED_KEYS = {"architecture", "kappa", "task"}
_PATTERN = re.compile(rb"parameters ([0-9a-f]{16}) code ([0-9a-f]{16})")
# Bytes at either end of a file in which its identity stands; figures are read whole.
_ENDS = 512
_FIGURES = (".pdf", ".png", ".svg")


class Identity(NamedTuple):
    """Digests of the parameters and of the code behind a file, of 64 bits in hexadecimal each."""

    parameters: str
    code: str

    def __str__(self) -> str:
        """The text that a file carries."""
        return f"parameters {self.parameters} code {self.code}"


def identity(content: str, record: Record, code: str) -> Identity:
    """The identity of a file of this content that ``record`` and the code of this hash make."""
    parameters = json.dumps(relevant(content, record), sort_keys=True)
    return Identity(_digest(f"{content} {parameters}"), _digest(code))


def relevant(content: str, record: Record) -> dict[str, Any]:
    """The parameters that a file of this content depends on, as JSON has them."""
    keys = _SHARED_KEYS if content in _SHARED else None
    return record.model_dump(mode="json", include=keys)


def difference(content: str, wanted: Record, stored: dict[str, Any]) -> str | None:
    """How the parameters in a file differ from those wanted, in words; None if they do not."""
    return _first_difference(relevant(content, wanted), stored)


def _first_difference(wanted: dict[str, Any], stored: dict[str, Any], path: str = "") -> str | None:
    """The first key whose values differ, with its path, as in "sampler.width = 24 instead of 256"."""
    for key, value in wanted.items():
        other = stored.get(key)
        if other == value:
            continue
        if isinstance(value, dict) and isinstance(other, dict):
            inner = _first_difference(value, other, f"{path}{key}.")
            if inner is not None:
                return inner
        return f"{path}{key} = {shortened(other)} instead of {shortened(value)}"
    return None


def identity_of(path: Path) -> Identity | None:
    """The identity that a file carries; None if it has none or does not exist.

    It is not checked against the file's seal; the verbs that read the file do that.
    """
    try:
        with path.open("rb") as file:
            if path.suffix in _FIGURES:
                text = file.read()
            else:
                text = file.read(_ENDS)
                file.seek(-min(_ENDS, path.stat().st_size), 2)
                text += file.read()
    except OSError:
        return None
    match = _PATTERN.search(text)
    return Identity(*(part.decode() for part in match.groups())) if match else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
