"""Seeded damage to configurations and files, and what the commands make of it.

An attempt gives a command one bad input, in a process of its own, and judges the outcome by rules that
do not ask the program: texts are read again by ``written``, results compared with undisturbed ones.
``tests/test_fuzz.py`` makes a few attempts of each kind, ``tests/fuzz`` thousands (`make test-fuzz`).
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import logging
import math
import os
import pickle
import random
import re
import resource
import signal
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import xarray as xr
import yaml
from conftest import ROOT

from weightsharing.cli import main
from weightsharing.figures.registry import FIGURES

OUTCOMES = (
    "refused", "accepted rightly", "wrongly accepted", "wrongly refused", "poor message",
    "traceback", "too slow",
)  # fmt: skip
RIGHT = OUTCOMES[:2]
# Of processor time, which other work on the machine does not change; HANGS is of the clock.
SECONDS, HANGS = 10.0, 100.0
# A message is for a terminal.
LINES, COLUMNS = 20, 400
MEMORY = 2 << 30

Tree = Any
Documents = tuple[bytes, ...]


# Commands import these late; forks shall find them.
for _name in ("config", "theory.solve", "theory.curves", "sampling.chain", "measures.compare"):
    importlib.import_module(f"weightsharing.{_name}")
for _figure in FIGURES.values():
    for _part in ("plot", "claims"):
        _figure.module(_part)


# --- attempts ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command did: exit status, its words, its traceback if there is one, and seconds."""

    status: int = -1
    out: str = ""
    err: str = ""
    traceback: str = ""
    seconds: float = 0.0


def attempt(words: Sequence[object], scratch: Path) -> Said:
    """Run a command in a fork of this process, which may crash, hang or fill the memory."""
    answer = scratch / "answer"
    answer.unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks of processes with threads
        child = os.fork()
    if child == 0:
        _answer([str(word) for word in words], answer)
    begun = time.monotonic()
    while (ended := os.wait4(child, os.WNOHANG))[0] == 0:
        if time.monotonic() - begun > HANGS:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    _, code, used = ended
    waited = time.monotonic() - begun
    seconds = waited if waited > HANGS else used.ru_utime + used.ru_stime
    if answer.exists():
        status, out, err, trace = pickle.loads(answer.read_bytes())
        return Said(status, out, err, trace, seconds)
    return Said(traceback=f"the process ended with status {code}", seconds=seconds)


def _answer(words: list[str], answer: Path) -> None:
    """In the fork: run the command, write what it said and end."""
    out, err, trace, status = io.StringIO(), io.StringIO(), "", -1
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        logging.root.handlers.clear()
        warnings.simplefilter("default")
        limit = psutil.Process().memory_info().vms + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (int(SECONDS) + 1, int(SECONDS) + 2))
        try:
            status = main(words)
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        except BaseException:
            trace = traceback.format_exc()
    temporary = answer.with_suffix(".part")
    temporary.write_bytes(pickle.dumps((status, out.getvalue(), err.getvalue(), trace)))
    temporary.rename(answer)
    os._exit(0)


def judge(said: Said, named: str, fault: Callable[[Said], str]) -> tuple[str, str]:
    """The outcome of an attempt, and why.

    named: a pattern that a refusal has to contain. fault: what is wrong with an accepted input; empty if
    nothing is.
    """
    if said.seconds > SECONDS:
        return "too slow", f"{said.seconds:.0f} s"
    if said.traceback or "Traceback" in said.err:
        return "traceback", said.traceback[-2000:] or said.err[-2000:]
    if said.status == 0:
        why = fault(said)
        return ("wrongly accepted", why) if why else ("accepted rightly", "")
    why = _poor(said, named)
    return ("poor message", why) if why else ("refused", "")


def _poor(said: Said, named: str) -> str:
    """What is wrong with a refusal; empty if nothing is."""
    lines = said.err.splitlines()
    widest = max(map(len, lines), default=0)
    if said.status not in (1, 2):
        return f"exit status {said.status}"
    if not 0 < len(lines) <= LINES or widest > COLUMNS:
        return f"{len(lines)} lines of up to {widest} characters: {said.err[:200]!r}"
    if not re.search(named, said.err):
        return f"names neither file nor key: {said.err[:300]!r}"
    return ""


@dataclass
class Tally:
    """Attempts by kind and outcome. kept: folder for inputs with a bad outcome."""

    kept: Path
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)

    def add(self, kind: str, seed: object, outcome: str, why: str, *inputs: bytes) -> None:
        """Count an attempt; keep its inputs if the outcome is bad."""
        self.counts[kind, outcome] += 1
        if outcome in RIGHT:
            return
        folder = self.kept / re.sub(r"\W+", "-", f"{kind}-{seed}")
        folder.mkdir(parents=True, exist_ok=True)
        for number, content in enumerate(inputs):
            (folder / f"input{number}").write_bytes(content)
        (folder / "why").write_text(f"{outcome}: {why}\n")
        last = why.strip().splitlines()[-1] if outcome == "traceback" else why
        self.bad.append(f"{outcome}: {kind}, seed {seed}: {last[:400]}  [{folder}]")

    def table(self) -> str:
        """Kinds by outcomes, as Markdown."""
        kinds = list(dict.fromkeys(kind for kind, _ in self.counts))
        rows = [["kind", "attempts", *OUTCOMES]]
        for name in (*kinds, "all"):
            row = [
                sum(self.counts[kind, outcome] for kind in (kinds if name == "all" else [name]))
                for outcome in OUTCOMES
            ]
            rows.append([name, str(sum(row)), *map(str, row)])
        rows.insert(1, ["---"] * len(rows[0]))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)

    def check(self) -> None:
        """Fail if there is a bad outcome, with each of them."""
        assert not self.bad, f"{len(self.bad)} bad outcomes:\n" + "\n".join(self.bad)


