"""Tables for readers: as tab-separated values, and as HTML pages that need no script, font or network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment

from weightsharing.errors import FileError
from weightsharing.files import replacing

# Colour-blind readers can tell the colours apart, and each verdict has a word and a sign as well.
_PAGE = """\
<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">
<title>{{ title }}</title><style>
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
</style></head><body>
<h1>{{ title }}</h1>
{% for paragraph in introduction %}
<p>{{ paragraph }}</p>
{% endfor %}
{% for heading, frame in tables.items() %}
<h2>{{ heading }}</h2>
<table><thead><tr>
{%- for column in frame.columns %}<th>{{ column }}</th>{% endfor -%}
</tr></thead><tbody>
{% for _, row in frame.iterrows() %}
<tr>
{%- for column, text in row.items() %}<td class="{{ look(column, text) }}">{{ text }}</td>{% endfor -%}
</tr>
{% endfor %}
</tbody></table>
{% endfor %}
</body></html>
"""

Look = Callable[[str, str], str]


def page(
    title: str, introduction: Sequence[str], tables: Mapping[str, pd.DataFrame], look: Look
) -> str:
    """An HTML page of paragraphs and tables of texts, all escaped.

    tables: by heading. look: the CSS classes of a cell, such as "number" or "verdict good", from the
    name of its column and its text.
    """
    template = Environment(autoescape=True, trim_blocks=True).from_string(_PAGE)
    return template.render(title=title, introduction=introduction, tables=tables, look=look)


def write_page(text: str, path: Path, belongs: str) -> None:
    """Write a page. belongs: what it belongs to, in words, a comment at its end."""
    with replacing(path) as temporary:
        temporary.write_text(f"{text}\n<!-- {belongs} -->\n", encoding="utf-8")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write tab-separated values, the names of the columns first."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="nan", lineterminator="\n")


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns of tab-separated values, as texts. Raises FileError if they are not there."""
    try:
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)[list(columns)]
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise FileError(f"{path}: not a table with the columns {', '.join(columns)}") from error


def number(value: float, error: float = np.nan) -> str:
    """A number with its error in units of the last digits, as in -0.996(6); empty for NaN."""
    if np.isnan(value):
        return ""
    if not np.isfinite(error) or error <= 0.0:
        return f"{value:.4g}"
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    # One digit of the error if it is 3 or more, else two.
    digits -= round(error * 10**digits) >= 30
    digits = max(0, digits)
    scaled = round(error * 10**digits)
    return f"{value:.{digits}f}({scaled})" if digits else f"{value:.0f}({error:.0f})"
