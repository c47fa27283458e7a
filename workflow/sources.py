"""The source files a module depends on, found by reading its imports.

A hash of them is a parameter of each Snakemake rule, so that editing a module reruns the rules that
use it and no others. Imports are read, not executed.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path


@cache
def imports_of(module: str, root: Path) -> frozenset[str]:
    """The modules of the package that ``module`` imports, directly, anywhere in its source.

    Raises ValueError for a relative import, which would be missed.
    """
    package = module.split(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path_of(module, root).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level or not node.module:
                raise ValueError(f"{module}: imports are to be absolute")
            # "from package import name" imports a module if there is one of that name.
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return frozenset(
        name for name in names if name.split(".")[0] == package and _exists(name, root)
    )


def sources_of(module: str, root: Path) -> list[Path]:
    """The file of ``module`` and of every module of its package that it needs, sorted."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imports_of(name, root)
    return sorted(path_of(name, root) for name in found)


def path_of(module: str, root: Path) -> Path:
    """The file of a module or of a package."""
    base = root.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def _exists(module: str, root: Path) -> bool:
    return path_of(module, root).exists()