def show(request: pytest.FixtureRequest, text: str) -> None:
    """Print a text in the terminal of pytest."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        print(f"\n{text}")


# --- configurations: an independent reading ---------------------------------------------------------


class Unreadable(Exception):
    """A text that no program should accept as a configuration."""


_INT = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None}
_TAG = "tag:yaml.org,2002:"


def written(content: bytes) -> Tree:
    """The tree in a YAML text, as a reader of YAML 1.2 takes it; raises Unreadable.

    PyYAML's parser is used, but none of its ideas of values: octal numbers, sexagesimal ones, yes and no,
    dates, or keys given twice.
    """
    try:
        node = yaml.compose(content.decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    return _value(node, ()) if node is not None else None


def _value(node: yaml.Node, above: tuple[int, ...]) -> Tree:
    if id(node) in above or len(above) > 100:
        raise Unreadable("contains itself, or is too deep")
    above = (*above, id(node))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node)
    if isinstance(node, yaml.SequenceNode):
        if node.tag != f"{_TAG}seq":
            raise Unreadable(node.tag)
        return [_value(item, above) for item in node.value]
    if node.tag != f"{_TAG}map":
        raise Unreadable(node.tag)
    own: dict[str, Tree] = {}
    merged: dict[str, Tree] = {}
    for key, value in node.value:
        name = key.value
        if not isinstance(name, str):
            raise Unreadable("a key is no text")
        if key.tag == f"{_TAG}merge":
            sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
            for source in sources:
                found = _value(source, above)
                if not isinstance(found, dict):
                    raise Unreadable("merges what is no mapping")
                merged = found | merged
        elif name in own:
            raise Unreadable(f"{name} is given twice")
        else:
            own[name] = _value(value, above)
    return merged | own


def _scalar(node: yaml.ScalarNode) -> Tree:
    text, plain = node.value, not node.style  # libyaml has "" for plain texts
    if plain and text in _WORDS:
        return _WORDS[text]
    if (plain or node.tag == f"{_TAG}int") and _INT.fullmatch(text):
        return int(text)
    if (plain or node.tag == f"{_TAG}float") and _FLOAT.fullmatch(text):
        return float(text)
    if plain and re.fullmatch(r"[-+]?\.(inf|nan)", text, re.IGNORECASE):
        return math.nan
    # An explicit tag of another type; those that PyYAML finds by itself belong to plain texts.
    if not plain and node.tag != f"{_TAG}str":
        raise Unreadable(node.tag)
    return text


def laid_over(base: Tree, top: Tree) -> Tree:
    """One tree over another, mapping by mapping."""
    if not (isinstance(base, dict) and isinstance(top, dict)):
        return top
    return base | {key: laid_over(base[key], top[key]) if key in base else top[key] for key in top}


BASE: Tree = written((ROOT / "config.yaml").read_bytes())
PRESETS = sorted((ROOT / "workflow" / "presets").glob("*.yaml"))
# The only numbers that may be negative.
SIGNED = (("fig3", "signs"), ("figS1", "offsets"))
# Settings that presets take back by null, as another sampler has none of them.
OPTIONAL = ("friction", "refresh", "noise", "readout")


def with_numbers(value: Tree, like: Tree) -> Tree:
    """The tree with texts read as numbers where a number is wanted, as on Snakemake's command line."""
    if isinstance(value, dict) and isinstance(like, dict):
        return {
            key: with_numbers(item, like[key]) if key in like else item
            for key, item in value.items()
        }
    if isinstance(value, list) and isinstance(like, list):
        return [with_numbers(item, like[0]) for item in value]
    if isinstance(value, str) and isinstance(like, int | float) and not isinstance(like, bool):
        for pattern, number in ((_INT, int), (_FLOAT, float)):
            if pattern.fullmatch(value):
                return number(value)
    return value


def wrong_type(value: Tree, like: Tree, at: tuple[str, ...] = ()) -> str:
    """Where a tree has a key or a type that the project's own configuration has not; empty if nowhere."""
    name = ".".join(at)
    if isinstance(like, dict):
        if not isinstance(value, dict):
            return f"{name}: {value!r} instead of a mapping"
        found = (wrong_type(value[key], like[key], (*at, key)) for key in value if key in like)
        return next(filter(None, found), "")
    if isinstance(like, list):
        if not isinstance(value, list) or not value:
            return f"{name}: {value!r} instead of a list"
        return next(filter(None, (wrong_type(item, like[0], at) for item in value)), "")
    if value is None and at[-1] in OPTIONAL:
        return ""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(like, bool | str):
        return "" if type(value) is type(like) else f"{name}: {value!r}"
    if not number or not math.isfinite(value) or (value < 0 and at not in SIGNED):
        return f"{name}: {value!r}"
    if isinstance(like, int) and value != int(value):
        return f"{name}: {value!r} instead of a whole number"
    return ""


