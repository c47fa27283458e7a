"""The scorecard: the claims of all figures, as a table and as a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields

import numpy as np
import pandas as pd

from weightsharing.figures import tables
from weightsharing.figures.claims import KINDS, SAMPLERS, VERDICTS, Claim, in_equilibrium
from weightsharing.figures.registry import FIGURES, Figure
from weightsharing.figures.results import ROLES, Results
from weightsharing.figures.statistics import FALSE_ALARM

NUMBERS = ("theory", "measured", "standard_error")
# Columns of the page, which has a table for each figure, and how their cells look.
LOOKS = {
    "panel": "", "origin": "small", "kind": "small", "claim": "words", "verdict": "verdict",
    "quantity": "small words",
    "theory": "number", "measured": "number", "standard error": "number",
    "criterion": "small words", "explanation": "small words", "id": "small",
}  # fmt: skip
# Sign and colour of each verdict.
SIGNS = {
    "pass": ("\N{CHECK MARK}", "good"),
    "fail": ("\N{MULTIPLICATION X}", "bad"),
    "not converged": ("\N{WHITE CIRCLE}", "open"),
    "no data": ("\N{EN DASH}", "open"),
}


def scorecard(results: Results) -> list[Claim]:
    """Every claim, by figure and panel. A claim without its data is a row that says so."""
    return [claim for figure in FIGURES.values() for claim in claims_of(figure, results)]


def claims_of(figure: Figure, results: Results) -> list[Claim]:
    """The claims of one figure, by panel."""
    mine = results.of_figure(figure.number)
    claims: list[Claim] = figure.module("claims").claims(mine)
    # Some figures have networks of one sampler only.
    roles = [role for role in ROLES if mine.select(role=role)] or ROLES
    claims += [
        in_equilibrium.judge(
            mine.select(role=role), figure=figure.number, role=role, sampler=SAMPLERS[role]
        )
        for role in roles
    ]
    return sorted(claims, key=lambda claim: claim.panel)


def table(claims: Sequence[Claim]) -> pd.DataFrame:
    """One row of texts for each claim. A number that does not exist is empty."""
    columns = [field.name for field in fields(Claim)]
    frame = pd.DataFrame(
        [[getattr(claim, column) for column in columns] for claim in claims], columns=columns
    )
    for column in NUMBERS:
        frame[column] = ["" if np.isnan(value) else f"{value:.6g}" for value in frame[column]]
    return frame


def page(claims: Sequence[Claim]) -> str:
    """The claims as HTML, one table for each figure."""
    frame = table(claims).rename(columns=lambda name: name.replace("_", " "))
    frame["verdict"] = [f"{SIGNS[verdict][0]} {verdict}" for verdict in frame["verdict"]]
    figures = {
        figure: f"Figure {figure}: {summary(claim for claim in claims if claim.figure == figure)}"
        for figure in frame["figure"].unique()
    }
    introduction = [
        *(
            f"{name[0].upper()}{name[1:]}: {summary(claim for claim in claims if claim.kind == kind)}."
            for kind, name in KINDS.items()
        ),
        "Every claim of the captions of all figures, beside what was computed and measured. Theory "
        "is that at the networks' own N where the 1/N term is known; the explanation then gives the "
        "value for N to infinity. A criterion that compares measurements refuses a correct program "
        f"with probability {FALSE_ALARM:.1%} unless it says otherwise, corrected for the number of "
        "values compared. A claim that rests on a run that did not converge never passes.",
    ]
    return tables.page(
        "Scorecard",
        introduction,
        {
            heading: frame.loc[frame["figure"] == figure, list(LOOKS)]
            for figure, heading in figures.items()
        },
        _look,
    )


def summary(claims: Iterable[Claim]) -> str:
    """How many claims have each verdict."""
    counts = Counter(claim.verdict for claim in claims)
    words = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"{words}, of {counts.total()} claims"


def _look(column: str, text: str) -> str:
    if column != "verdict":
        return LOOKS[column]
    return f"verdict {SIGNS[text.partition(' ')[2]][1]}"
