"""Tables as HTML pages that need nothing else: no script, no font, no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from weightsharing.files import replacing

# Verdicts are told apart by word and sign, and by colours that colour-blind readers can tell apart.
_STYLE = """
body { font: 14px/1.4 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 1.5rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
p { max-width: 60rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: 0.35rem 0.6rem; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; background: #fff; position: sticky; top: 0; }
td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td.small { font-size: 0.85em; color: #333; }
td.words { min-width: 11rem; }
td.verdict { font-weight: bold; white-space: nowrap; border-left: 0.4rem solid; }
td.good { color: #00548f; background: #e8f2fa; } td.bad { color: #a04000; background: #fdeee0; }
td.open { color: #555; background: #f1f1f1; }
"""


@dataclass(frozen=True)
class Cell:
    """Text of a table's cell and the classes of its look, such as "number" or "verdict good"."""

    text: str
    look: str = ""


@dataclass(frozen=True)
class Table:
    """A heading, the names of the columns, and rows of as many cells."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def table_page(title: str, introduction: Sequence[str], tables: Sequence[Table]) -> str:
    """An HTML page of paragraphs and tables. All text is escaped."""
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in introduction),
    ]
    for table in tables:
        header = "".join(f"<th>{escape(name)}</th>" for name in table.columns)
        parts.append(
            f"<h2>{escape(table.heading)}</h2><table><thead><tr>{header}</tr></thead><tbody>"
        )
        parts += ["<tr>" + "".join(map(_cell, row)) + "</tr>" for row in table.rows]
        parts.append("</tbody></table>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _cell(cell: Cell) -> str:
    look = f' class="{cell.look}"' if cell.look else ""
    return f"<td{look}>{escape(cell.text)}</td>"


def write_page(text: str, path: Path) -> None:
    """Write a page."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