def wanted(tree: Tree) -> Iterator[tuple[str, dict[str, Tree]]]:
    """For each run that a tree asks for: a pattern of its id, and values that it has to have."""
    for figure in ("fig2", "fig3", "fig4", "fig5", "figS1"):
        for key in ("kappa", "prior", "activation"):
            if key in tree[figure]:
                yield rf"{figure}/.*", {key: tree[figure][key]}
    for sampler in (*tree["fig2"]["trained"], *tree["fig2"]["exact"]):
        yield rf"fig2/{sampler['method']}-width{sampler['width']}", sampler
    yield "fig2/.*", {"steps": tree["fig2"]["steps"]}
    for cell, sampler in tree["fig3"]["samplers"].items():
        yield rf"fig3/{cell.replace('_', '-')}", sampler
        yield rf"fig3/{cell.replace('_', '-')}-exact", tree["fig3"]["exact"]
        size = tree["fig3"][cell.partition("_")[2]]
        labels = [sign * size for sign in tree["fig3"]["signs"]]
        yield rf"fig3/{cell.replace('_', '-')}(-exact)?", {"labels": labels}
    yield "fig3/.*", {"steps": tree["fig3"]["steps"]}
    depth = tree["fig4"]["sampled_depth"]
    same = {"steps": depth, "signals": tree["fig4"]["lambdas"]}
    yield f"fig4/rnn-depth{depth}", tree["fig4"]["sampler"] | same
    yield f"fig4/rnn-depth{depth}-exact", tree["fig4"]["exact"] | same
    if tree["fig4"]["other_ratios"]:
        yield f"fig4/dnn-depth{depth}-exact", tree["fig4"]["exact"] | {"steps": depth}
    for depth in tree["fig4"]["depths"]:
        scan = {"steps": depth, "largest_signal": tree["fig4"]["largest_signal"]}
        yield rf"fig4/depth{depth}", scan | {"points": tree["fig4"]["curve_points"]}
    for kind, sampler in tree["fig5"]["trained"].items():
        same = {"steps": tree["fig5"]["steps"], "period": tree["fig5"]["period"]}
        yield rf"fig5/{kind}", sampler | same
        yield rf"fig5/{kind}-exact", tree["fig5"]["exact"] | same
    for depth in tree["figS1"]["depths"]:
        yield rf"figS1/depth{depth}", {"steps": depth}
        for sampler in tree["figS1"]["exact"]:
            yield rf"figS1/depth{depth}-width{sampler['width']}-exact", sampler | {"steps": depth}
    for sampler in tree["figS1"]["trained"]:
        same = {"steps": tree["figS1"]["depths"][0]}
        yield rf"figS1/depth{same['steps']}-width{sampler['width']}", sampler | same


def held(run: Tree) -> dict[str, Tree]:
    """The values of a run by their names alone."""
    flat = dict(run)
    for key in ("task", "sampler", "architecture"):
        flat |= flat.pop(key, {})
    return flat


def configuration_fault(documents: Documents, said: Said) -> str:
    """What is wrong with accepting configurations laid over each other; empty if nothing is."""
    tree: Tree = {}
    try:
        for content in documents:
            top = written(content)
            if not isinstance(top, dict):
                return "no mapping"
            tree = laid_over(tree, top)
    except Unreadable as error:
        return " ".join(str(error).split())[:300]
    tree = with_numbers(tree, BASE)
    missing = set(BASE) ^ set(tree)
    if missing:
        return f"keys missing or unknown: {sorted(missing)}"
    wrong = wrong_type(tree, BASE)
    if wrong:
        return wrong
    runs = {run["id"]: held(run) for run in map(json.loads, said.out.splitlines())}
    for pattern, values in wanted(tree):
        # By name first: a long list has thousands of runs.
        one = runs.get(pattern)
        found = [one] if one else [run for name, run in runs.items() if re.fullmatch(pattern, name)]
        if not found:
            return f"no run {pattern}"
        for run in found:
            for key, value in values.items():
                if key in ("activation",) and run.get("kind") == "transition":
                    continue
                if value is None:
                    continue
                if key == "signals":  # those of panel b are there as well
                    held_signals = run.get(key, ())
                    if all(
                        any(math.isclose(a, b, rel_tol=1e-5) for a in held_signals) for b in value
                    ):
                        continue
                if key not in run or not _same(run[key], value):
                    return f"{run['id']}: {key} is {run.get(key)!r}, written is {value!r}"
    return ""


def _same(held_value: Tree, written_value: Tree) -> bool:
    if isinstance(written_value, list | tuple):
        return len(held_value) == len(written_value) and all(map(_same, held_value, written_value))
    if isinstance(written_value, dict):
        return all(_same(held_value.get(key), value) for key, value in written_value.items())
    if isinstance(written_value, float) and isinstance(held_value, float):
        return math.isclose(held_value, written_value, rel_tol=1e-12)
    return bool(held_value == written_value)


# --- configurations: mutations ----------------------------------------------------------------------

Random = random.Random
Where = tuple[Any, ...]
TEXT = (ROOT / "config.yaml").read_text()
ODD = (
    "0x10", "0o10", "010", "1_000", "1:30", "1:30.5", "0b11", "yes", "no", "on", "Off", "y", "~", "null",
    "", "1e3", "1E-2", "+5", ".5", "5.", "2001-01-01", "2001-01-01 00:00:00", ".inf", "-.inf", ".nan",
    '!!int "3"', '!!float "3"', "!!str 3", "!!binary aGk=", "!!set {a}", "!!omap [a: 1]", "!!bool 'yes'",
    "!!python/object/apply:os.getpid []", "!!timestamp 2001-01-01", "!own 3", "<<", "=", "'3'", '"0.5"',
    "[3]", "{a: 3}", "| 3", "3 3", "3,5", "True", "TRUE", "1e400", "-0", "-0.0", "0.0", "1e-400", "٣",
)  # fmt: skip
EXTREMES = (
    0, -1, 0.0, -0.5, 1e308, 1e-308, 5e-324, 10**30, -(10**30), 2**31, 2**63, 2**64, 10**400, math.inf,
    -math.inf, math.nan, 1e9, 1e10, 0.5, 1.0, 2, 10**5, 10**9,
)  # fmt: skip
TYPES: tuple[Tree, ...] = (
    None, True, False, "text", "", "3", "0.5", [], {}, [None], [[]], {"a": 1}, [1, 2], "é\u2028",
    "x" * 10**5,
)  # fmt: skip


