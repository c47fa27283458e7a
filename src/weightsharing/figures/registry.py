"""The figures, found by their folders ``figures/fig*``. No other module lists them.

A folder holds four files: config.py (``Section`` of the configuration, ``runs`` that follow from it),
claims.py (``claims``), plot.py (``draw``) and caption.rst. A module is imported only when it is needed:
reading a configuration loads neither Matplotlib nor PyTorch.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from weightsharing.errors import ConfigError
from weightsharing.figures.sections import RunBuilder
from weightsharing.model.record import Record, explain, shortened
from weightsharing.sampling.run import Run
from weightsharing.theory.scan import Transition

_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Figure:
    """One figure. name: that of its folder and of its section in the configuration, such as "fig4"."""

    name: str

    @property
    def number(self) -> str:
        """The name without "fig", such as "4"."""
        return self.name.removeprefix("fig")

    @property
    def caption(self) -> Path:
        """The template of the caption."""
        return _FOLDER / self.name / "caption.rst"

    def module(self, part: str) -> Any:
        """One of the figure's modules: "config", "claims" or "plot"."""
        return importlib.import_module(f"weightsharing.figures.{self.name}.{part}")

    @property
    def section(self) -> type[Record]:
        """The type of the figure's section of the configuration."""
        section: type[Record] = self.module("config").Section
        return section

    def read_section(self, text: str) -> Record:
        """The section in JSON. Raises ConfigError with one line for each fault."""
        try:
            return self.section.model_validate_json(text)
        except ValidationError as error:
            raise ConfigError("\n".join(explain(error, self.name))) from error

    def runs(self, section: Record, build: RunBuilder) -> list[Run | Transition]:
        """Training runs and theory scans of a section. Raises ConfigError naming a bad key."""
        runs: list[Run | Transition] = self.module("config").runs(section, build)
        return runs


def in_order(name: str) -> tuple[str, int]:
    """Sorts fig10 behind fig9, and figS1 behind both."""
    letters, digits = re.fullmatch(r"(\D*)(\d*)", name).groups()  # type: ignore[union-attr]
    return letters, int(digits or 0)


FIGURES: dict[str, Figure] = {
    name: Figure(name)
    for name in sorted((path.parent.name for path in _FOLDER.glob("fig*/config.py")), key=in_order)
}


def find(name: str) -> Figure:
    """The figure of this name. Raises ConfigError if there is none."""
    if name not in FIGURES:
        raise ConfigError(f"figure: got {shortened(name)}, must be one of {', '.join(FIGURES)}")
    return FIGURES[name]
