"""The style of all figures: sizes of a two-column page, colour-blind safe colours, symbols.

Every figure draws theory as lines and experiment as symbols.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

# It warns of the dates in Matplotlib's own fonts.
logging.getLogger("fontTools").setLevel(logging.ERROR)

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from weightsharing.errors import FileError
from weightsharing.files import replacing
from weightsharing.origin import VERSION, git_commit
from weightsharing.sampling import SAMPLERS

# Name and symbol of each sampler, in the order of legends, and the symbol of its step size.
SAMPLER_NAMES = {method: settings.label for method, settings in SAMPLERS.items()}
MARKERS = {method: settings.marker for method, settings in SAMPLERS.items()}
STEP_NAMES = {
    method: settings.step_symbol
    for method, settings in SAMPLERS.items()
    if settings.step_symbol is not None
}
# Endings of figures, in which their identity can be found.
FORMATS = (".pdf", ".png", ".svg")
# Width of both columns together, in inches.
PAGE_WIDTH = 6.75


def colours(count: int) -> list[str]:
    """``count`` colours that a colour-blind reader can tell apart."""
    return list(sns.color_palette("colorblind", count).as_hex())


def greys(count: int) -> list[str]:
    """``count`` greys from light to black."""
    return [str(level) for level in np.linspace(0.65, 0.0, count)]


_SETTINGS: Any = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    # One type for words and formulas.
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
}


def page_figure(height: float) -> Figure:
    """An empty figure over both columns, ``height`` inches high.

    A user's settings of Matplotlib change nothing.
    """
    matplotlib.rcdefaults()
    matplotlib.rcParams.update(_SETTINGS)
    # Not by pyplot, which would choose a backend by the user's settings.
    return Figure(figsize=(PAGE_WIDTH, height), layout="constrained")


def panel_letter(axes: Axes, letter: str) -> None:
    """The bold letter at the upper left of a panel, above the labels of its vertical axis."""
    axes.annotate(
        letter, (0.0, 1.0), xytext=(-22.0, 5.0), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold", fontsize=10,
    )  # fmt: skip


def part_title(part: SubFigure, letter: str, text: str) -> None:
    """The bold letter and the title of a part that has several panels."""
    part.suptitle(rf"$\mathbf{{{letter}}}$   {text}", x=0.02, ha="left", fontsize=8)


def save(figure: Figure, *paths: Path, belongs: str = "") -> None:
    """Write the figure with its origin, without dates: the same data give the same files.

    belongs: what it belongs to, in words: preset and identity. Raises FileError for an unknown format.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise FileError(f"{path}: the name must end in one of {', '.join(FORMATS)}")
    origin = f"weightsharing {VERSION}, commit {git_commit()}; {belongs}"
    metadata = {
        ".pdf": {"CreationDate": None, "Subject": origin},
        ".svg": {"Date": None, "Description": origin},
        ".png": {"Description": origin},
    }
    for path in paths:
        # In memory first: Matplotlib would hide the error of a full disk behind one of its own.
        drawn = io.BytesIO()
        figure.savefig(drawn, format=path.suffix[1:], dpi=200, metadata=metadata.get(path.suffix))
        with replacing(path) as temporary:
            temporary.write_bytes(drawn.getvalue())