def paths(tree: Tree, at: Where = ()) -> list[Where]:
    """The places of all values in a tree but the root."""
    items: Any = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    below = [(key, value) for key, value in items]
    return [place for key, value in below for place in ((*at, key), *paths(value, (*at, key)))]


def inside(tree: Tree, at: Where) -> Tree:
    """The value at a place."""
    for key in at:
        tree = tree[key]
    return tree


def fresh(generator: Random) -> Tree:
    """The project's configuration, sometimes with a preset over it, as a tree to be changed."""
    preset = generator.choice([None, None, *PRESETS])
    tree = laid_over(BASE, written(preset.read_bytes())) if preset else BASE
    return json.loads(json.dumps(tree))


def dumped(tree: Tree) -> Documents:
    """A tree as YAML."""
    return (yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode(),)


def replaced(generator: Random, values: Sequence[Tree], numbers: bool = False) -> Documents:
    """One value, or one number, of the tree replaced by one of ``values``."""
    tree = fresh(generator)
    found = paths(tree)
    if numbers:
        found = [at for at in found if type(inside(tree, at)) in (int, float)]
    *above, key = generator.choice(found)
    inside(tree, tuple(above))[key] = generator.choice(values)
    return dumped(tree)


def dropped(generator: Random) -> Documents:
    """A key or an item left out."""
    tree = fresh(generator)
    *above, key = generator.choice(paths(tree))
    del inside(tree, tuple(above))[key]
    return dumped(tree)


def renamed(generator: Random) -> Documents:
    """A key with a letter changed, added or left out."""
    tree = fresh(generator)
    *above, key = generator.choice([at for at in paths(tree) if isinstance(at[-1], str)])
    position = generator.randrange(len(key))
    letter = generator.choice(["", "x", "_", key[position].upper(), " ", "é"])
    mapping = inside(tree, tuple(above))
    mapping[key[:position] + letter + key[position + 1 :]] = mapping.pop(key)
    return dumped(tree)


def added(generator: Random) -> Documents:
    """An unknown key, or one of another mapping."""
    tree = fresh(generator)
    at = generator.choice([(), *(at for at in paths(tree) if isinstance(inside(tree, at), dict))])
    name = generator.choice([at[-1] for at in paths(tree) if isinstance(at[-1], str)] + ["new"])
    inside(tree, at).setdefault(name, generator.choice(TYPES))
    return dumped(tree)


def swapped_values(generator: Random) -> Documents:
    """Two values that have changed places."""
    tree = fresh(generator)
    first, second = generator.sample(paths(tree), 2)
    if first == second[: len(first)] or second == first[: len(second)]:
        first, second = ("fig3",), ("fig4",)
    one, other = inside(tree, first), inside(tree, second)
    inside(tree, first[:-1])[first[-1]] = other
    inside(tree, second[:-1])[second[-1]] = one
    return dumped(tree)


def scaled(generator: Random) -> Documents:
    """A number a little larger: most are legal."""
    tree = fresh(generator)
    found = [at for at in paths(tree) if type(inside(tree, at)) in (int, float)]
    *above, key = generator.choice(found)
    mapping = inside(tree, tuple(above))
    mapping[key] = type(mapping[key])(mapping[key] * generator.choice([2, 1.5, 3]))
    return dumped(tree)


def long_list(generator: Random) -> Documents:
    """A list with very many items."""
    tree = fresh(generator)
    at = generator.choice([at for at in paths(tree) if isinstance(inside(tree, at), list)])
    size = generator.choice([10**2, 10**3, 10**4])
    found = inside(tree, at)
    inside(tree, at[:-1])[at[-1]] = generator.choice(
        [found * size, list(range(1, size)), [1.0 + 1e-6 * k for k in range(size)], [found] * size]
    )
    return (json.dumps(tree).encode(),)


def deep(generator: Random) -> Documents:
    """A value that is nested very deeply."""
    depth = generator.choice([10, 50, 200, 1000, 5000])
    opened, closed = generator.choice([("[", "]"), ("{a: ", "}")])
    return (with_value(generator, f"{opened * depth}1{closed * depth}"),)


def with_value(generator: Random, value: str) -> bytes:
    """The text with the value of one line replaced by another text."""
    lines = TEXT.splitlines()
    found = [n for n, line in enumerate(lines) if re.match(r"\s*\w+: +[^&\s{\[#]", line)]
    number = generator.choice(found)
    lines[number] = lines[number].partition(":")[0] + ": " + value
    return "\n".join([*lines, ""]).encode()


def odd(generator: Random) -> Documents:
    """A value that versions of YAML read in different ways."""
    return (with_value(generator, generator.choice(ODD)),)


def twice(generator: Random) -> Documents:
    """A key given twice, with another value."""
    lines = TEXT.splitlines()
    found = [n for n, line in enumerate(lines) if re.match(r"\s*\w+: +[^&\s{\[#]", line)]
    number = generator.choice(found)
    key, _, value = lines[number].partition("#")[0].partition(":")
    words = value.strip()
    other = f"{float(words) * 2:g}" if _FLOAT.fullmatch(words) else words
    lines.insert(
        generator.choice([number, number + 1]), f"{key}: {generator.choice([other, words])}"
    )
    return ("\n".join(lines).encode(),)


