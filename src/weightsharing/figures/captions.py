"""Captions: the template of a figure with the values of its configuration, and the claims that fail."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from functools import partial

from jinja2 import Environment, StrictUndefined
from tabulate import tabulate

from weightsharing.figures.claims import Claim
from weightsharing.figures.convergence import convergence
from weightsharing.figures.registry import Figure
from weightsharing.figures.results import Results
from weightsharing.model.record import Record
from weightsharing.sampling import SAMPLERS

# The symbols that samplers have in figures.
_SYMBOLS = {"D": "Diamonds", "d": "Thin diamonds", "o": "Circles"}
# Names of samplers in a sentence, their symbols, and starts of chains.
WORDS = {
    "names": {method: settings.sentence for method, settings in SAMPLERS.items()},
    "symbols": {
        method: _SYMBOLS.get(settings.marker, "Symbols") for method, settings in SAMPLERS.items()
    },
    "starts": {
        "prior": "untrained networks",
        "lowest": "the phase of lowest action",
        "disordered": "the disordered phase",
    },
}
# Appended to every template: claims that do not pass are named below the figure.
_CLAIMS = """
{% for claim in claims if claim.verdict != "pass" %}
- **{{ claim.verdict | upper }}**{{ ", panel " ~ claim.panel if claim.panel }}: {{ claim.claim }}. \
{{ claim.explanation }}
{% endfor %}
"""


def caption(
    figure: Figure, section: Record, seed: int, results: Results, claims: Sequence[Claim]
) -> str:
    """The caption in reStructuredText.

    section: of the configuration. seed: root seed. results, claims: of the figure. Templates may also
    call the functions that the figure's module ``claims`` has, as ``figure.NAME``, and make a table by
    ``table(rows, headings)``. Raises
    jinja2.UndefinedError if the template names an unknown value.
    """
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    template = environment.from_string(figure.caption.read_text("utf-8") + _CLAIMS)
    return template.render(
        section=section, seed=seed, results=results, claims=claims, convergence=convergence,
        figure=figure.module("claims"), table=partial(tabulate, tablefmt="rst", disable_numparse=True),
        **WORDS,
    )  # fmt: skip


def plain(text: str) -> str:
    """A caption as plain text with formulas in dollars, as LaTeX has them. Tables stay as they are."""
    text = re.sub(r":math:`([^`]*)`", r"$\1$", text)
    # A lone % would begin a comment.
    text = re.sub(r"(?<!\\)%", r"\%", text)
    parts = re.split(r"\n(?=- )|\n{2,}", text.strip())
    wrapped = (
        part if part.startswith("==") else textwrap.fill(" ".join(part.split()).replace("**", ""), 100)
        for part in parts
    )  # fmt: skip
    return "\n\n".join(wrapped) + "\n"
