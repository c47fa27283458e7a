"""Frozen parameter records: strict types, no unknown keys, and faults explained line by line."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

# The upper bound is far beyond anything sensible; it keeps powers and ratios within float64.
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Times = Annotated[tuple[Count, ...], Field(min_length=1)]

# Two steps per period are the fastest oscillation that the steps resolve.
Period = Annotated[float, Field(ge=2, le=1e9, allow_inf_nan=False)]


class Record(BaseModel):
    """Base of all parameter records: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def derived_seed(root: int, name: str) -> int:
    """A seed from a root seed and a name: different names are independent of each other."""
    return int.from_bytes(hashlib.sha256(f"{root} {name}".encode()).digest()[:7], "big")


# Pydantic names the member of a union among the keys of a fault. No key of a file has these names; the
# registry of samplers fills them in.
UNION_TAGS: set[str] = set()


def shortened(value: object) -> str:
    """A value as JSON of at most 60 characters."""
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."


def explain(error: ValidationError) -> list[str]:
    """One line for each fault: the key, what it got and what is allowed."""
    lines = []
    faults = error.errors()
    for fault in faults:
        inside = [other for other in faults if other["loc"][: len(fault["loc"])] == fault["loc"]]
        if fault["type"] == "too_short" and len(inside) > 1:
            # Pydantic counts only the valid items; the invalid one has its own line.
            continue
        key = ".".join(str(part) for part in fault["loc"] if part not in UNION_TAGS)
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "value_error":
            # The record's own checks name the key and the value themselves.
            lines.append(f"{key}.{message}" if key else message)
        elif fault["type"] == "extra_forbidden":
            lines.append(f"{key}: unknown key")
        elif fault["type"] == "missing":
            lines.append(f"{key}: missing")
        elif fault["type"] == "union_tag_not_found":
            tag = fault["ctx"]["discriminator"].strip("'")
            lines.append(f"{key}.{tag}: missing")
        elif fault["type"] == "union_tag_invalid":
            said = fault["ctx"]
            tag = said["discriminator"].strip("'")
            got = json.dumps(said["tag"])
            lines.append(f"{key}.{tag}: got {got}; must be one of {said['expected_tags']}")
        else:
            lines.append(
                f"{key}: got {shortened(fault['input'])}; {message[0].lower()}{message[1:]}"
            )
    return lines