def aliased(generator: Random) -> Documents:
    """Anchors that contain themselves, are unknown, or grow without limit."""
    levels = generator.randrange(5, 9)
    laughs = ["&l0 [x, x, x, x, x, x, x, x, x]"]
    laughs += [f"&l{k} [{', '.join([f'*l{k - 1}'] * 9)}]" for k in range(1, levels)]
    value = generator.choice(
        ["&a [*a]", "&a {<<: *a}", "&a {b: *a}", "*unknown", "&kappa 0.3", "{<<: 3}", "{<<: [3]}",
         "{<<: [{a: 1}, *cell]}", "&a [&b [*a, *b]]", "[" + ", ".join(laughs) + "]"]
    )  # fmt: skip
    if generator.random() < 0.3:
        return (f"{TEXT}\nextra: {value}\n".encode(),)
    return (with_value(generator, value),)


def bad_bytes(generator: Random) -> Documents:
    """Control characters, broken UTF-8, marks of byte order."""
    content = generator.choice(
        [b"\x00", b"\x07", b"\x1b[2J", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf",
         b"\xe2\x80\xa8", b"\t", b"\r", b"\x85", b"\xc2\x85", b"\xf0\x9f\x92\xa9", b"\x7f",
         b"\xe2\x80\xae"]
    )  # fmt: skip
    text = TEXT.encode()
    if generator.random() < 0.1:
        return (TEXT.encode(generator.choice(["utf-16", "utf-32", "cp037"])),)
    position = generator.choice([0, generator.randrange(len(text)), len(text)])
    return (text[:position] + content + text[position:],)


def edited_lines(generator: Random) -> Documents:
    """A line deleted, repeated, exchanged or indented, or the text cut."""
    lines = TEXT.splitlines(keepends=True)
    number, other = generator.randrange(len(lines)), generator.randrange(len(lines))
    choice = generator.randrange(5)
    if choice == 0:
        del lines[number]
    elif choice == 1:
        lines.insert(other, lines[number])
    elif choice == 2:
        lines[number], lines[other] = lines[other], lines[number]
    elif choice == 3:
        lines[number] = " " * generator.randrange(1, 5) + lines[number]
    else:
        return (TEXT[: generator.randrange(len(TEXT))].encode(),)
    return ("".join(lines).encode(),)


def edited_characters(generator: Random) -> Documents:
    """A few characters outside comments changed."""
    text = list(re.sub(r"#.*", "", TEXT))
    for _ in range(generator.choice([1, 1, 2, 5])):
        position = generator.randrange(len(text))
        text[position] = generator.choice("0123456789.-+:,{}[]&*!|>'\"%@`#?~ \nabeE_")
    return ("".join(text).encode(),)


def other_contents(generator: Random) -> Documents:
    """Presets without the configuration, in another order or twice, and texts that are none."""
    preset = generator.choice(PRESETS).read_bytes()
    again = generator.choice(PRESETS).read_bytes()
    text = TEXT.encode()
    choices: list[Documents] = [
        (preset,), (preset, text), (text, preset), (text, preset, again), (text, text), (b"",),
        (text, b""), (b"# only\n",), (b"3",), (b"[1]",), (b"null",), (text + b"\n---\n" + text,),
        (text, b"fig4: null"), (text, b"fig4: 3"), (text, b"fig4: []"), (b"---\n" + text + b"...\n",),
        (text, b"fig4: {kappa: 0.2}"),
        (json.dumps(BASE).encode(),), (text, b"fig4: {exact: {width: 33}}\nfig4: {kappa: 0.2}\n"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99),), (b"%YAML 1.2\n---\n" + text,), (text, b"seed: 010"),
        (b"{" * 99,), (b"x" * 10**6,), (b"a: " * 999,), (text, b"1: 2\nnull: 3\n2001-01-01: 3\n[1]: 2\n"),
    ]  # fmt: skip
    return generator.choice(choices)


CONFIGURATIONS: dict[str, Callable[[Random], Documents]] = {
    "key left out": dropped,
    "key renamed": renamed,
    "key unknown here": added,
    "value of another type": lambda generator: replaced(generator, TYPES),
    "extreme number": lambda generator: replaced(generator, EXTREMES, numbers=True),
    "number scaled": scaled,
    "values exchanged": swapped_values,
    "long list": long_list,
    "deep nesting": deep,
    "oddities of YAML": odd,
    "key given twice": twice,
    "anchors and aliases": aliased,
    "bytes and control characters": bad_bytes,
    "lines edited": edited_lines,
    "characters edited": edited_characters,
    "other contents": other_contents,
}


def fuzz_configuration(kind: str, seed: int, folder: Path, tally: Tally) -> None:
    """One mutated configuration given to ``check``."""
    generator = random.Random(f"{kind} {seed}")
    documents = CONFIGURATIONS[kind](generator)
    files = [folder / f"config{number}.yaml" for number in range(len(documents))]
    for file, content in zip(files, documents, strict=True):
        file.write_bytes(content)
    said = attempt(["check", *files, "--json"], folder)
    outcome = judge(said, r"\S+: ", lambda said: configuration_fault(documents, said))
    tally.add(f"configuration: {kind}", seed, *outcome, *documents)


# --- files: a small study, and the commands that read it --------------------------------------------


def small_study() -> Tree:
    """Figure 4 with one lambda and short chains, in the project's configuration."""
    tree = laid_over(BASE, written((ROOT / "workflow" / "presets" / "smoke.yaml").read_bytes()))
    sampler = {
        "width": 16,
        "friction": 5.0,
        "burn_in": 1.0,
        "ramp": 0.5,
        "step_size": 0.02,
        "duration": 2.0,
        "draws": 10,
        "spectra": 2,
    }
    exact = {"width": 16, "warm_up": 10, "draws": 10, "start": "lowest"}
    figure = {"depths": [4], "lambdas": [1.5], "largest_signal": 9.0, "landau_ratios": [0.6, 0.9],
              "other_ratios": []}  # fmt: skip
    return laid_over(tree, {"fig4": figure | {"sampler": sampler, "exact": exact}})


