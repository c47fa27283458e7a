"""A hash of the code behind a result: what makes a rule run again and a checkpoint refused.

Comments, docstrings and layout are not behaviour: the hash is over the syntax tree without them. Imports
are read, not executed. They are followed within the package, late ones inside functions included.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

PACKAGE = __name__.split(".")[0]
ROOT = Path(__file__).parent.parent


@cache
def code_hash(*targets: str) -> str:
    """SHA-256 of the code of ``targets`` and of every module of the package that they import.

    A target is a module, such as "weightsharing.theory.solve", or a function of one, such as
    "weightsharing.cli:theory". A function brings the definitions of its module that it names, and
    nothing else of that module. Raises KeyError for a missing function, ValueError for a relative import.
    """
    digest = hashlib.sha256()
    for target in sorted(targets_behind(*targets)):
        digest.update(f"{target}\n{_text(target)}\n".encode())
    return digest.hexdigest()


def targets_behind(*targets: str) -> set[str]:
    """These targets and all modules of the package that they import, directly or not."""
    seen: set[str] = set()
    waiting = list(targets)
    while waiting:
        target = waiting.pop()
        if target not in seen:
            seen.add(target)
            waiting += imports_of(target)
    return seen


@cache
def imports_of(target: str) -> frozenset[str]:
    """The modules of the package that a target imports, anywhere in its source.

    Raises ValueError for a relative import.
    """
    names: set[str] = set()
    for node in ast.walk(_tree(target)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise ValueError(f"imports must be absolute: {ast.unparse(node)}")
            # "from package import module" needs that module alone, not all that the package offers.
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names.update(name if _is_module(name) else node.module for name in inside)
    return frozenset(name for name in names if _is_module(name))


def path_of(module: str) -> Path:
    """The source file of a module or of a package."""
    base = ROOT.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _is_module(name: str) -> bool:
    """Whether this is a module of the package."""
    return name.split(".")[0] == PACKAGE and path_of(name).exists()


@cache
def _text(target: str) -> str:
    """The code of a target in one layout, without docstrings and comments."""
    return ast.unparse(_tree(target))


@cache
def _module(module: str) -> ast.Module:
    """The syntax tree of a module without docstrings: without statements that are a string alone."""
    tree = ast.parse(path_of(module).read_text("utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and any(map(_is_text, body)):
            body[:] = [statement for statement in body if not _is_text(statement)]
    return tree


def _is_text(node: ast.AST) -> bool:
    """Whether a statement is a string alone."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


@cache
def _tree(target: str) -> ast.Module:
    """The syntax tree of a module, or of what a function of it needs, without docstrings."""
    module, _, function = target.partition(":")
    tree = _module(module)
    if not function:
        return tree
    defined = {name: node for node in tree.body for name in _names_defined(node)}
    needed: dict[str, ast.stmt] = {}
    waiting = [function]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed[name] = defined[name]
            waiting += _names_used(defined[name]) & defined.keys()
    kept = [node for node in tree.body if node in needed.values()]
    return ast.Module(body=kept, type_ignores=[])


def _names_used(statement: ast.stmt) -> set[str]:
    """The names that a statement takes from outside; what a function binds itself is its own."""
    nodes = list(ast.walk(statement))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    if not isinstance(statement, ast.FunctionDef):
        return used
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    for node in nodes[1:]:
        if isinstance(node, ast.stmt):
            bound.update(_names_defined(node))
    return used - bound


def _names_defined(node: ast.stmt) -> list[str]:
    """The names that a statement of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [alias.asname or alias.name.split(".")[0] for alias in node.names]
    return [
        target.id
        for target in ast.walk(node)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    ]
