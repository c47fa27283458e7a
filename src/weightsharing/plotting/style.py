"""One look for all figures: sizes of a two-column page, colour-blind safe colours, symbols.

Theory is drawn as lines and experiment as symbols, in every figure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from weightsharing.storage import replacing

# Width of both columns together, in inches.
PAGE_WIDTH = 6.75

COLOURS = sns.color_palette("colorblind").as_hex()

_SETTINGS: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "pdf.fonttype": 42,
    "mathtext.fontset": "cm",
}


def page_figure(height: float) -> Figure:
    """An empty figure over both columns, ``height`` inches high."""
    plt.rcParams.update(_SETTINGS)
    return plt.figure(figsize=(PAGE_WIDTH, height), layout="constrained")


def panel_letter(axes: Axes, letter: str) -> None:
    """The bold letter at the upper left of a panel."""
    axes.set_title(letter, loc="left", fontweight="bold", fontsize=10)


def save(figure: Figure, path: Path) -> None:
    """Write the figure, without dates, so that the same data give the same file."""
    dates = {".pdf": {"CreationDate": None}, ".svg": {"Date": None}}
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=200, metadata=dates.get(path.suffix))
    plt.close(figure)
