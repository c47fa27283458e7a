"""The four cells of figure 3: DNN and RNN, each trained with a weak and with a strong signal."""

from __future__ import annotations

from typing import Literal

from weightsharing.figures.results import Result, Results, Role
from weightsharing.model.architecture import Kind

Strength = Literal["weak", "strong"]
STRENGTHS: tuple[Strength, ...] = ("weak", "strong")
# The panels, in the order of their letters.
PANELS: dict[tuple[Kind, Strength], str] = {
    ("dnn", "weak"): "b",
    ("dnn", "strong"): "c",
    ("rnn", "weak"): "d",
    ("rnn", "strong"): "e",
}


def cell(results: Results, kind: Kind, strength: Strength, role: Role) -> Result | None:
    """The run of one cell, if it is there: its name is that of ``config.runs``."""
    for run in results.select(kind=kind, role=role):
        if strength in run.name.split("-"):
            return run
    return None