# What other studies change.
OTHERS: dict[str, Tree] = {
    "kappa": {"fig4": {"kappa": 0.2}},
    "lambda": {"fig4": {"lambdas": [1.6]}},
    "prior": {"fig4": {"prior": {"u": 1.1}}},
    "T": {"fig4": {"depths": [5], "sampled_depth": 5}},
    "width": {"fig4": {"sampler": {"width": 20}, "exact": {"width": 20}}},
    "seed": {"seed": 7},
    "draws": {"fig4": {"sampler": {"draws": 20}, "exact": {"draws": 20}}},
    "step": {"fig4": {"sampler": {"step_size": 0.01}, "exact": {"leapfrog_steps": 5}}},
    "sampler": {
        "fig4": {
            "sampler": {
                "method": "sgld",
                "friction": None,
                "refresh": None,
                "readout": "sampled",
                "step_size": 0.002,
            }
        }
    },
    "curves": {"fig4": {"largest_signal": 8.0}},
}
# Runs of other figures: an RNN of erf with a sinusoid, a DNN with four patterns, a family.
FOREIGN = ("fig2/sgld-width16", "fig3/dnn-weak", "fig5/rnn-exact")


@dataclass(frozen=True)
class Study:
    """The files of some runs of a configuration, each run in a folder of its own."""

    folder: Path
    runs: dict[str, Tree]

    def file(self, run: str, name: str) -> Path:
        """A file of a run."""
        return self.folder / run / name


def done(*words: object) -> None:
    """Run a command that must succeed; what it prints is lost."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main([str(word) for word in words]) == 0, words


def listed(*configurations: Path) -> dict[str, Tree]:
    """The runs of a configuration by their ids."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(["check", *map(str, configurations), "--json"]) == 0
    return {run["id"]: run for run in map(json.loads, out.getvalue().splitlines())}


def make_study(folder: Path, tree: Tree, figure: str = "fig4/", only: Sequence[str] = ()) -> Study:
    """Make all files of the runs of a figure, or of some runs."""
    folder.mkdir()
    (folder / "config.yaml").write_text(json.dumps(tree))
    runs = listed(folder / "config.yaml")
    study = Study(folder, runs)
    for name in only or [name for name in runs if name.startswith(figure)]:
        run, task, theory, samples, measures, checkpoint, scan = (
            study.file(name, file)
            for file in ("run.yaml", "task.nc", "theory.nc", "samples.nc", "measures.nc", "c.npz",
                         "transition.nc")
        )  # fmt: skip
        if runs[name]["kind"] == "transition":
            done("resolve", json.dumps(runs[name]), run)
            done("transition", run, scan)
            continue
        done("resolve", json.dumps(runs[name]), run, "--task", task)
        done("theory", run, task, theory)
        done("sample", run, task, samples, "--theory", theory, "--checkpoint", checkpoint)
        done("measure", run, task, samples, measures, "--theory", theory)
    return study


@dataclass(frozen=True)
class Command:
    """A command: its words with {places} of files, the files, and the ending of its output."""

    words: str
    places: dict[str, Path]
    ending: str = ".nc"


def commands(study: Study, depth: int = 4) -> dict[str, Command]:
    """Every command that reads a file of results. Options of commands stand here and nowhere else."""
    trained, scan = f"fig4/rnn-depth{depth}", f"fig4/depth{depth}"
    exact = f"{trained}-exact"
    run = {
        "run": study.file(exact, "run.yaml"), "task": study.file(exact, "task.nc"),
        "theory": study.file(exact, "theory.nc"), "samples": study.file(exact, "samples.nc"),
        "checkpoint": study.file(exact, "c.npz"),
    }  # fmt: skip
    results = {
        "config": study.folder / "config.yaml", "measures": study.file(trained, "measures.nc"),
        "exact": study.file(exact, "measures.nc"), "scan": study.file(scan, "transition.nc"),
    }  # fmt: skip
    given = "--config {config} --results {measures} {exact} {scan}"
    return {
        "theory": Command("theory {run} {task} {output}", _some(run, "run", "task")),
        "transition": Command("transition {run} {output}", {"run": study.file(scan, "run.yaml")}),
        "sample": Command(
            "sample {run} {task} {output} --theory {theory} --checkpoint {checkpoint}",
            _some(run, "run", "task", "theory", "checkpoint"),
        ),
        "measure": Command(
            "measure {run} {task} {samples} {output} --theory {theory}",
            _some(run, "run", "task", "theory", "samples"),
        ),
        "figure": Command(f"figure fig4 {{output}} {given}", results, ".pdf"),
        "scorecard": Command(f"scorecard {{output}} {given}", results, ".tsv"),
        "runs": Command(f"runs {{output}} {given}", results, ".tsv"),
        "caption": Command(f"caption fig4 {{output}} {given}", results, ".rst"),
    }


def _some(files: dict[str, Path], *names: str) -> dict[str, Path]:
    return {name: files[name] for name in names}


def execute(command: Command, scratch: Path, changed: dict[str, bytes], output: Path) -> Said:
    """Run a command on copies of its files, some of which have another content."""
    files = {}
    for place, path in command.places.items():
        files[place] = scratch / f"given-{place}{path.suffix}"
        files[place].write_bytes(changed[place] if place in changed else path.read_bytes())
    output.unlink(missing_ok=True)
    names = {place: str(path) for place, path in files.items()} | {"output": str(output)}
    return attempt([word.format(**names) for word in command.words.split()], scratch)


