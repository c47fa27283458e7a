"""Frozen parameter records: strict types, no unknown keys, and faults explained line by line."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from itertools import islice
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

# Faults of one input that are listed, and the length of a line that lists one.
MOST_LINES = 20
LONGEST_LINE = 300
# Longer lists take too long to check. The sets of figure 5 are the longest that make sense.
MOST_ITEMS = 1000
MOST_SETS = 3000


def number(value: object) -> object:
    """A text that is a number as this number, everything else unchanged.

    YAML makes text of 1e-1, and Snakemake of nested numbers on its command line.
    """
    if not isinstance(value, str) or len(value) > 60:
        return value
    if re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", value):
        return int(value)
    decimal = re.fullmatch(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?", value)
    return float(value) if decimal else value


Number = BeforeValidator(number)

# The upper bound is far beyond anything sensible; it keeps powers and ratios within float64.
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False), Number]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), Number]
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False), Number]
Count = Annotated[int, Field(ge=1), Number]
Times = Annotated[tuple[Count, ...], Field(min_length=1, max_length=MOST_ITEMS)]

# Two steps per period are the fastest oscillation that the steps resolve.
Period = Annotated[float, Field(ge=2, le=1e9, allow_inf_nan=False), Number]


class Record(BaseModel):
    """Base of all parameter records: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def derived_seed(root: int, name: str) -> int:
    """A seed from a root seed and a name: different names are independent of each other."""
    return int.from_bytes(hashlib.sha256(f"{root} {name}".encode()).digest()[:7], "big")


# Pydantic names the member of a union among the keys of a fault. No key of a file has these names; the
# registry of samplers adds its own.
UNION_TAGS: set[str] = {
    "run", "transition", "endpoint", "signals", "sinusoid", "sequence", "gaussian", "arrays", "file",
    "[key]",
}  # fmt: skip


def shortened(value: object) -> str:
    """A value as JSON of at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def listed(lines: Sequence[str], count: int | None = None) -> list[str]:
    """The first lines, each cut to a readable length, and how many more of ``count`` there are."""
    count = len(lines) if count is None else count
    shown = [
        line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 3] + "..." for line in lines
    ]
    if count <= MOST_LINES:
        return shown
    return [*shown[: MOST_LINES - 1], f"and {count - MOST_LINES + 1} more"]


def explain(error: ValidationError, *within: str) -> list[str]:
    """One line for each fault: the key, what it got and what is allowed. See ``listed``.

    within: keys outside of the record.
    """
    faults = error.errors(include_url=False)
    # Pydantic counts only the valid items of a list; an invalid one has its own line.
    inside = {fault["loc"][:end] for fault in faults for end in range(len(fault["loc"]))}
    own = [fault for fault in faults if fault["type"] != "too_short" or fault["loc"] not in inside]
    # Those that are not shown are not put into words: there may be 10^5.
    shown = [_line(fault, _key((*within, *fault["loc"]))) for fault in islice(own, MOST_LINES)]
    return listed(shown, len(own))


def missing(error: ValidationError) -> int:
    """How many keys are missing."""
    return sum(fault["type"] == "missing" for fault in error.errors(include_url=False))


def _key(location: Sequence[str | int]) -> str:
    """The place of a fault in the file, such as "fig4.sampler.width"."""
    before = ("", *location)
    parts = zip(before, location, strict=False)
    # "exact" is a key as well as the name of a sampler; "signals" is one of a task of this name.
    named = [
        part
        for above, part in parts
        if (above, part) != ("sampler", "exact") and (part not in UNION_TAGS or above == part)
    ]
    return ".".join(map(_shown, named))


def _shown(part: str | int) -> str:
    """A key in a message; in quotes if its end would not be seen."""
    text = str(part)
    return text if text == text.strip() and text else repr(text)


def _line(fault: Any, key: str) -> str:  # noqa: ANN401 - Pydantic's ErrorDetails
    kind, got = fault["type"], shortened(fault["input"])
    inner, outer = (f"{key}.", f"{key}: ") if key else ("", "")
    message = fault["msg"].removeprefix("Value error, ")
    if kind == "value_error":
        # The record's own checks name the key and the value themselves.
        return f"{inner}{message}"
    if kind == "json_invalid":
        return f"{outer}got {got}; want JSON, but {fault['ctx']['error']}"
    if kind == "extra_forbidden":
        return f"{key}: unknown key"
    if kind == "missing":
        return f"{key}: missing"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        said = fault["ctx"]
        tag = inner + said["discriminator"].strip("'")
        if kind == "union_tag_not_found":
            return f"{tag}: missing"
        got = shortened(fault["input"][said["discriminator"].strip("'")])
        return f"{tag}: got {got}; must be one of {said['expected_tags']}"
    return f"{outer}got {got}; {message[0].lower()}{message[1:]}"
