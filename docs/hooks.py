"""Hooks of the website: README.md is its first page, formulas are MathML, sections are links."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
# A link to a file of the repository that is no page: in README.md, and in the other pages.
NO_PAGE = re.compile(r"\[([^]]+)\]\((?!https?:|#|docs/)[^)]+\)")
OUTSIDE = re.compile(r"\[([^]]+)\]\((?!https?:|#)(\.\./(?!\w+\.md)[^)]+)\)")
# Formulas in LaTeX, as GitHub shows them: blocks, and parts of a line. Code is passed over.
FORMULA = re.compile(
    r"^```math\n(?P<block>.*?)\n```$|^```.*?^```$|`[^`\n]+`|\$(?P<line>[^$\n]+)\$", re.M | re.S
)
# A name of a function whose argument has no bracket.
NAME = re.compile(r"(<mi>(?:ln|det|tr|erf|exp)</mi>)(?!<mo|<mrow><mo|</)")
# A formula in the page until Markdown is done with it, which would take _ and * for its own.
KEPT = "formula-{}-of-this-page"
SECTION = re.compile(r"THEORY ((?:\d+)(?:, \d+)*)")


def on_files(files: Files, config: Any) -> Files:  # noqa: ANN401
    """Add README.md as index.md, with its links as seen from docs/."""
    text = NO_PAGE.sub(r"\1", (ROOT / "README.md").read_text()).replace("](docs/", "](")
    files.append(File.generated(config, "index.md", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:  # noqa: ANN401
    """Name files outside docs/ without a link, and put names in the place of formulas."""
    page.formulas = []

    def keep(found: re.Match[str]) -> str:
        block, line = found["block"], found["line"]
        if block is None and line is None:
            return found[0]
        formula = convert(block or line, display="block" if block else "inline")
        page.formulas.append(NAME.sub(r"\1<mspace width='0.17em'/>", formula))
        return KEPT.format(len(page.formulas) - 1)

    return FORMULA.sub(keep, OUTSIDE.sub(r"\1", markdown))


def on_page_content(html: str, page: Any, config: Any, files: Files) -> str:  # noqa: ANN401
    """Put the formulas in their places, and link "THEORY 5" in docstrings to section 5."""
    for number, formula in enumerate(page.formulas):
        html = html.replace(KEPT.format(number), formula)
    theory = files.get_file_from_path("theory.md")
    assert theory is not None
    place = theory.url_relative_to(page.file)
    headings = re.findall(r"^## (\d+)\. (.*)$", (ROOT / "docs/theory.md").read_text(), re.M)
    slugs = {number: f"{number}-{title.lower().replace(' ', '-')}" for number, title in headings}

    def linked(found: re.Match[str]) -> str:
        numbers = found[1].split(", ")
        links = (f'<a href="{place}#{slugs[number]}">{number}</a>' for number in numbers)
        return f"theory, section {', '.join(links)}"

    return SECTION.sub(linked, html)
