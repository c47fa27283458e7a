"""Drawing: a user's settings of Matplotlib change nothing, and kernels are cells, not images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from conftest import ROOT
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize

from weightsharing.figures.panels import show_matrix
from weightsharing.figures.style import page_figure

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
