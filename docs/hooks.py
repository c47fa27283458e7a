"""Hooks of the website: README.md is its first page; links to other files become plain names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# A link to a file of the repository that is no page: in README.md, and in the other pages.
NO_PAGE = re.compile(r"\[([^]]+)\]\((?!https?:|#|docs/)[^)]+\)")
OUTSIDE = re.compile(r"\[([^]]+)\]\((?!https?:|#)(\.\./(?!\w+\.md)[^)]+)\)")


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Add README.md as index.md, with its links as seen from docs/."""
    text = NO_PAGE.sub(r"\1", (ROOT / "README.md").read_text()).replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ANN401
    """Name files outside docs/ without a link."""
    return OUTSIDE.sub(r"\1", markdown)
