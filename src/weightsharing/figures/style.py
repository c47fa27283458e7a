"""The style of all figures: sizes of a two-column page, and one vocabulary of colours and symbols.

Every figure draws theory as lines and experiment as symbols: trained networks as diamonds, the exact
sampler as circles, and what did not converge as hollow symbols.
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
from matplotlib.colors import LinearSegmentedColormap, ListedColormap, to_hex
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FixedLocator

from weightsharing.errors import FileError
from weightsharing.files import replacing
from weightsharing.model.architecture import Kind
from weightsharing.origin import VERSION, commit_in_words
from weightsharing.sampling import SAMPLERS

# Name and symbol of each sampler, in the order of legends.
SAMPLER_NAMES = {method: settings.label for method, settings in SAMPLERS.items()}
MARKERS = {method: settings.marker for method, settings in SAMPLERS.items()}
# Endings of figures, in which their identity can be found.
FORMATS = (".pdf", ".png", ".svg")
# Between text and the edges of the page, in inches.
EDGE = 4.0 / 72.0
# Of PNG files, and of what is rasterised in others.
RESOLUTION = {".png": 200, ".pdf": 600, ".svg": 600}
# Width of both columns together, in inches.
PAGE_WIDTH = 6.75
# The smallest type, in points; only sub- and superscripts are smaller.
SMALL = 6.5

# --- colours: tests/test_colours.py compares those that share axes, as colour-blind readers see them --
RNN_COLOUR = "#0173b2"
DNN_COLOUR = "#029e73"
NETWORK_COLOURS: dict[Kind, str] = {"rnn": RNN_COLOUR, "dnn": DNN_COLOUR}
EXACT = "black"
TARGET = "black"
# Of outputs: networks and theory, as in the paper. Outliers in theory have it as well.
PREDICTION = "#de8f05"
# The disc of eigenvalues that noise fills, its edge, and the eigenvalues inside.
NOISE = "0.6"
GUIDE = "0.6"
NOT_CONVERGED = "#c1121f"
# Blue through white to red: kernels.
KERNEL_COLOURS = "RdBu_r"
# Signal strengths, from weak to strong. The last colours of the map would vanish on white.
SIGNAL_COLOURS = ListedColormap(matplotlib.colormaps["viridis"](np.linspace(0.0, 0.88, 256)))
# Over 1 - 2 / (T - 1): T = 3, 4, 5 and beyond.
_DEPTHS = LinearSegmentedColormap.from_list(
    "depths", [(0.0, "#6fc0f0"), (1 / 3, RNN_COLOUR), (0.5, "#061a40"), (1.0, "#b05fd6")]
)
# Dashes of depths, of which the first is that of the trained networks. Dotted lines are unstable branches
# and theory at finite N.
DASHES: tuple[Any, ...] = ("-", (0, (6, 1.5)), (0, (4, 1.2, 1, 1.2)))
DOTTED: Any = (0, (1, 1))
# Those of networks, for readers without colours.
NETWORK_DASHES: dict[Kind, Any] = {"rnn": DASHES[0], "dnn": DASHES[1]}


def colours(count: int) -> list[str]:
    """``count`` colours that a colour-blind reader can tell apart."""
    return list(sns.color_palette("colorblind", count).as_hex())


def depth_colour(depth: int) -> str:
    """The colour of RNNs of this T, the same in all figures: from light blue (T = 3) to purple."""
    return to_hex(_DEPTHS(1.0 - 2.0 / (depth - 1)))


def width_colours(count: int) -> list[str]:
    """``count`` colours, from the narrowest to the widest network."""
    return list(sns.color_palette("blend:#f2a65a,#d1495b,#3b1c5a", count).as_hex())


_SETTINGS: Any = {
    "font.size": 8,
    "axes.labelsize": 8,
    "axes.titlesize": 7.5,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.major.pad": 2,
    "ytick.major.pad": 2,
    "axes.titlepad": 4,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.4,
    "legend.labelspacing": 0.3,
    "legend.columnspacing": 1.0,
    "lines.linewidth": 1.4,
    "lines.markeredgewidth": 0.5,
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
    layout = ConstrainedLayoutEngine(w_pad=EDGE, h_pad=EDGE)
    return Figure(figsize=(PAGE_WIDTH, height), layout=layout)


def panel_letter(axes: Axes, letter: str) -> None:
    """The bold letter at the upper left of a panel, above the labels of its vertical axis."""
    axes.annotate(
        letter, (0.0, 1.0), xytext=(-22.0, 5.0), xycoords="axes fraction", textcoords="offset points",
        fontweight="bold", fontsize=10,
    )  # fmt: skip


def part_title(part: SubFigure, letter: str, text: str) -> None:
    """The bold letter and the title of a part that has several panels."""
    part.suptitle(rf"$\mathbf{{{letter}}}$   {text}", x=0.02, ha="left", fontsize=8)


def symbol(method: str, colour: str, *, filled: bool = True, scale: float = 1.0) -> dict[str, Any]:
    """Marker of a sampler; that of the exact sampler is smaller, so that it shows on a trained network.

    filled: whether the run converged. scale: of its size.
    """
    return {
        "marker": MARKERS[method], "linestyle": "none", "color": colour,
        "markersize": scale * (3.0 if method == "exact" else 4.6),
        "markerfacecolor": colour if filled else "white",
        "markeredgecolor": "black" if filled and method != "exact" else colour,
    }  # fmt: skip


def settled(figure: Figure) -> Figure:
    """The figure with its layout and its ticks fixed: they do not depend on the format or resolution."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.findobj(Axes):
        assert isinstance(axes, Axes)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator(list(axis.get_majorticklocs())))
            axis.set_minor_locator(FixedLocator(list(axis.get_minorticklocs())))
    return figure


def save(figure: Figure, *paths: Path, belongs: str = "") -> None:
    """Write the figure with its origin, without dates: the same data give the same files.

    belongs: what it belongs to, in words: preset and identity. Raises FileError for an unknown format.
    """
    for path in paths:
        if path.suffix not in FORMATS:
            raise FileError(f"{path}: the name must end in one of {', '.join(FORMATS)}")
    origin = f"weightsharing {VERSION}, {commit_in_words()}; {belongs}"
    metadata = {
        ".pdf": {"CreationDate": None, "Subject": origin},
        ".svg": {"Date": None, "Description": origin},
        ".png": {"Description": origin},
    }
    settled(figure)
    for path in paths:
        # In memory first: Matplotlib would hide the error of a full disk behind one of its own.
        drawn = io.BytesIO()
        about, dpi = metadata[path.suffix], RESOLUTION[path.suffix]
        figure.savefig(drawn, format=path.suffix[1:], dpi=dpi, metadata=about)
        with replacing(path) as temporary:
            temporary.write_bytes(drawn.getvalue())