def differs(found: Path, expected: Path) -> str:
    """How a result differs from the undisturbed one, but for seconds and the commit; empty if not."""
    if found.suffix != ".nc":
        return "" if found.read_bytes() == expected.read_bytes() else f"{found.name}: other bytes"
    try:
        xr.testing.assert_identical(_data(found), _data(expected))
    except AssertionError as error:
        return " ".join(str(error).split())[:300]
    return ""


def _data(path: Path) -> xr.Dataset:
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        dataset = opened.load().drop_vars("wall_seconds", errors="ignore")
    dataset.attrs = {
        key: value
        for key, value in dataset.attrs.items()
        if key not in ("wall_seconds", "git_commit", "run", "theory")
    }
    return dataset


@dataclass
class Workshop:
    """The small study with its commands and their undisturbed outputs."""

    study: Study
    scratch: Path
    names: Sequence[str]
    commands: dict[str, Command] = field(init=False)

    def __post_init__(self) -> None:
        found = commands(self.study)
        self.commands = {name: found[name] for name in self.names}
        for name, command in self.commands.items():
            said = execute(command, self.scratch, {}, self.expected(name))
            assert said.status == 0, (name, said)

    def expected(self, name: str) -> Path:
        """The undisturbed output of a command."""
        return self.scratch / f"expected-{name}{self.commands[name].ending}"

    def give(
        self, name: str, place: str, content: bytes, right: Callable[[], bool] = lambda: False
    ) -> tuple[str, str]:
        """Give a command another content in a place: the outcome, and why.

        right: whether another output is right as well.
        """
        command = self.commands[name]
        output = self.scratch / f"output{command.ending}"
        said = execute(command, self.scratch, {place: content}, output)

        def fault(_: Said) -> str:
            return "" if right() else differs(output, self.expected(name))

        outcome = judge(said, f"given-{place}", fault)
        if said.status != 0 and output.exists():
            return "wrongly accepted", "it was refused, but there is an output"
        return outcome


# --- files: damage ----------------------------------------------------------------------------------

Damage = Callable[[Random, bytes], bytes]


def flipped(generator: Random, content: bytes) -> bytes:
    """One bit, or a few, changed."""
    damaged = bytearray(content)
    for _ in range(generator.choice([1, 1, 1, 3])):
        damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
    return bytes(damaged)


def zeroed(generator: Random, content: bytes) -> bytes:
    """A page of zeros, as after a crash of a machine."""
    size = generator.choice([16, 512, 4096, len(content)])
    start = generator.randrange(len(content)) // size * size
    return content[:start] + bytes(len(content[start : start + size])) + content[start + size :]


def cut(generator: Random, content: bytes) -> bytes:
    """The end missing."""
    return content[: generator.choice([0, 1, len(content) - 1, generator.randrange(len(content))])]


def extended(generator: Random, content: bytes) -> bytes:
    """Something behind the end."""
    return content + generator.choice(
        [b"\n", b"\0", bytes(4096), content, generator.randbytes(100)]
    )


