"""Values that a user gives to the library: numbers, counts and records, or refusals of one line."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from weightsharing.errors import ConfigError
from weightsharing.files import parse_record
from weightsharing.model.record import Record, shortened

AnyRecord = TypeVar("AnyRecord", bound=Record)


def number(name: str, value: object) -> float:
    """A finite real number. Raises ConfigError, naming it, for anything else."""
    if isinstance(value, (bool, str, bytes)) or not np.isscalar(value):
        raise ConfigError(f"{name}: got {shortened(value)}, want a number")
    try:
        real = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: got {shortened(value)}, want a number") from error
    if not math.isfinite(real):
        raise ConfigError(f"{name}: got {real}, want a finite number")
    return real


def positive(name: str, value: object) -> float:
    """A number above 0. Raises ConfigError, naming it, for anything else."""
    real = number(name, value)
    if real <= 0:
        raise ConfigError(f"{name}: got {real:g}, must be positive")
    return real


def count(name: str, value: object, least: int = 1) -> int:
    """A whole number of at least ``least``. Raises ConfigError, naming it, for anything else."""
    try:
        whole = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise ConfigError(f"{name}: got {shortened(value)}, want a whole number") from error
    if isinstance(value, bool) or whole < least:
        raise ConfigError(
            f"{name}: got {shortened(value)}, want a whole number of at least {least}"
        )
    return whole


def numbers(name: str, values: object) -> tuple[float, ...]:
    """One finite number or more. Raises ConfigError, naming the list, for anything else."""
    if isinstance(values, (str, bytes, Mapping)) or not isinstance(values, (Sequence, np.ndarray)):
        raise ConfigError(f"{name}: got {shortened(values)}, want a list of numbers")
    if len(values) == 0:
        raise ConfigError(f"{name}: is empty, want at least one number")
    return tuple(number(f"{name}[{place}]", value) for place, value in enumerate(values))


def instance(name: str, value: object, kind: type, maker: str) -> None:
    """Raises ConfigError unless ``value`` is of this type; maker: what makes such values."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name}: got {type(value).__name__}, want what {maker} makes")


def flag(name: str, value: object) -> bool:
    """True or False. Raises ConfigError, naming it, for anything else."""
    if not isinstance(value, (bool, np.bool_)):
        raise ConfigError(f"{name}: got {shortened(value)}, want True or False")
    return bool(value)


def plain(value: object) -> object:
    """NumPy's scalars as Python's; everything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def record(kind: type[AnyRecord], fields: Mapping[str, Any]) -> AnyRecord:
    """A record of these fields. Raises ConfigError with a line for each fault, naming its key."""
    try:
        text = json.dumps({key: plain(value) for key, value in fields.items()})
    except TypeError as error:
        wrong = next(key for key, value in fields.items() if not _is_json(plain(value)))
        raise ConfigError(f"{wrong}: got {shortened(fields[wrong])}, not a plain value") from error
    made: AnyRecord = parse_record(text, kind)
    return made


def _is_json(value: object) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
