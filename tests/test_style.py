"""Drawing: settings of a user change nothing, kernels are cells, crowded text and near colours show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT
from crowding import crowded
from eyes import LEAST_DISTANCE, distance, lab
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize

from weightsharing.figures.panels import show_matrix
from weightsharing.figures.style import page_figure, settled

SCRIPT = """
import sys
from pathlib import Path
from weightsharing.cli import main
main(["schema"])
import numpy as np
from matplotlib.colors import Normalize
from weightsharing.figures.panels import show_matrix
from weightsharing.figures.style import page_figure, panel_letter, save
figure = page_figure(2.0)
left, right = figure.subplots(1, 2)
show_matrix(left, np.arange(6.0).reshape(2, 3), Normalize(), "$t$", "$t'$")
panel_letter(left, "a")
right.plot([1.0, 2.0], [2.0, 1.0], "o-", label=r"words, $\\lambda_c$")
right.legend()
save(figure, *map(Path, sys.argv[1:]))
"""
HOSTILE = """
text.usetex: True
font.family: DejaVu Sans
mathtext.fontset: cm
savefig.bbox: tight
savefig.dpi: 50
axes.grid: True
axes.prop_cycle: cycler(color=['red', 'yellow'])
legend.frameon: True
lines.marker: s
figure.constrained_layout.use: False
pdf.fonttype: 3
"""


def drawn(folder: Path, **environment: str) -> list[bytes]:
    """PDF and PNG of the script, in a process with these variables."""
    paths = [folder / f"figure.{ending}" for ending in ("pdf", "png")]
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *paths], check=True, cwd=folder, stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
    )  # fmt: skip
    return [path.read_bytes() for path in paths]


def test_a_users_settings_change_nothing(tmp_path: Path) -> None:
    """Byte for byte: fonts, TeX, margins, colours, and the backend of a notebook."""
    plain = drawn(tmp_path)
    (tmp_path / "matplotlibrc").write_text(HOSTILE)
    inline = "module://matplotlib_inline.backend_inline"
    assert drawn(tmp_path, MPLCONFIGDIR=str(tmp_path), MPLBACKEND=inline) == plain
    assert b"STIXGeneral" in plain[0]
    assert b"/Type3" not in plain[0]


def test_kernels_are_cells_with_the_first_row_above() -> None:
    axes = page_figure(2.0).subplots()
    matrix = np.arange(6.0).reshape(2, 3)
    mesh = show_matrix(axes, matrix, Normalize(), "$t$", "$t'$")
    assert isinstance(mesh, QuadMesh)
    assert not axes.images
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(2, 3), matrix)
    assert axes.get_ylim() == (1.5, -0.5)
    assert axes.get_xlim() == (-0.5, 2.5)


def test_crowding_is_seen() -> None:
    """Words on words, words at the edge, and words that are hidden."""
    figure = page_figure(2.0)
    axes = figure.subplots()
    axes.text(0.5, 0.5, "first")
    assert crowded(settled(figure)) == []
    axes.text(0.51, 0.52, "second")
    assert crowded(figure) == ["'first' and 'second' overlap"]
    axes.texts[1].set_visible(False)
    figure.text(0.0, 0.5, "edge")
    assert crowded(figure) == ["'edge' is less than 3 points from the edge of the page"]


def test_distances_are_those_of_the_literature() -> None:
    """White is 100 from black; red and green come close for two of the eyes."""
    assert distance("white", "black") == pytest.approx(100.0, abs=0.1)
    np.testing.assert_allclose(lab("#ff0000", "none"), [53.24, 80.09, 67.20], atol=0.1)
    red, green = (lab(colour, "deutan") for colour in ("#b04040", "#5e7a2c"))
    assert np.linalg.norm(red - green) < LEAST_DISTANCE < distance("#0173b2", "#de8f05")