def mixed(generator: Random, content: bytes) -> bytes:
    """Two blocks exchanged."""
    size = max(1, len(content) // 8)
    first, second = sorted(generator.sample(range(8), 2))
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    blocks[first], blocks[second] = blocks[second], blocks[first]
    return b"".join(blocks)


def another_file(generator: Random, content: bytes) -> bytes:
    """A file of another program."""
    return generator.choice(
        [b"\x89PNG\r\n\x1a\n" + bytes(99), b"PK\3\4" + bytes(99), b"CDF\1" + bytes(99), b"%PDF-1.4\n",
         b"\x89HDF\r\n\x1a\n" + bytes(99), generator.randbytes(500), b"text\n", b"\xff\xfe\0\0"]
    )  # fmt: skip


DAMAGES: dict[str, Damage] = {
    "bits changed": flipped,
    "zeros": zeroed,
    "cut": cut,
    "extended": extended,
    "blocks exchanged": mixed,
    "another file": another_file,
}


def damage(kind: str, seed: int, workshop: Workshop, tally: Tally) -> None:
    """One damaged file, in any place of any command."""
    generator = random.Random(f"{kind} {seed}")
    name = generator.choice(list(workshop.commands))
    places = sorted(set(workshop.commands[name].places) - {"config"})
    place = generator.choice(places)
    content = DAMAGES[kind](generator, workshop.commands[name].places[place].read_bytes())
    outcome = workshop.give(name, place, content)
    tally.add(f"damaged: {kind}", f"{seed} {name} {place}", *outcome, content)


def damage_user_file(kind: str, seed: int, workshop: Workshop, tally: Tally) -> None:
    """A damaged task of a user's own, which has no seal: refused, or read as it is."""
    generator = random.Random(f"user {kind} {seed}")
    scratch = workshop.scratch
    given, run, output = (scratch / name for name in ("given-user.nc", "user.yaml", "user-task.nc"))
    numbers = np.random.default_rng(seed)
    data = {"inputs": (("pattern", "time", "feature"), numbers.normal(size=(2, 4, 3))),
            "targets": (("pattern", "output_time"), numbers.normal(size=(2, 4)))}  # fmt: skip
    content = DAMAGES[kind](generator, bytes(xr.Dataset(data).to_netcdf(engine="h5netcdf")))
    given.write_bytes(content)
    output.unlink(missing_ok=True)
    exact = workshop.study.runs["fig4/rnn-depth4-exact"]
    parameters = exact | {"task": {"kind": "file", "path": str(given), "patterns": 2}}
    said = attempt(["resolve", json.dumps(parameters), run, "--task", output], scratch)

    def fault(_: Said) -> str:
        with h5py.File(given) as file, h5py.File(output) as made:
            for name in data:
                if not np.array_equal(file[name][()], made[name][()], equal_nan=True):
                    return f"{name}: not as in the file"
        return ""

    tally.add(f"user's task: {kind}", seed, *judge(said, "given-user", fault), content)


def sealed(stored: bytes, belongs: bytes) -> bytes:
    """Bytes with a valid seal, as the program writes it."""
    digest = hashlib.sha256(stored + belongs).hexdigest().encode()
    return stored + b"\nsha256 " + digest + b" " + belongs + b"\n"


FORGERIES = (
    "a parameter changed", "parameters missing", "parameters no JSON", "content missing",
    "another content", "a variable missing", "an axis shortened", "a variable of texts",
    "an attribute missing", "without a seal",
)  # fmt: skip


def forged(generator: Random, kind: str, content: bytes) -> bytes:
    """NetCDF of the program with something changed and a valid seal over it."""
    stored, _, seal = content.rpartition(b"\nsha256 ")
    belongs = seal.rstrip(b"\n").partition(b" ")[2]
    with xr.open_dataset(io.BytesIO(stored), engine="h5netcdf") as opened:
        dataset = opened.load()
    if kind == "a parameter changed":
        run = json.loads(dataset.attrs["run"])
        found = [at for at in paths(run) if type(inside(run, at)) in (int, float)]
        *above, key = generator.choice(found)
        inside(run, tuple(above))[key] += 1
        dataset.attrs["run"] = json.dumps(run)
    elif kind == "parameters missing":
        del dataset.attrs["run"]
    elif kind == "parameters no JSON":
        dataset.attrs["run"] = generator.choice(["", "{", "3", "[]", "null", '"a"', '{"id": 3}'])
    elif kind == "content missing":
        del dataset.attrs["content"]
    elif kind == "another content":
        dataset.attrs["content"] = generator.choice(["task", "runs", "", 3])
    elif kind == "a variable missing":
        dataset = dataset.drop_vars(generator.choice(sorted(map(str, dataset.data_vars))))
    elif kind == "an axis shortened":
        axis = generator.choice(sorted(map(str, dataset.sizes)))
        dataset = dataset.isel({axis: slice(generator.choice([0, -1]))})
    elif kind == "a variable of texts":
        name = generator.choice(sorted(map(str, dataset.data_vars)))
        dataset[name] = xr.full_like(dataset[name], "text", dtype=object)
    elif kind == "an attribute missing":
        del dataset.attrs[generator.choice(sorted(map(str, dataset.attrs)))]
    changed = bytes(dataset.to_netcdf(engine="h5netcdf"))
    return changed if kind == "without a seal" else sealed(changed, belongs)


def forge(kind: str, seed: int, workshop: Workshop, tally: Tally) -> None:
    """One forged file in any place of any command that takes NetCDF."""
    generator = random.Random(f"{kind} {seed}")
    readers = ("theory", "sample", "measure", "figure", "scorecard", "runs")
    name = generator.choice([name for name in readers if name in workshop.commands])
    files = workshop.commands[name].places
    place = generator.choice(sorted(place for place in files if files[place].suffix == ".nc"))
    content = forged(generator, kind, files[place].read_bytes())
    outcome = workshop.give(name, place, content)
    tally.add(f"forged: {kind}", f"{seed} {name} {place}", *outcome, content)


# --- files: genuine ones of other runs --------------------------------------------------------------


def parameters_of(path: Path) -> Tree:
    """Content and parameters in a file of results; for a task or a theory, those it depends on."""
    with h5py.File(path) as file:
        content, run = str(file.attrs["content"]), json.loads(file.attrs["run"])
    keys = ("architecture", "kappa", "task") if content in ("task", "theory") else tuple(run)
    return content, {key: run.get(key) for key in keys}


def swap(name: str, place: str, path: Path, kind: str, workshop: Workshop, tally: Tally) -> None:
    """A genuine file of another run, or another file of this one, in a place of a command."""
    own = workshop.commands[name].places[place]
    netcdf = own.suffix == path.suffix == ".nc"

    def right() -> bool:
        """Tables list any run of their configuration."""
        return (
            name in ("scorecard", "runs")
            and netcdf
            and parameters_of(path)[1] in workshop.study.runs.values()
        )

    outcome, why = workshop.give(name, place, path.read_bytes(), right)
    same = netcdf and parameters_of(path) == parameters_of(own)
    if outcome == "refused" and same:
        outcome, why = "wrongly refused", "all that matters is the same"
    where = f"{name} {place} {path.parent.name} {path.name}"
    tally.add(f"swapped: {kind}", where, outcome, why, path.read_bytes())


Swap = tuple[str, str, Path, str]


def swaps(workshop: Workshop, others: dict[str, Study], foreign: Study | None) -> list[Swap]:
    """Every place of every command with the files of other studies, runs and kinds."""
    found: list[Swap] = []
    files = {
        place: path
        for command in workshop.commands.values()
        for place, path in command.places.items()
        if place != "config"
    }
    for kind, study in others.items():
        depth = 5 if kind == "T" else 4
        for name in workshop.commands:
            command = commands(study, depth)[name]
            found += [
                (name, place, path, f"other {kind}")
                for place, path in command.places.items()
                if path.suffix in (".nc", ".npz") and path.exists()
            ]
    for name, command in workshop.commands.items():
        for place, own in command.places.items():
            if place == "config":
                continue
            contents = {path for other, path in files.items() if path != own and other != place}
            found += [(name, place, path, "another kind of file") for path in sorted(contents)]
            if foreign and own.suffix in (".nc", ".npz") and place != "scan":
                found += [
                    (name, place, foreign.file(run, own.name), "another figure") for run in FOREIGN
                ]
    return found
