"""YAML without its traps: refuses all that could be read in two ways, and files too large to check.

YAML keeps the last of two equal keys, reads 1:30 as 90 and 0777 as 511, and lets a few lines stand for
billions of values. Every fault is one line that names the line of the file.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

# More than any sensible configuration has. These keep every check within a few seconds.
LARGEST_TEXT = 2**20
MOST_VALUES = 60_000
DEEPEST = 50
LONGEST_NUMBER = 60

_NUMBER = re.compile(
    r"[-+]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][-+]?\d+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_TAG = "tag:yaml.org,2002:"
_TEXT, _MERGE, _BOOLEAN = f"{_TAG}str", f"{_TAG}merge", f"{_TAG}bool"
_NUMBERS = (f"{_TAG}int", f"{_TAG}float")
_PLAIN = {_TEXT, _MERGE, _BOOLEAN, *_NUMBERS, *(_TAG + name for name in ("null", "map", "seq"))}


class StrictError(ValueError):
    """A fault of a YAML text: one line."""


# The parser in C is ten times faster. Not every installation of PyYAML has it.
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """The safe loader, with dates as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def parse(text: str) -> Any:  # noqa: ANN401
    """The content of a YAML text. Raises StrictError."""
    if len(text) > LARGEST_TEXT:
        raise StrictError(f"has {len(text)} characters; at most {LARGEST_TEXT} are read")
    try:
        _refuse_large(text)
        loader = _Loader(text)
        node = loader.get_single_node()
        _refuse_ambiguous(node)
        return None if node is None else loader.construct_document(node)
    except yaml.YAMLError as error:
        raise StrictError(f"not YAML: {' '.join(str(error).split())}") from error


def _refuse_large(text: str) -> None:
    """Counts values, with each alias replaced by what it stands for, and depth. Without recursion."""
    # For each open collection: its anchor, and the values and levels found in it.
    opened: list[tuple[str | None, int, int]] = [(None, 0, 0)]
    sizes: dict[str, tuple[int, int]] = {}
    for event in yaml.parse(text, Loader=_Loader):
        mark: Any = event.start_mark
        line = mark.line + 1
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append((anchor, 1, 1))
            sizes.pop(anchor or "", None)
            size = (0, 0)
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, *found = opened.pop()
            size = (found[0], found[1])
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == name for name, *_ in opened):
                raise StrictError(f"line {line}: *{anchor} stands inside what it names")
            size = sizes.get(anchor or "", (1, 0))
        elif isinstance(event, yaml.ScalarEvent):
            size = (1, 0)
        else:
            continue
        if anchor is not None and size[0] and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = size
        outer, values, levels = opened[-1]
        opened[-1] = (outer, values + size[0], max(levels, 1 + size[1]))
        if sum(values for _, values, _ in opened) > MOST_VALUES:
            raise StrictError(
                f"line {line}: more than {MOST_VALUES} values, aliases counted in full"
            )
        if len(opened) - 1 + size[1] > DEEPEST:
            raise StrictError(f"line {line}: nested more than {DEEPEST} levels deep")


def _refuse_ambiguous(node: yaml.Node | None) -> None:
    """Refuses repeated keys, keys that are not text, unusual tags and numbers."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        line = one.start_mark.line + 1
        if one.tag not in _PLAIN:
            raise StrictError(f"line {line}: tag {one.tag}: not allowed")
        if isinstance(one, yaml.MappingNode):
            _refuse_keys(one)
            waiting += [value for _, value in one.value]
        elif isinstance(one, yaml.SequenceNode):
            waiting += one.value
        elif one.tag in _NUMBERS:
            if len(one.value) > LONGEST_NUMBER or not _NUMBER.fullmatch(one.value):
                raise StrictError(
                    f"line {line}: got {one.value[:40]}; write a number in decimal digits, or quote it"
                )
        elif one.tag == _BOOLEAN and one.value.lower() not in _Loader.bool_values:
            raise StrictError(f"line {line}: got {one.value}; write true or false")


def _refuse_keys(node: yaml.MappingNode) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.tag not in (_TEXT, _MERGE):
            shown = key.value if isinstance(key, yaml.ScalarNode) else "a list or a mapping"
            raise StrictError(f"line {line}: key {shown}: must be text")
        if key.value in lines:
            raise StrictError(f"line {line}: key {key.value}: also in line {lines[key.value]}")
        lines[key.value] = line
